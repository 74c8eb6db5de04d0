"""BM25 over an index of bm25s: scores computed when the index is built, summed up when it is searched.

The index lies in the cache under the hash of corpus and settings and is memory-mapped: several processes
share it, and a search touches only the postings of its terms.
"""

from array import array
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lmtools.core.progress import progress
from lmtools.data.records import Passage
from lmtools.retrieval.config import Bm25Config
from lmtools.retrieval.corpus import Corpus
from lmtools.retrieval.index_cache import cached, content_key
from lmtools.retrieval.protocol import Hit
from lmtools.retrieval.terms import TermSplitter, passage_text
from lmtools.retrieval.topk import top_k

FORMAT = 1
CHUNK = 32


class Bm25Retriever:
    """The ``bm25`` backend.

    Args:
        config: variant, parameters, stemmer and stop words.
        corpus: what to search; its index is built now where none is cached.
    """

    def __init__(self, config: Bm25Config, corpus: Corpus) -> None:
        self._config = config
        self._corpus = corpus
        key = content_key(str(FORMAT), corpus.identity, config.model_dump_json(exclude={"threads"}))
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
        hits = []
        for position in top_k(scores, self._corpus.rank, k):
            passage = self._corpus[int(position)]
            hits.append(Hit(passage.id, passage.title, float(scores[position])))
        return hits


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
