"""BM25: over an index of bm25s on disk, or as rank-bm25 computes it, in memory.

bm25s computes the score of every term in every passage when the index is built; a search sums them up and
``top_k`` selects. The index lies in the cache under the hash of corpus and settings and is memory-mapped:
several processes share it, and a search touches only the postings of its terms.
"""

from array import array
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.progress import progress
from lmtools.data.records import Passage
from lmtools.data.terms import TERMS_FORMAT, TermSplitter, passage_text
from lmtools.retrieval.config import Bm25Config, RankBm25Config
from lmtools.retrieval.corpus import Corpus, cached, content_key
from lmtools.retrieval.protocol import Hit

FORMAT = 1
CHUNK = 32
"""Queries that a thread takes at a time."""
GROUPS_PER_HIT = 8

# The k best of a score vector, exactly, without sorting or partitioning all of it.


def top_k(scores: NDArray[np.float32], rank: NDArray[np.int32], k: int) -> NDArray[np.intp]:
    """Positions of the ``k`` highest scores above 0, highest first, equal scores by lower ``rank``.

    The same as sorting everything by (-score, rank), also where equal scores straddle the k-th place.

    Args:
        scores: one score per passage, shape [n].
        rank: the place of each passage in the order of ids, shape [n], all different.
        k: how many; fewer come back where fewer scores are above 0.
    """
    if k <= 0:
        return np.empty(0, dtype=np.intp)
    bound = _lower_bound(scores, k)
    candidates = np.flatnonzero(scores >= bound if bound > 0 else scores > 0)
    order = np.lexsort((rank[candidates], -scores[candidates]))
    return candidates[order[:k]]


def _best_hits(
    corpus: Corpus, scores: NDArray[np.float32], k: int, sharing: Callable[[], NDArray[np.intp]]
) -> list[Hit]:
    """The ``k`` passages with the highest scores among those that share a term with the query, best first.

    Args:
        sharing: the positions of all passages that do; called only where fewer than ``k`` score above 0, as
            terms that stand in most passages may count nothing, or less.
    """
    positions = top_k(scores, corpus.rank, k)
    if len(positions) < k:
        rest = (shared := sharing())[scores[shared] <= 0]
        order = np.lexsort((corpus.rank[rest], -scores[rest]))
        positions = np.concatenate([positions, rest[order]])[:k]
    hits = []
    for position in positions:
        passage = corpus[int(position)]
        hits.append(Hit(passage.id, passage.title, float(scores[position])))
    return hits


def _lower_bound(scores: NDArray[np.float32], k: int) -> float:
    """A value that at least ``k`` scores reach: the k-th highest among the maxima of disjoint groups.

    One pass at memory speed; with several groups per hit few other scores lie above it.
    """
    groups = max(GROUPS_PER_HIT * k, 256)
    rows = len(scores) // groups
    if rows < 2:
        return 0.0
    maxima = scores[: rows * groups].reshape(rows, groups).max(axis=0)
    return float(np.partition(maxima, groups - k)[groups - k])


# The index of bm25s.


class Bm25Retriever:
    """The ``bm25`` backend.

    Args:
        config: variant, parameters, stemmer and stop words.
        corpus: what to search; its index is built now where none is cached.
    """

    def __init__(self, config: Bm25Config, corpus: Corpus) -> None:
        self._config = config
        self._corpus = corpus
        key = content_key(
            str(FORMAT), str(TERMS_FORMAT), corpus.identity, config.model_dump_json(exclude={"threads"})
        )
        self.identity = f"bm25:{key}"
        self._index = cached(f"bm25-{key[:32]}", partial(_build, config, corpus), _load)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        if self._config.threads == 1 or len(queries) <= CHUNK:
            return self._search(queries, k)
        chunks = [queries[start : start + CHUNK] for start in range(0, len(queries), CHUNK)]
        with ThreadPoolExecutor(self._config.threads) as pool:
            return [hits for part in pool.map(lambda chunk: self._search(chunk, k), chunks) for hits in part]

    def passage(self, id: str) -> Passage:
        return self._corpus.find(id)

    def _search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        splitter = TermSplitter(self._config.stemmer, self._config.stopwords)
        return [self._search_terms(splitter.terms(query), k) for query in queries]

    def _search_terms(self, terms: list[str], k: int) -> list[Hit]:
        ids = self._index.get_tokens_ids(terms)
        if not ids:
            return []
        scores = self._index.get_scores_from_ids(ids)
        return _best_hits(self._corpus, scores, k, partial(self._sharing, ids))

    def _sharing(self, ids: list[int]) -> NDArray[np.intp]:
        """Positions of the passages that have one of the terms."""
        ends, passages = self._index.scores["indptr"], self._index.scores["indices"]
        return np.unique(np.concatenate([passages[ends[id] : ends[id + 1]] for id in set(ids)]))


