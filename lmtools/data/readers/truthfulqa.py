"""TruthfulQA (Lin et al., 2022): questions that invite a common falsehood, to choose or to answer freely.

    mc_task.json    {"question", "mc1_targets": {"The right answer": 1, "A falsehood": 0, ...}, "mc2_targets"}
    TruthfulQA.csv  Type,Category,Question,Best Answer,...,Correct Answers,Incorrect Answers,Source

In the files the right choice stands first, and nothing has an id. Choices are put in the order of the SHA-256
of question and choice, the same everywhere; an id is the SHA-256 of the question, so it is the same in both
files. The hub's ``truthful_qa`` (``generation`` and ``multiple_choice``) is read too.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AliasChoices, BeforeValidator, Field, field_validator

from lmtools.core.files import sha256_text
from lmtools.data.reader import Reader
from lmtools.data.records import MultipleChoice, Record, Texts, TruthfulQuestion, as_tuples, broken


def targets(value: Any) -> Any:
    """Both shapes of choices, ``{TEXT: 1}`` and ``{"choices": [...], "labels": [...]}``, as pairs."""
    if not isinstance(value, dict):
        return as_tuples(value)
    texts, labels = value.get("choices"), value.get("labels")
    if isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels):
        return tuple(zip(texts, labels, strict=True))
    return tuple(value.items())


def separated(value: Any) -> Any:
    """The answers of a cell, which a semicolon parts; a list as it is."""
    if isinstance(value, str):
        return tuple(part for part in map(str.strip, value.split(";")) if part)
    return as_tuples(value)


class TextIdRecord(Record):
    """A question that its own text identifies."""

    question: str = Field(validation_alias=AliasChoices("question", "Question"), min_length=1)

    @property
    def id(self) -> str:
        """``truthfulqa-`` and the start of the question's SHA-256."""
        return f"truthfulqa-{sha256_text(self.question)[:12]}"


class ChoiceRecord(TextIdRecord):
    """A record of ``mc_task.json``: choices, of which exactly one is right, each with 1 or 0."""

    mc1_targets: Annotated[tuple[tuple[str, int], ...], BeforeValidator(targets)] = Field(min_length=2)

    @field_validator("mc1_targets")
    @classmethod
    def _one_right(cls, choices: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        labels = [label for _, label in choices]
        if sorted(labels) != [0] * (len(labels) - 1) + [1]:
            raise broken(f"the choices are marked {labels}", "mark one choice with 1 and the others with 0")
        return choices


class AnswerRecord(TextIdRecord):
    """A row of ``TruthfulQA.csv``."""

    best: str = Field(validation_alias=AliasChoices("Best Answer", "best_answer"), min_length=1)
    correct: Annotated[Texts, BeforeValidator(separated)] = Field(
        validation_alias=AliasChoices("Correct Answers", "correct_answers"), min_length=1
    )
    incorrect: Annotated[Texts, BeforeValidator(separated)] = Field(
        validation_alias=AliasChoices("Incorrect Answers", "incorrect_answers"), min_length=1
    )
    category: str = Field(default="", validation_alias=AliasChoices("Category", "category"))


def choices(record: ChoiceRecord) -> Iterator[MultipleChoice]:
    """The question with its choices in an order of their own."""
    order = sorted(record.mc1_targets, key=lambda target: sha256_text(f"{record.question}\n{target[0]}"))
    yield MultipleChoice(
        id=record.id,
        question=record.question,
        choices=tuple(text for text, _ in order),
        answer=[label for _, label in order].index(1),
        subject="truthfulqa",
    )


def answers(record: AnswerRecord) -> Iterator[TruthfulQuestion]:
    """The question with its best answer, the other true ones as aliases, and the false ones."""
    yield TruthfulQuestion(
        id=record.id,
        question=record.question,
        answer=record.best,
        aliases=tuple(answer for answer in dict.fromkeys(record.correct) if answer != record.best),
        incorrect=tuple(dict.fromkeys(record.incorrect)),
        kind=record.category,
    )


TRUTHFULQA_CHOICES = Reader(
    name="truthfulqa-mc",
    label="TruthfulQA, multiple choice",
    marks=frozenset({"question", "mc1_targets"}),
    model=ChoiceRecord,
    makes={"choices": choices},
)
TRUTHFULQA = Reader(
    name="truthfulqa",
    label="TruthfulQA",
    marks=frozenset({"Question", "Best Answer", "Correct Answers", "Incorrect Answers"}),
    model=AnswerRecord,
    makes={"truthful": answers, "questions": answers},
)
TRUTHFULQA_HUB = replace(
    TRUTHFULQA,
    name="truthfulqa-hub",
    marks=frozenset({"question", "best_answer", "correct_answers", "incorrect_answers"}),
)
