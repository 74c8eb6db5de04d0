"""HotpotQA (Yang et al., 2018): two-hop questions over Wikipedia introductions.

Reads the original JSON files and the hub's ``hotpotqa/hotpot_qa``, which have the same content in two shapes:

    "supporting_facts": [["Grant Hill", 0], ...]      or  {"title": ["Grant Hill", ...], "sent_id": [0, ...]}
    "context": [["Grant Hill", ["Grant ...", ...]]]   or  {"title": [...], "sentences": [[...], ...]}

A sentence index of -1 means that only the page is known; the index is not used.
"""

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from lmtools.data.reader import Reader
from lmtools.data.records import Passage, Question, Record, as_tuples


def pairs(value: Any) -> Any:
    """Both shapes as tuples of pairs; what is neither is left for the model to reject."""
    if isinstance(value, dict) and len(value) == 2:
        first, second = value.values()
        if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
            value = [[*pair] for pair in zip(first, second, strict=True)]
    if isinstance(value, list):
        value = [[*item.values()] if isinstance(item, dict) else item for item in value]
    return as_tuples(value)


Fact = tuple[str, int]
"""Title, sentence index."""
Page = tuple[str, tuple[str, ...]]
"""Title, sentences."""


class HotpotRecord(Record):
    """A record as HotpotQA's files have it; the test set has neither answer nor supporting facts."""

    id: str = Field(validation_alias=AliasChoices("_id", "id"), min_length=1)
    question: str = Field(min_length=1)
    answer: str | None = None
    type: str | None = None
    supporting_facts: Annotated[tuple[Fact, ...], BeforeValidator(pairs)] = ()
    context: Annotated[tuple[Page, ...], BeforeValidator(pairs)] = ()


def question(record: HotpotRecord) -> Iterator[Question]:
    """The question; ``kind`` is ``bridge`` or ``comparison``, or empty where the file does not say."""
    yield Question(
        id=record.id,
        question=record.question,
        answer=record.answer or "",
        supporting=titles(record.supporting_facts),
        kind=record.type or "",
    )


def titles(facts: tuple[Fact, ...]) -> tuple[str, ...]:
    """The pages of supporting facts, each once, in order."""
    return tuple(dict.fromkeys(title for title, _ in facts))


def passages(record: HotpotRecord) -> Iterator[Passage]:
    """The pages of the context, their sentences joined by one space."""
    for title, sentences in record.context:
        yield Passage(
            id=title or "untitled", title=title, text=" ".join(filter(None, map(str.strip, sentences)))
        )


HOTPOTQA = Reader(
    name="hotpotqa",
    label="HotpotQA",
    marks=frozenset({"question", "supporting_facts", "context"}),
    model=HotpotRecord,
    makes={"questions": question, "corpus": passages},
)
