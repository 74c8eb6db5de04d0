"""What a reader of a format is: a model of its records, and how one becomes records of our contracts.

A new format is a file in ``lmtools/data/readers`` with a pydantic model of the original record, a function
or two, and a ``Reader`` that ``lmtools.data.formats`` lists; ``lmtools.data.sources`` reads files with it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field

from lmtools.data.records import Id, Passage, Record, as_tuples

Kind = Literal["questions", "corpus", "instructions", "choices", "truthful", "preferences"]
"""What can be made of a source, as ``--to`` names it."""
NOUNS: Mapping[Kind, str] = {
    "questions": "questions",
    "corpus": "passages",
    "instructions": "instructions",
    "choices": "multiple-choice questions",
    "truthful": "questions with false answers",
    "preferences": "preference pairs",
}
"""What a source of each kind holds, in messages."""
EXAMPLES: Mapping[Kind, str] = {
    "questions": '{"id": "1", "question": "...", "answer": "...", "supporting": ["TITLE", "TITLE"]}',
    "corpus": '{"id": "1", "title": "...", "text": "..."}',
    "instructions": '{"prompt": "...", "completion": "..."}',
    "choices": '{"id": "1", "question": "...", "choices": ["...", "..."], "answer": 0}',
    "truthful": '{"id": "1", "question": "...", "answer": "...", "incorrect": ["..."]}',
    "preferences": '{"prompt": "...", "chosen": "...", "rejected": "..."}',
}
"""A line of each kind in lmtools' own form, in messages."""


def always(record: Mapping[str, Any]) -> bool:
    """``matches`` of a format that its fields alone are enough to detect."""
    return True


@dataclass(frozen=True)
class Reader:
    """A format: its name, the fields it is known by, its record, and what can be made of a record.

    A function of ``makes`` may yield nothing for a record that is of no use; ``unused`` says why, in the
    words that follow "it". ``looks`` tells formats of the same fields apart by the values of a record.
    """

    name: str
    label: str
    marks: frozenset[str]
    model: type[BaseModel]
    makes: Mapping[Kind, Callable[[Any], Iterable[Record]]]
    unused: str = "is unanswerable"
    matches: Callable[[Mapping[str, Any]], bool] = always

    @property
    def gathers(self) -> bool:
        """Whether its passages come with questions, so that pages repeat and have no ids of their own."""
        return {"questions", "corpus"} <= set(self.makes)


def unchanged(record: Record) -> Iterable[Record]:
    """What a format in one of our contracts makes of a record."""
    return (record,)


# What the readers of preference pairs share.

UNUSABLE_PAIR = "has the same answer twice, or an empty one"


class PairRecord(Record):
    """A record of a collection of pairs, whose folder or file may name the ``distribution``."""

    distribution: Id = ""

    @property
    def id(self) -> str:
        """Empty: pairs are identified by their content, since not all collections have unique ids."""
        return ""


def usable_pair(chosen: str, rejected: str) -> bool:
    """Whether a pair can teach or test anything: its answers differ, and neither is empty."""
    return bool(chosen.strip()) and bool(rejected.strip()) and chosen.strip() != rejected.strip()


# What HotpotQA and the data sets in its form share.


def zipped_pairs(value: Any) -> Any:
    """Both shapes of facts and pages as tuples of pairs; what is neither is left for the model to reject."""
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
    """A record as HotpotQA's files have it; the test set has neither answer nor supporting facts.

    Facts and pages come in the shapes that ``lmtools.data.readers.hotpotqa`` shows.
    """

    id: Id = Field(validation_alias=AliasChoices("_id", "id"), min_length=1)
    question: str = Field(min_length=1)
    answer: str | None = None
    type: str | None = None
    supporting_facts: Annotated[tuple[Fact, ...], BeforeValidator(zipped_pairs)] = ()
    context: Annotated[tuple[Page, ...], BeforeValidator(zipped_pairs)] = ()


def page_titles(facts: tuple[Fact, ...]) -> tuple[str, ...]:
    """The pages of supporting facts, each once, in order."""
    return tuple(dict.fromkeys(title for title, _ in facts))


def context_passages(record: HotpotRecord) -> Iterator[Passage]:
    """The pages of the context, their sentences joined by one space."""
    for title, sentences in record.context:
        yield Passage(
            id=title or "untitled", title=title, text=" ".join(filter(None, map(str.strip, sentences)))
        )