def _build(config: Bm25Config, corpus: Corpus, folder: Path) -> None:
    """Index the corpus into ``folder``."""
    import bm25s

    documents, vocabulary = _split(config, corpus)
    if not vocabulary:
        # No passage has a term. One that no query can contain keeps the arrays of the index well-formed.
        documents, vocabulary = [array("i", [0]) for _ in documents], {"": 0}
    index = bm25s.BM25(k1=config.k1, b=config.b, method=config.method, backend="numpy")
    index.index((documents, vocabulary), create_empty_token=False, show_progress=False)
    index.save(folder, show_progress=False)


def _split(config: Bm25Config, corpus: Corpus) -> "tuple[list[array[int]], dict[str, int]]":
    """The term numbers of every passage, and the vocabulary in order of appearance."""
    splitter = TermSplitter(config.stemmer, config.stopwords)
    vocabulary: dict[str, int] = {}
    documents = []
    with progress(len(corpus), "indexing passages") as bar:
        for passage in corpus:
            terms = splitter.terms(passage_text(passage))
            documents.append(array("i", [vocabulary.setdefault(term, len(vocabulary)) for term in terms]))
            bar.advance()
    return documents, vocabulary


def _load(folder: Path) -> Any:
    """The bm25s index, its arrays mapped; as plain views, since slicing a memmap object is slow."""
    import bm25s

    index = bm25s.BM25.load(folder, mmap=True, backend="numpy")
    for name in ("data", "indices", "indptr"):
        index.scores[name] = index.scores[name].view(np.ndarray)
    return index


# BM25 Okapi as rank-bm25 computes it, in memory, no index: to compare with, and for small corpora.


class OkapiRetriever:
    """The ``rank-bm25`` backend: the terms of the ``bm25`` backend, scored by ``rank_bm25.BM25Okapi``.

    Okapi gives a term that is in exactly half of the passages the weight 0, and more frequent ones a quarter
    of the mean weight, which can be below 0 in a very small corpus; what shares nothing else comes last.
    """

    def __init__(self, config: RankBm25Config, corpus: Corpus) -> None:
        from rank_bm25 import BM25Okapi

        self._config = config
        self._corpus = corpus
        key = content_key(str(TERMS_FORMAT), corpus.identity, config.model_dump_json())
        self.identity = f"rank-bm25:{key}"
        splitter = TermSplitter(config.stemmer, config.stopwords)
        documents = [splitter.terms(passage_text(passage)) for passage in corpus]
        self._index = BM25Okapi(documents, k1=config.k1, b=config.b) if any(documents) else None

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        splitter = TermSplitter(self._config.stemmer, self._config.stopwords)
        return [self._search_terms(splitter.terms(query), k) for query in queries]

    def passage(self, id: str) -> Passage:
        return self._corpus.find(id)

    def _search_terms(self, terms: list[str], k: int) -> list[Hit]:
        if not terms or self._index is None:
            return []
        scores = self._index.get_scores(terms).astype(np.float32)
        return _best_hits(self._corpus, scores, k, partial(_sharing, self._index.doc_freqs, set(terms)))


def _sharing(counts: list[dict[str, int]], terms: set[str]) -> NDArray[np.intp]:
    """Positions of the passages that have one of the terms."""
    return np.flatnonzero([not terms.isdisjoint(of_passage) for of_passage in counts])
