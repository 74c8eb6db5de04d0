"""HotpotQA (Yang et al., 2018): two-hop questions over Wikipedia introductions.

Reads the original JSON files and the hub's ``hotpotqa/hotpot_qa``, which have the same content in two shapes:

    "supporting_facts": [["Grant Hill", 0], ...]      or  {"title": ["Grant Hill", ...], "sent_id": [0, ...]}
    "context": [["Grant Hill", ["Grant ...", ...]]]   or  {"title": [...], "sentences": [[...], ...]}

A sentence index of -1 means that only the page is known; the index is not used.
"""

from collections.abc import Iterator

from lmtools.data.reader import HotpotRecord, Reader, context_passages, page_titles
from lmtools.data.records import Question


def question(record: HotpotRecord) -> Iterator[Question]:
    """The question; ``kind`` is ``bridge`` or ``comparison``, or empty where the file does not say."""
    yield Question(
        id=record.id,
        question=record.question,
        answer=record.answer or "",
        supporting=page_titles(record.supporting_facts),
        kind=record.type or "",
    )


HOTPOTQA = Reader(
    name="hotpotqa",
    label="HotpotQA",
    marks=frozenset({"question", "supporting_facts", "context"}),
    model=HotpotRecord,
    makes={"questions": question, "corpus": context_passages},
)
