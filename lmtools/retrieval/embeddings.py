"""The vectors of a corpus, computed once and kept: `embeddings.npy` in the cache, mapped into memory.

They are computed in shards that are files of their own until the last is there, so that an interrupted run
loses at most one of them.
"""

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from lmtools.core.files import atomic_writer
from lmtools.core.paths import cache_dir
from lmtools.core.progress import progress
from lmtools.retrieval.corpus import Corpus
from lmtools.retrieval.encoder import TextEncoder, Vectors
from lmtools.retrieval.index_cache import cached, content_key
from lmtools.retrieval.terms import passage_text

FORMAT = 1
SHARD = 1024
"""Passages in a shard: half a minute of work on a CPU core."""


def embed_corpus(corpus: Corpus, encoder: TextEncoder, prefix: str = "") -> Vectors:
    """A vector for each passage (prefix, title, text), shape [n, dimensions], read-only and mapped.

    Raises:
        MachineError: the cache cannot be written.
    """
    key = content_key(str(FORMAT), corpus.identity, encoder.identity, prefix)[:32]
    shards = cache_dir("indexes", f"embeddings-{key}.shards")
    vectors = cached(f"embeddings-{key}", partial(_build, corpus, encoder, prefix, shards), _load)
    shutil.rmtree(shards, ignore_errors=True)
    return vectors


def _build(corpus: Corpus, encoder: TextEncoder, prefix: str, shards: Path, folder: Path) -> None:
    starts = range(0, len(corpus), SHARD)
    paths = [shards / f"{start:010d}.npy" for start in starts]
    with progress(len(corpus), "encoding passages") as bar:
        for start, path in zip(starts, paths, strict=True):
            count = min(SHARD, len(corpus) - start)
            if not path.exists():
                passages = (corpus[position] for position in range(start, start + count))
                _write(path, encoder.encode([prefix + passage_text(passage) for passage in passages]))
            bar.advance(count)
    _join(paths, len(corpus), folder / "embeddings.npy")


def _write(path: Path, vectors: Vectors) -> None:
    with atomic_writer(path, "wb") as stream:
        np.save(stream, vectors, allow_pickle=False)


def _join(paths: list[Path], n: int, target: Path) -> None:
    """Copy the shards into one array, never holding more than one of them in memory."""
    dimensions = np.load(paths[0], mmap_mode="r", allow_pickle=False).shape[1]
    joined = np.lib.format.open_memmap(target, mode="w+", dtype=np.float32, shape=(n, dimensions))
    for start, path in zip(range(0, n, SHARD), paths, strict=True):
        joined[start : start + SHARD] = np.load(path, allow_pickle=False)
    joined.flush()


def _load(folder: Path) -> Vectors:
    vectors: Vectors = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    return vectors.view(np.ndarray)
