"""From a task's definition to what is asked: prompts, and what each answer is held against."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from lmtools.calibration.definition import AnswersTask, ChoicesTask, Definition, load_definition
from lmtools.calibration.match import closest, exact
from lmtools.calibration.prompt import LETTERS, Prompt, lettered
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.sample import evenly, shown_answer
from lmtools.core.errors import DataError, RecipeError
from lmtools.data.records import MultipleChoice, Question, TruthfulQuestion
from lmtools.data.sources import load_choices, load_questions, load_truthful

R = TypeVar("R", MultipleChoice, Question)


@dataclass(frozen=True)
class ChoiceItem:
    """A multiple-choice question; ``answer`` is the place of the right choice, from 0.

    ``question`` is the text of the source, without choices and demonstrations.
    """

    id: str
    prompt: Prompt
    choices: tuple[str, ...]
    answer: int
    question: str = ""
    subject: str = ""


@dataclass(frozen=True)
class AnswerItem:
    """A short-answer question; ``subject`` is its kind, where the source tells it."""

    id: str
    prompt: Prompt
    accepted: tuple[str, ...]
    rejected: tuple[str, ...] = ()
    question: str = ""
    subject: str = ""


@dataclass(frozen=True)
class Choices:
    """A multiple-choice task."""

    name: str
    definition: ChoicesTask
    items: tuple[ChoiceItem, ...]


@dataclass(frozen=True)
class Answers:
    """A short-answer task."""

    name: str
    definition: AnswersTask
    items: tuple[AnswerItem, ...]

    def is_right(self, item: AnswerItem, answer: str) -> bool:
        """By the task's matcher."""
        if self.definition.matcher == "closest":
            return closest(answer, item.accepted, item.rejected)
        return exact(answer, item.accepted)


Task = Choices | Answers


def read_tasks(recipe: CalibrationRecipe) -> tuple[Task, ...]:
    """The tasks of a recipe, each with the questions that are asked.

    Raises:
        RecipeError: a task is unknown, or two go by one name.
        DataError: a source is missing or breaks its contract, or a question cannot be asked or graded.
        MachineError: the hub cannot be reached.
    """
    named: dict[str, tuple[Definition, int | None]] = {}
    for settings in recipe.tasks:
        name, definition = load_definition(settings.name)
        if name in named:
            raise RecipeError(f"tasks: two go by the name {name!r}", fix="rename one of the files")
        named[name] = definition, settings.limit or recipe.limit or definition.limit
    return tuple(
        build_task(name, definition, limit, recipe.seed) for name, (definition, limit) in named.items()
    )


def build_task(name: str, definition: Definition, limit: int | None, seed: int) -> Task:
    """The questions of one task with their prompts; ``limit`` keeps so many of them, evenly over subjects."""
    if isinstance(definition, ChoicesTask):
        return Choices(name, definition, tuple(_choice_items(definition, limit, seed)))
    return Answers(name, definition, tuple(_answer_items(definition, limit, seed)))


def _choice_items(definition: ChoicesTask, limit: int | None, seed: int) -> list[ChoiceItem]:
    records = load_choices(definition.source, format=definition.format)
    if definition.demonstrations is None:
        shown, records = _apart(records, definition.shots, definition.source)
        by_subject = {record.subject: shown for record in records}
    else:
        by_subject = _by_subject(definition, {record.subject for record in records})
    _check_letters(records, definition.source)
    chosen = evenly([record.id for record in records], [record.subject for record in records], limit, seed)
    return [_choice_item(definition, records[at], by_subject[records[at].subject]) for at in chosen]


def _choice_item(
    definition: ChoicesTask, record: MultipleChoice, shown: Sequence[MultipleChoice]
) -> ChoiceItem:
    header = definition.header.format(subject=record.subject.replace("_", " "))
    shots = tuple((_choice_text(definition, other), LETTERS[other.answer]) for other in shown)
    prompt = Prompt(header, shots, _choice_text(definition, record))
    return ChoiceItem(
        record.id, prompt, record.choices, record.answer, record.question.strip(), record.subject
    )


def _choice_text(definition: ChoicesTask, record: MultipleChoice) -> str:
    return definition.template.format(question=record.question.strip(), choices=lettered(record.choices))


def _by_subject(definition: ChoicesTask, subjects: set[str]) -> dict[str, list[MultipleChoice]]:
    """The first demonstrations of each subject."""
    source = definition.demonstrations or ""
    shown: dict[str, list[MultipleChoice]] = {subject: [] for subject in subjects}
    for record in load_choices(source, format=definition.format):
        own = shown.get(record.subject)
        if own is not None and len(own) < definition.shots:
            own.append(record)
    lacking = sorted(subject for subject, own in shown.items() if len(own) < definition.shots)
    if lacking:
        raise DataError(
            f"{source}: {len(shown[lacking[0]])} demonstrations of {lacking[0]!r}, where shots is "
            f"{definition.shots}",
            fix="lower shots, or leave that subject's questions out",
        )
    return shown


def _answer_items(definition: AnswersTask, limit: int | None, seed: int) -> list[AnswerItem]:
    records = _questions(definition)
    _check_answers(records, definition)
    shown, records = _apart(records, definition.shots, definition.source)
    shots = [(item.question, item.answer) for item in definition.demonstrations]
    shots += [(record.question, shown_answer(_accepted(record))) for record in shown]
    asked = tuple((_question_text(definition, question), answer) for question, answer in shots)
    chosen = evenly([record.id for record in records], [""] * len(records), limit, seed)
    return [
        AnswerItem(
            record.id,
            Prompt(definition.header, asked, _question_text(definition, record.question)),
            _accepted(record),
            _rejected(record),
            record.question.strip(),
            record.kind,
        )
        for record in (records[at] for at in chosen)
    ]


def _questions(definition: AnswersTask) -> list[Question]:
    """The questions; those whose answers are held against rejected ones must have some."""
    if definition.matcher == "closest":
        return list(load_truthful(definition.source, format=definition.format))
    return load_questions(definition.source, format=definition.format)


def _question_text(definition: AnswersTask, question: str) -> str:
    return definition.template.format(question=question.strip())


def _accepted(record: Question) -> tuple[str, ...]:
    return tuple(filter(None, (record.answer, *record.aliases)))


def _rejected(record: Question) -> tuple[str, ...]:
    return record.incorrect if isinstance(record, TruthfulQuestion) else ()


def _apart(records: list[R], shots: int, source: str) -> tuple[list[R], list[R]]:
    """The first ``shots`` records, and the others."""
    if shots >= len(records):
        raise DataError(
            f"{source}: {len(records)} questions, of which {shots} are shown: none is left to ask",
            fix="give a source with more questions, or a definition with fewer shots",
        )
    return records[:shots], records[shots:]


def _check_letters(records: Sequence[MultipleChoice], source: str) -> None:
    for record in records:
        if len(record.choices) > len(LETTERS):
            raise DataError(
                f"{source}: {record.id!r} has {len(record.choices)} choices, and there are {len(LETTERS)} "
                "letters",
                fix="leave some of its choices out",
            )


def _check_answers(records: Sequence[Question], definition: AnswersTask) -> None:
    """Make sure that every answer can be graded."""
    bare = [record.id for record in records if not _accepted(record)]
    if bare:
        shown = ", ".join(map(repr, bare[:5])) + (" ..." if len(bare) > 5 else "")
        raise DataError(
            f"{definition.source}: {len(bare)} questions have no answer: {shown}",
            fix="add `answer` to them, or leave them out",
        )
