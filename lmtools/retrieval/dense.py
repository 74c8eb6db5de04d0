"""Search by meaning: FAISS over the vectors of a sentence encoder, scored by cosine similarity.

    encoder -> unit vectors of the passages, kept in the cache -> FAISS index -> nearest passages -> scores

FAISS only proposes: the hits are scored again in double precision and rounded, so that the ranking does not
depend on batch size or machine.
"""

import hashlib
import io
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lmtools.core.arrays import Floats
from lmtools.core.errors import ModelError
from lmtools.core.files import atomic_writer, cache_dir, sha256_file
from lmtools.core.progress import progress, say
from lmtools.core.strings import well_formed
from lmtools.data.records import Passage
from lmtools.data.terms import passage_text
from lmtools.retrieval.config import DenseConfig
from lmtools.retrieval.corpus import Corpus, cached, content_key
from lmtools.retrieval.protocol import Hit

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer


# The encoder: text to unit vectors.

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """What the ``dense`` backend needs of an encoder; ``identity`` names it by content."""

    @property
    def identity(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One vector of length 1 per text, float32, shape [texts, dimensions]."""
        ...


class SentenceEncoder:
    """An encoder of sentence-transformers.

    Args:
        name: a built-in encoder, a Hugging Face name, or a local directory.
        device: ``cpu``, ``cuda``, ...; ``auto`` takes a GPU where there is one.
        batch_size: texts encoded at a time.

    Raises:
        ModelError: there is no such encoder, or it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "auto", batch_size: int = 64) -> None:
        self._model = _load_encoder(name, None if device == "auto" else device)
        self._batch_size = batch_size
        self.identity = fingerprint(self._model.state_dict(), repr(self._model))

    def encode(self, texts: Sequence[str]) -> Vectors:
        # Tokenizers take valid Unicode only.
        clean = [well_formed(text) for text in texts]
        vectors = self._model.encode(
            clean, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def fingerprint(weights: "dict[str, torch.Tensor]", architecture: str) -> str:
    """SHA-256 of a model's weights and the description of its modules: whatever name it came under."""
    import torch

    digest = hashlib.sha256(architecture.encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load_encoder(name: str, device: str | None) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    if name.startswith("builtin:"):
        from lmtools.models.builtin import pull

        name = str(pull(name))
    try:
        return SentenceTransformer(name, device=device, model_kwargs={"use_safetensors": True})
    except Exception as error:  # the hub, transformers and torch each raise their own kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"retriever.encoder: cannot load {name!r} as a sentence encoder: {reason}",
            fix="name a sentence-transformers model with safetensors weights, its directory, "
            "or leave the setting out for the built-in encoder",
        ) from error


# The vectors of a corpus, computed once and kept: `embeddings.npy` in the cache, mapped into memory.
#
# They are computed in shards that are files of their own until the last is there, so that an interrupted
# run loses at most one of them.

EMBEDDINGS_FORMAT = 1
SHARD = 1024
"""Passages in a shard: half a minute of work on a CPU core."""


def embed_corpus(corpus: Corpus, encoder: TextEncoder, prefix: str = "") -> Vectors:
    """A vector for each passage (prefix, title, text), shape [n, dimensions], read-only and mapped.

    Raises:
        MachineError: the cache cannot be written.
    """
    key = content_key(str(EMBEDDINGS_FORMAT), corpus.identity, encoder.identity, prefix)[:32]
    shards = cache_dir("indexes", f"embeddings-{key}.shards")
    vectors = cached(
        f"embeddings-{key}", partial(_build_embeddings, corpus, encoder, prefix, shards), _load_embeddings
    )
    shutil.rmtree(shards, ignore_errors=True)
    return vectors


def _build_embeddings(corpus: Corpus, encoder: TextEncoder, prefix: str, shards: Path, folder: Path) -> None:
    for leftover in shards.glob(".*.part"):
        leftover.unlink(missing_ok=True)
    paths = []
    with progress(len(corpus), "encoding passages") as bar:
        for start in range(0, len(corpus), SHARD):
            positions = range(start, min(start + SHARD, len(corpus)))
            path = _whole_shard(shards, start)
            if path is None:
                texts = [prefix + passage_text(corpus[position]) for position in positions]
                path = _write_shard(shards, start, encoder.encode(texts))
            paths.append(path)
            bar.advance(len(positions))
    _join(paths, len(corpus), folder / "embeddings.npy")


def _whole_shard(shards: Path, start: int) -> Path | None:
    """The shard from position ``start`` on, if it is there and its content is what its name says."""
    for path in shards.glob(f"{start:010d}-*.npy"):
        if path.stem == f"{start:010d}-{sha256_file(path)}":
            return path
        say(f"{path} is damaged: its passages are encoded again")
        path.unlink()
    return None


def _write_shard(shards: Path, start: int, vectors: Vectors) -> Path:
    buffer = io.BytesIO()
    np.save(buffer, vectors, allow_pickle=False)
    path = shards / f"{start:010d}-{hashlib.sha256(buffer.getbuffer()).hexdigest()}.npy"
    with atomic_writer(path, "wb") as stream:
        stream.write(buffer.getbuffer())
    return path


def _join(paths: list[Path], n: int, target: Path) -> None:
    """Copy the shards into one array, never holding more than one of them in memory."""
    dimensions = np.load(paths[0], mmap_mode="r", allow_pickle=False).shape[1]
    joined = np.lib.format.open_memmap(target, mode="w+", dtype=np.float32, shape=(n, dimensions))
    for start, path in zip(range(0, n, SHARD), paths, strict=True):
        joined[start : start + SHARD] = np.load(path, allow_pickle=False)
    joined.flush()


def _load_embeddings(folder: Path) -> Vectors:
    vectors: Vectors = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    return vectors.view(np.ndarray)


# The retriever.

FORMAT = 1
DECIMALS = 5
"""Scores are rounded to what survives another batch size or machine; closer ones tie, and go by id."""
SPARE = 16
"""Passages searched for beyond the k asked for, so that ties at the k-th rank are seen at once."""


class DenseRetriever:
    """The ``dense`` backend.

    Every passage is similar to every query to some degree, so ``k`` hits come back whatever they are worth;
    only a blank query has none.

    Args:
        config: encoder and index.
        corpus: what to search; vectors and index are computed now where none are cached.
        encoder: in place of the one that ``config`` names.
    """

    def __init__(self, config: DenseConfig, corpus: Corpus, encoder: TextEncoder | None = None) -> None:
        self._config = config
        self._corpus = corpus
        self._encoder = encoder or SentenceEncoder(config.encoder, config.device, config.batch_size)
        content = (str(FORMAT), corpus.identity, self._encoder.identity)
        settings = config.model_dump_json(exclude={"encoder", "batch_size", "device"})
        self.identity = f"dense:{content_key(*content, settings)}"
        self._vectors = embed_corpus(corpus, self._encoder, config.passage_prefix)
        built_from = config.model_dump_json(
            include={"index", "passage_prefix", "hnsw_neighbours", "ivf_lists"}
        )
        self._index = _open_index(config, self._vectors, f"dense-{content_key(*content, built_from)[:32]}")

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        hits: list[list[Hit]] = [[] for _ in queries]
        searched = [number for number, query in enumerate(queries) if query.strip()]
        if not searched or k <= 0:
            return hits
        vectors = self._encoder.encode([self._config.query_prefix + queries[number] for number in searched])
        for number, vector, nearest in zip(searched, vectors, self._nearest(vectors, k + SPARE), strict=True):
            hits[number] = self._ranked(vector, nearest, k)
        return hits

    def passage(self, id: str) -> Passage:
        return self._corpus.find(id)

    def _nearest(self, vectors: Vectors, count: int) -> NDArray[np.int64]:
        """Positions of about ``count`` nearest passages of each vector, padded with -1."""
        _, positions = self._index.search(vectors, min(count, len(self._corpus)))
        return np.asarray(positions, dtype=np.int64)

    def _ranked(self, vector: NDArray[np.float32], nearest: NDArray[np.int64], k: int) -> list[Hit]:
        """The best ``k`` of the nearest, looking further while passages beyond them may tie with the last."""
        while True:
            positions = nearest[nearest >= 0]  # FAISS pads with -1 where it has fewer
            scores = similarity(self._vectors[positions], vector)
            order = np.lexsort((self._corpus.rank[positions], -scores))[:k]
            # A passage that was not looked at scores no more than the last of these, up to FAISS's rounding.
            complete = len(nearest) >= len(self._corpus) or len(positions) < len(nearest)
            if complete or scores[order[-1]] - scores.min() > 2 * 10.0**-DECIMALS:
                break
            nearest = self._nearest(vector[np.newaxis], 4 * len(nearest))[0]
        passages = [self._corpus[int(positions[index])] for index in order]
        return [Hit(p.id, p.title, float(scores[index])) for p, index in zip(passages, order, strict=True)]


def similarity(vectors: Vectors, query: NDArray[np.float32]) -> Floats:
    """Inner products in double precision, rounded: shapes [n, d] and [d] give [n].

    FAISS adds up in single precision and in an order that depends on the size of the batch.
    """
    return np.round(vectors.astype(np.float64) @ query.astype(np.float64), DECIMALS)


def _open_index(config: DenseConfig, vectors: Vectors, name: str) -> Any:
    import faiss

    if config.index == "flat":  # it consists of the vectors, which are cached already
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        return flat
    index: Any = cached(
        name, partial(_build, config, vectors), lambda folder: faiss.read_index(str(folder / "index.faiss"))
    )
    if config.index == "hnsw":
        index.hnsw.efSearch = config.hnsw_search
    else:
        index.nprobe = config.ivf_probes
    return index


def _build(config: DenseConfig, vectors: Vectors, folder: Path) -> None:
    """Build on one thread: with more, the graph and the clusters depend on which thread was first."""
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        index = _hnsw(config, vectors) if config.index == "hnsw" else _ivf(config, vectors)
    finally:
        faiss.omp_set_num_threads(threads)
    faiss.write_index(index, str(folder / "index.faiss"))


def _hnsw(config: DenseConfig, vectors: Vectors) -> Any:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], config.hnsw_neighbours, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    index.add(vectors)
    return index


def _ivf(config: DenseConfig, vectors: Vectors) -> Any:
    import faiss

    n, dimensions = vectors.shape
    lists = min(config.ivf_lists or max(1, round(n**0.5)), n)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1  # small corpora are fine, and no reason for a warning
    index.train(vectors)
    index.add(vectors)
    return index
