"""What a retriever is: queries in, ranked passages out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lmtools.data.records import Passage


@dataclass(frozen=True)
class Hit:
    """One retrieved passage: its id, its title, the retriever's score (higher is better).

    >>> Hit(id="p1", title="Anna Berg", score=7.5).title
    'Anna Berg'
    """

    id: str
    title: str
    score: float


class Retriever(Protocol):
    """Search over one corpus.

    ``identity`` names the retriever and its corpus by content, for caches and manifests: two retrievers
    with the same identity give the same hits.
    """

    @property
    def identity(self) -> str: ...

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The ``k`` best passages of each query, best first, equal scores ordered by id (as strings).

        Fewer than ``k`` hits where fewer match: a passage that shares nothing with the query is no hit.

        Raises:
            RetrieverError: the service behind the retriever failed.
        """
        ...

    def passage(self, id: str) -> Passage:
        """The passage of a hit."""
        ...
