"""The cumulative context of a question: what the hops so far have found, and how a hop extends it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lmtools.leret.recipe import HopSettings
from lmtools.retrieval.protocol import Hit, Retriever


@dataclass(frozen=True)
class Context:
    """The passages found so far, each once, in the order in which the policy reads them.

    >>> context = Context().extend([Hit("p1", "Anna Berg", 7.5)])
    >>> context.extend([Hit("p1", "Anna Berg", 9.0), Hit("t1", "Lund", 8.0)]).titles
    ['Anna Berg', 'Lund']
    """

    hits: tuple[Hit, ...] = ()

    @property
    def titles(self) -> list[str]:
        """Titles in order: what the rewards are computed on."""
        return [hit.title for hit in self.hits]

    @property
    def ids(self) -> tuple[str, ...]:
        """Passage ids in order."""
        return tuple(hit.id for hit in self.hits)

    def extend(self, hits: Sequence[Hit], order: str = "found") -> "Context":
        """The context after another search: old passages first, or all by score (``order="score"``).

        A passage that was there already keeps its place. Equal scores stay in the order found.
        """
        seen = set(self.ids)
        merged = self.hits + tuple(hit for hit in hits if hit.id not in seen)
        if order == "score":
            merged = tuple(sorted(merged, key=lambda hit: -hit.score))
        return Context(merged)


def search_hop(
    retriever: Retriever, queries: Sequence[str], contexts: Sequence[Context], hop: HopSettings
) -> list[tuple[Hit, ...]]:
    """One search per (query, context): its ``hop.k`` passages, new ones only where ``hop.fresh`` asks for it.

    Equal queries are sent once.

    Raises:
        RetrieverError: the retriever failed.
    """
    depth = hop.k + (max((len(context.hits) for context in contexts), default=0) if hop.fresh else 0)
    distinct = list(dict.fromkeys(queries))
    answers = dict(zip(distinct, retriever.search(distinct, depth), strict=True)) if distinct else {}
    return [_take(answers[query], context, hop) for query, context in zip(queries, contexts, strict=True)]


def _take(hits: Sequence[Hit], context: Context, hop: HopSettings) -> tuple[Hit, ...]:
    seen = set(context.ids) if hop.fresh else set()
    return tuple(hit for hit in hits if hit.id not in seen)[: hop.k]
