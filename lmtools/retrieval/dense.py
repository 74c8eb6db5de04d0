"""Search by meaning: FAISS over the vectors of a sentence encoder, scored by cosine similarity."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.data.records import Passage
from lmtools.retrieval.config import DenseConfig
from lmtools.retrieval.corpus import Corpus
from lmtools.retrieval.embeddings import embed_corpus
from lmtools.retrieval.encoder import SentenceEncoder, TextEncoder, Vectors
from lmtools.retrieval.index_cache import cached, content_key
from lmtools.retrieval.protocol import Hit

FORMAT = 1
DECIMALS = 5
"""Scores are rounded to what survives another batch size or machine; closer ones tie, and go by id."""
SPARE = 16


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
        asked = [number for number, query in enumerate(queries) if query.strip()]
        if not asked or k <= 0:
            return hits
        vectors = self._encoder.encode([self._config.query_prefix + queries[number] for number in asked])
        for number, vector, found in zip(asked, vectors, self._nearest(vectors, k + SPARE), strict=True):
            hits[number] = self._ranked(vector, found, k)
        return hits

    def passage(self, id: str) -> Passage:
        return self._corpus.find(id)

    def _nearest(self, vectors: Vectors, count: int) -> NDArray[np.int64]:
        """Positions of about ``count`` nearest passages of each vector, padded with -1."""
        _, positions = self._index.search(vectors, min(count, len(self._corpus)))
        return np.asarray(positions, dtype=np.int64)

    def _ranked(self, vector: NDArray[np.float32], found: NDArray[np.int64], k: int) -> list[Hit]:
        """The first ``k`` of the found, looking further while passages beyond them may tie with the last."""
        while True:
            positions = found[found >= 0]
            scores = similarity(self._vectors[positions], vector)
            order = np.lexsort((self._corpus.rank[positions], -scores))[:k]
            complete = len(found) >= len(self._corpus) or len(positions) < len(found)
            if complete or scores[order[-1]] - scores.min() > 2 * 10.0**-DECIMALS:
                break
            found = self._nearest(vector[np.newaxis], 4 * len(found))[0]
        passages = [self._corpus[int(positions[place])] for place in order]
        return [Hit(p.id, p.title, float(scores[place])) for p, place in zip(passages, order, strict=True)]


def similarity(vectors: Vectors, query: NDArray[np.float32]) -> NDArray[np.float64]:
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
