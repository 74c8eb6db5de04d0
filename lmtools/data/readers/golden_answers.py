"""Short-answer questions with all answers that count: TriviaQA, Natural Questions, PopQA as JSONL.

    {"id": "test_6740", "question": "...", "golden_answers": ["Gnocco", ...], "metadata": {"prop": "..."}}

PopQA's own table has ``possible_answers``, a list or the JSON of one, and a number as id. The first answer is
the answer, the others its aliases; ``kind`` is PopQA's relation. Questions without an answer are left out.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field

from lmtools.data.reader import Reader
from lmtools.data.records import Id, Question, Record, Texts
from lmtools.data.rows import listed


def as_list(value: Any) -> Any:
    """The list that a text is, as JSON or as Python prints it; what is none is left as it is."""
    return listed(value) if isinstance(value, str) else value


class Relation(Record):
    """What PopQA tells of a question beside its answers."""

    prop: str = ""


class GoldenRecord(Record):
    """A record with its answers."""

    id: Id = Field(min_length=1)
    question: str = Field(min_length=1)
    golden_answers: Annotated[Texts, BeforeValidator(as_list)] = Field(
        validation_alias=AliasChoices("golden_answers", "possible_answers")
    )
    metadata: Relation | None = None
    prop: str = ""


def question(record: GoldenRecord) -> Iterator[Question]:
    """The question, each answer once."""
    answers = list(dict.fromkeys(answer for answer in record.golden_answers if answer.strip()))
    if answers:
        relation = record.metadata.prop if record.metadata else record.prop
        yield Question(
            id=record.id,
            question=record.question,
            answer=answers[0],
            aliases=tuple(answers[1:]),
            kind=relation,
        )


GOLDEN_ANSWERS = Reader(
    name="golden_answers",
    label="questions with golden answers (TriviaQA, NQ, PopQA)",
    marks=frozenset({"question", "golden_answers"}),
    model=GoldenRecord,
    makes={"questions": question},
)
POPQA = replace(
    GOLDEN_ANSWERS, name="popqa", label="PopQA", marks=frozenset({"question", "possible_answers"})
)
