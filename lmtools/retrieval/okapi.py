"""BM25 Okapi as rank-bm25 computes it, in memory, no index: to compare with, and for small corpora."""

from collections.abc import Sequence

import numpy as np

from lmtools.data.records import Passage
from lmtools.retrieval.config import RankBm25Config
from lmtools.retrieval.corpus import Corpus
from lmtools.retrieval.index_cache import content_key
from lmtools.retrieval.protocol import Hit
from lmtools.retrieval.terms import TermSplitter, passage_text
from lmtools.retrieval.topk import top_k


class OkapiRetriever:
    """The ``rank-bm25`` backend: the terms of the ``bm25`` backend, scored by ``rank_bm25.BM25Okapi``.

    Okapi gives a term that is in exactly half of the passages the weight 0, and floors the weight of more
    frequent ones, so a very small corpus can hide a match that ``bm25`` finds.
    """

    def __init__(self, config: RankBm25Config, corpus: Corpus) -> None:
        from rank_bm25 import BM25Okapi

        self._config = config
        self._corpus = corpus
        self.identity = f"rank-bm25:{content_key(corpus.identity, config.model_dump_json())}"
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
        hits = []
        for position in top_k(scores, self._corpus.rank, k):
            passage = self._corpus[int(position)]
            hits.append(Hit(passage.id, passage.title, float(scores[position])))
        return hits
