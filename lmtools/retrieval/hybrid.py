"""Several rankings joined into one by reciprocal-rank fusion (Cormack, Clarke & Büttcher, SIGIR 2009).

It looks at ranks only, so retrievers whose scores have nothing in common can be joined without weights.
"""

import math
from collections.abc import Sequence

from lmtools.data.records import Passage
from lmtools.retrieval.corpus import content_key
from lmtools.retrieval.protocol import Hit, Retriever


def reciprocal_rank_fusion(rankings: Sequence[Sequence[str]], constant: int = 60) -> list[tuple[str, float]]:
    """``score(d) = sum over rankings of 1 / (constant + rank of d)``, ranks from 1, absent passages adding 0.

    Args:
        rankings: ids, best first, no id twice in one ranking.
        constant: 60 in the paper; less lets the first ranks decide.

    Returns:
        (id, score) of every id, highest score first, equal scores by id.
    """
    ranks_of: dict[str, list[int]] = {}
    for ranking in rankings:
        for rank, id in enumerate(ranking, start=1):
            ranks_of.setdefault(id, []).append(rank)
    # fsum: passages with the same ranks in other rankings would differ by rounding, and not tie.
    scores = {id: math.fsum(1 / (constant + rank) for rank in ranks) for id, ranks in ranks_of.items()}
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


class HybridRetriever:
    """The ``hybrid`` backend.

    Args:
        members: the retrievers to join, all over one corpus.
        constant: see ``reciprocal_rank_fusion``.
        depth: how many hits of each member are joined, at least.
    """

    def __init__(self, members: Sequence[Retriever], constant: int = 60, depth: int = 100) -> None:
        self._members = tuple(members)
        self._constant = constant
        self._depth = depth
        key = content_key(str(constant), str(depth), *(member.identity for member in members))
        self.identity = f"hybrid:{key}"

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        depth = max(k, self._depth)
        rankings = [member.search(queries, depth) for member in self._members]
        return [self._join(of_query, k) for of_query in zip(*rankings, strict=True)]

    def passage(self, id: str) -> Passage:
        return self._members[0].passage(id)

    def _join(self, rankings: Sequence[list[Hit]], k: int) -> list[Hit]:
        titles = {hit.id: hit.title for hits in rankings for hit in hits}
        joined = reciprocal_rank_fusion([[hit.id for hit in hits] for hits in rankings], self._constant)
        return [Hit(id, titles[id], score) for id, score in joined[: max(k, 0)]]
