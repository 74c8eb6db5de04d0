"""ARC (Clark et al., 2018), CommonsenseQA and OpenBookQA: choices with labels, one of which is the answer.

    {"id": "M_7", "question": "...", "choices": {"text": ["red", ...], "label": ["A", ...]}, "answerKey": "B"}
    {"id": "Mercury_7", "question": {"stem": "...", "choices": [{"text": "red", "label": "A"}, ...]}, ...}

The first is the hub's form, the second that of the original files. The answer is the choice of that label, a
letter or a digit from 1. Questions of a test set have no answer, and are left out.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import AliasChoices, BeforeValidator, Field, model_validator

from lmtools.core.strings import cut
from lmtools.data.reader import Reader
from lmtools.data.records import Id, MultipleChoice, Record, Texts, as_tuples, broken


def labelled(value: Any) -> Any:
    """Choices one by one as the two lists that they are on the hub."""
    if isinstance(value, list) and all(isinstance(choice, dict) for choice in value):
        return {name: [choice.get(name) for choice in value] for name in ("text", "label")}
    return value


class Choices(Record):
    """Texts and their labels."""

    text: Texts = Field(min_length=2)
    label: Annotated[tuple[Id, ...], BeforeValidator(as_tuples)]

    @model_validator(mode="after")
    def _one_label_each(self) -> Self:
        if not len(set(self.label)) == len(self.label) == len(self.text):
            raise broken("not one label for each choice", "write as many different labels as texts")
        return self


class ArcRecord(Record):
    """A record as the hub has it."""

    id: Id = Field(min_length=1)
    question: str = Field(min_length=1, validation_alias=AliasChoices("question", "question_stem"))
    choices: Annotated[Choices, BeforeValidator(labelled)]
    answer: Id = Field(default="", validation_alias="answerKey")

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, record: Any) -> Any:
        if isinstance(record, dict) and isinstance(nested := record.get("question"), dict):
            return {**record, "question": nested.get("stem"), "choices": nested.get("choices")}
        return record

    @model_validator(mode="after")
    def _one_of_the_labels(self) -> Self:
        if self.answer and self.answer not in self.choices.label:
            problem = f"answerKey: {cut(self.answer, 20)!r} is no label of a choice"
            raise broken(problem, f"write one of {', '.join(cut(each, 20) for each in self.choices.label)}")
        return self


def choices(record: ArcRecord) -> Iterator[MultipleChoice]:
    """The question with its choices, and the place of the right one."""
    if record.answer:
        index = record.choices.label.index(record.answer)
        yield MultipleChoice(
            id=record.id, question=record.question, choices=record.choices.text, answer=index
        )


def matches(record: Mapping[str, Any]) -> bool:
    """Whether the choices lie within the question, as in the original files."""
    return isinstance(record["question"], dict)


ARC = Reader(
    name="arc",
    label="ARC",
    marks=frozenset({"question", "choices", "answerKey"}),
    model=ArcRecord,
    makes={"choices": choices},
    unused="has no answer",
)
ARC_STEM = replace(ARC, name="arc-original", marks=frozenset({"question", "answerKey"}), matches=matches)
OPEN_BOOK_QA = replace(
    ARC, name="openbookqa", label="OpenBookQA", marks=frozenset({"question_stem", "choices", "answerKey"})
)
