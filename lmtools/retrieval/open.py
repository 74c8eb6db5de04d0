"""From settings and a corpus to a retriever; a backend is imported only when it is asked for."""

from collections.abc import Sequence
from pathlib import Path

from lmtools.core.errors import DataError
from lmtools.data.records import Passage
from lmtools.retrieval.config import (
    Bm25Config,
    DenseConfig,
    HttpConfig,
    HybridConfig,
    RankBm25Config,
    RetrieverConfig,
)
from lmtools.retrieval.corpus import Corpus, open_corpus
from lmtools.retrieval.protocol import Retriever


def open_retriever(config: RetrieverConfig, corpus: Path | Sequence[Passage] | None) -> Retriever:
    """The retriever that ``config`` describes, over ``corpus``; its index is built now where none is cached.

    Args:
        corpus: a JSONL file of passages, or the passages themselves; None only for ``http``, whose service
            then has to send the text of its hits.

    Raises:
        DataError: the corpus is empty, breaks its contract or is missing.
        ModelError: the encoder cannot be loaded.
        MachineError: the cache cannot be written.
    """
    return _open(config, None if corpus is None else open_corpus(corpus))


def _open(config: RetrieverConfig, corpus: Corpus | None) -> Retriever:
    if isinstance(config, HttpConfig):
        from lmtools.retrieval.http import HttpRetriever

        return HttpRetriever(config, corpus)
    if corpus is None:
        raise DataError(
            f"retriever: {config.kind} searches a corpus, and none is given", fix="set `corpus:` to a file"
        )
    match config:
        case Bm25Config():
            from lmtools.retrieval.bm25 import Bm25Retriever

            return Bm25Retriever(config, corpus)
        case RankBm25Config():
            from lmtools.retrieval.bm25 import OkapiRetriever

            return OkapiRetriever(config, corpus)
        case DenseConfig():
            from lmtools.retrieval.dense import DenseRetriever

            return DenseRetriever(config, corpus)
        case HybridConfig():
            from lmtools.retrieval.hybrid import HybridRetriever

            members = [_open(member, corpus) for member in config.members]
            return HybridRetriever(members, constant=config.constant, depth=config.depth)
