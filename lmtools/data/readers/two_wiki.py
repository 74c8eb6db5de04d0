"""2WikiMultihopQA (Ho et al., 2020): HotpotQA's shape, and the Wikidata triples behind each question.

    "evidences": [["Move (1970 film)", "director", "Stuart Rosenberg"], ...]

``type`` is compositional, inference, comparison or bridge_comparison. The triples tell the reading order, so
pages are sorted by the first triple that has them as its subject.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator

from lmtools.data.reader import HotpotRecord, Reader, context_passages, page_titles
from lmtools.data.records import Question, as_tuples


class TwoWikiRecord(HotpotRecord):
    """A record as the 2WikiMultihopQA files have it."""

    evidences: Annotated[tuple[tuple[str, str, str], ...], BeforeValidator(as_tuples)] = ()


def question(record: TwoWikiRecord) -> Iterator[Question]:
    """The question, its pages in reading order; ``kind`` is its type."""
    pages = page_titles(record.supporting_facts)
    yield Question(
        id=record.id,
        question=record.question,
        answer=record.answer or "",
        supporting=tuple(sorted(pages, key=lambda page: _hop(page, record.evidences))),
        kind=record.type or "",
    )


def _hop(page: str, evidences: tuple[tuple[str, str, str], ...]) -> int:
    """The place of the first triple whose subject is the page; pages of no triple come last, as they were."""
    subjects = [subject for subject, _, _ in evidences]
    return subjects.index(page) if page in subjects else len(subjects)


TWO_WIKI = Reader(
    name="2wiki",
    label="2WikiMultihopQA",
    marks=frozenset({"question", "supporting_facts", "context", "evidences"}),
    model=TwoWikiRecord,
    makes={"questions": question, "corpus": context_passages},
)
