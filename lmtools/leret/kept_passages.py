"""Passages that only a search service has: their text is kept, for a resumed run shows them again."""

from collections.abc import Sequence

from lmtools.core.journal import Journal
from lmtools.data.records import Passage
from lmtools.retrieval.protocol import Hit, Retriever


class KeptPassages:
    """``retriever`` with every passage it found in a journal, before what was found is made use of."""

    def __init__(self, retriever: Retriever, journal: Journal) -> None:
        self._retriever, self._journal = retriever, journal

    @property
    def identity(self) -> str:
        """That of the retriever behind."""
        return self._retriever.identity

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The hits of the retriever behind."""
        found = self._retriever.search(queries, k)
        for id in dict.fromkeys(hit.id for hits in found for hit in hits):
            if id not in self._journal:
                passage = self._retriever.passage(id)
                self._journal.append(id, {"title": passage.title, "text": passage.text})
        return found

    def passage(self, id: str) -> Passage:
        """A passage that this run or the one it resumes has found."""
        kept = self._journal.get(id)
        if kept is None:
            return self._retriever.passage(id)
        return Passage(id=id, title=kept["title"], text=kept["text"])
