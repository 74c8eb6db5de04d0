"""Tasks: from a name or a file to questions with their prompts, and what answers are held against.

    name, definition = load_definition("mmlu")              # evals/mmlu.yaml, or a file of questions
    task = build_task(name, definition, limit=100, seed=0)
    task.items[0].prompt.text()

To add a task is to write its YAML file; a recipe's tasks are read by ``read_tasks``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from lmtools.calibration.prompt import LETTERS, Prompt, lettered
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.core.config import Config
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.files import bundled
from lmtools.core.recipe import SUFFIXES, load_recipe, parse_yaml, read_recipe
from lmtools.core.seeds import derive
from lmtools.core.strings import near_path
from lmtools.data.formats import detect
from lmtools.data.locations import read_source
from lmtools.data.records import MultipleChoice, Question, TruthfulQuestion
from lmtools.data.sources import load_choices, load_questions, load_truthful, peek
from lmtools.metrics.answers import exact_match, f1, normalise

# What a task is: the schema of `evals/*.yaml`, and how a name becomes one.
#
# Prompts are plain text: header, demonstrations and question, with an empty line between them. A
# demonstration is the question's text, one space, the answer; the question's text ends without a space, and
# the model goes on with `` A`` or `` Paris``.


class Demonstration(Config):
    """A question with its answer, shown before the one that is asked."""

    question: str = Field(min_length=1, description="The question.")
    answer: str = Field(min_length=1, description="Its answer.")


class ChoicesTask(Config):
    """Multiple choice: the letter of an option is the next token, confidence its share among the letters."""

    kind: Literal["choices"] = Field(default="choices", description="Multiple choice.")
    source: str = Field(description="The questions: a path, `atlas:choices`, `data:...` or `hf:...`.")
    format: str = Field(default="auto", description="The source's format, where its fields do not tell.")
    shots: int = Field(default=0, ge=0, description="Demonstrations before each question.")
    demonstrations: str | None = Field(
        default=None,
        description="A source of demonstrations, the first of each subject; null: the first questions of the "
        "task's own source, which are then not asked.",
    )
    header: str = Field(default="", description="What a prompt opens with; {subject} is the subject's name.")
    template: str = Field(
        default="{question}\n{choices}\nAnswer:",
        description="A question's text; {choices} are lines such as `A. Paris`.",
    )
    limit: int | None = Field(default=None, gt=0, description="At most this many questions.")

    @model_validator(mode="after")
    def _fields(self) -> Self:
        _check_fields("header", self.header, {"subject"}, set())
        _check_fields("template", self.template, {"question", "choices"}, {"question", "choices"})
        return self


class AnswersTask(Config):
    """Short answers: the model writes one, and it is held against the accepted ones."""

    kind: Literal["answers"] = Field(default="answers", description="Short answers.")
    source: str = Field(description="The questions: a path, `atlas:test`, `data:...` or `hf:...`.")
    format: str = Field(default="auto", description="The source's format, where its fields do not tell.")
    shots: int = Field(
        default=0,
        ge=0,
        description="Demonstrations before each question: the first questions of the source, which are then "
        "not asked.",
    )
    demonstrations: tuple[Demonstration, ...] = Field(
        default=(), description="Demonstrations as they stand, in place of the source's first questions."
    )
    header: str = Field(default="", description="What a prompt opens with.")
    template: str = Field(default="Question: {question}\nAnswer:", description="A question's text.")
    max_tokens: int = Field(default=32, gt=0, description="The longest answer, in tokens.")
    stop: tuple[str, ...] = Field(default=("\n",), description="Strings that end an answer.")
    matcher: Literal["exact", "closest"] = Field(
        default="exact",
        description="`exact`: right if equal to an accepted answer after SQuAD's normalisation. `closest`: "
        "right if its token F1 with an accepted answer is higher than with any rejected one.",
    )
    limit: int | None = Field(default=None, gt=0, description="At most this many questions.")

    @model_validator(mode="after")
    def _fields(self) -> Self:
        _check_fields("header", self.header, set(), set())
        _check_fields("template", self.template, {"question"}, {"question"})
        if self.shots and self.demonstrations:
            raise ValueError("shots and demonstrations exclude each other: give one of them")
        return self


Definition = ChoicesTask | AnswersTask
KINDS: dict[str, type[ChoicesTask] | type[AnswersTask]] = {"choices": ChoicesTask, "answers": AnswersTask}


def packaged_tasks() -> list[str]:
    """The names of the tasks that ship with lmtools."""
    return sorted(path.stem for path in bundled("evals").glob("*.yaml"))


def load_definition(name: str) -> tuple[str, Definition]:
    """The short name of a task, as metrics carry it, and its definition.

    Raises:
        RecipeError: there is no such task, or its file does not fit the schema.
        DataError: a JSONL file's first line shows that it holds no questions.
    """
    if name in packaged_tasks():
        return name, _read(bundled("evals", f"{name}.yaml"))
    path = Path(name).expanduser()
    if path.suffix in SUFFIXES and path.is_file():
        return path.stem, _read(path)
    if path.is_file():
        return path.name.split(".")[0], KINDS[_kind_of(name)](source=name)
    near = get_close_matches(name, packaged_tasks(), n=3, cutoff=0.5)
    if not near and (file := near_path(path)):
        near = [str(file)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise RecipeError(
        f"unknown task {name!r}, and no such file{hint}",
        fix=f"name a JSONL file, a YAML definition, or one of {', '.join(packaged_tasks())}",
    )


def _read(path: Path) -> Definition:
    kind = parse_yaml(read_recipe(path), str(path)).get("kind")
    if kind not in KINDS:
        raise RecipeError(
            f"{path}: kind: {kind!r} is none of {', '.join(KINDS)}", fix="write `kind: choices`"
        )
    return load_recipe(KINDS[kind], str(path), default="")


def _kind_of(source: str) -> str:
    """Which kind of task the questions of a file make, by the format of its first record."""
    _, record = peek(read_source(source))
    reader = detect(record)
    if reader is not None and {"choices", "questions"} & set(reader.makes):
        return "choices" if "choices" in reader.makes else "answers"
    raise DataError(
        f"{source}: its first line has no `question`",
        fix='write {"id", "question", "choices", "answer": INDEX} or {"id", "question", "answer"} a line',
    )


def _check_fields(setting: str, text: str, allowed: set[str], needed: set[str]) -> None:
    try:
        used = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"{setting}: {error}; write {{{{ for a brace") from error
    if used - allowed or needed - used:
        names = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "no field at all"
        raise ValueError(f"{setting}: must have {names} and no other field in braces")


# Whether a written answer is right.


def exact(answer: str, accepted: Sequence[str]) -> bool:
    """Whether the answer equals an accepted one after SQuAD's normalisation; one without words never does."""
    return bool(normalise(answer)) and exact_match(answer, accepted) == 1.0


def closest(answer: str, accepted: Sequence[str], rejected: Sequence[str]) -> bool:
    """Whether the answer is closer to an accepted answer than to every rejected one, in token F1.

    It sees words, not meanings: a right answer in words of its own shares few with either list, a wrong one
    that differs from an accepted answer by "not" shares almost all. A tie, such as no word in common with
    any, is wrong. So its rates compare methods and models with each other, not with those of a human judge.
    """
    if not normalise(answer):
        return False
    return f1(answer, accepted) > (f1(answer, rejected) if rejected else 0.0)


# Which questions of a task are asked, and which are shown: pure functions.


def evenly(ids: Sequence[str], subjects: Sequence[str], limit: int | None, seed: int) -> list[int]:
    """Positions of at most ``limit`` questions, the same number of every subject, as far as it has them.

    With one subject these are the first ones. Otherwise a subject's questions are drawn by seed and id, so
    that a larger limit only adds questions; what one subject lacks, the others make up for, and a remainder
    goes to the first subjects by name.

    Returns:
        Positions in rising order.
    """
    count = len(ids) if limit is None else min(limit, len(ids))
    members: dict[str, list[int]] = {}
    for position, subject in enumerate(subjects):
        members.setdefault(subject, []).append(position)
    if count == len(ids) or len(members) == 1:
        return list(range(count))
    shares = split_evenly({subject: len(positions) for subject, positions in sorted(members.items())}, count)
    chosen: list[int] = []
    for subject, positions in members.items():
        drawn = sorted(positions, key=lambda position: derive(seed, ids[position]))
        chosen += drawn[: shares[subject]]
    return sorted(chosen)


def split_evenly(sizes: dict[str, int], total: int) -> dict[str, int]:
    """How many each part gives so that they are ``total`` and as equal as the parts' sizes allow.

    >>> split_evenly({"a": 5, "b": 1, "c": 5}, 8)
    {'a': 4, 'b': 1, 'c': 3}
    """
    shares = dict.fromkeys(sizes, 0)
    left = min(total, sum(sizes.values()))
    while left:
        open_parts = [part for part, size in sizes.items() if shares[part] < size]
        equal = max(1, left // len(open_parts))
        for part in open_parts:
            share = min(equal, sizes[part] - shares[part], left)
            shares[part] += share
            left -= share
    return shares


def shown_answer(accepted: Sequence[str]) -> str:
    """The accepted answer that a demonstration shows: the name that most of the others contain.

    Public files list aliases in any order ("Fourth planet" before "Mars"). Words are compared after
    normalisation; of several such answers the shortest is shown, of these the first.

    >>> shown_answer(["Fourth planet", "Mars surface features", "Mars", "Planet Mars"])
    'Mars'
    """
    words = [f" {normalise(answer)} " for answer in accepted]

    def rank(index: int) -> tuple[bool, int, int]:
        contained = sum(words[index] in other for other in words)
        return not words[index].strip(), -contained, len(accepted[index])

    return accepted[min(range(len(accepted)), key=rank)]


# What is asked.

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
        shots, records = _apart(records, definition.shots, definition.source)
        by_subject = {record.subject: shots for record in records}
    else:
        by_subject = _by_subject(definition, {record.subject for record in records})
    _check_letters(records, definition.source)
    chosen = evenly([record.id for record in records], [record.subject for record in records], limit, seed)
    return [_choice_item(definition, records[at], by_subject[records[at].subject]) for at in chosen]


def _choice_item(
    definition: ChoicesTask, record: MultipleChoice, examples: Sequence[MultipleChoice]
) -> ChoiceItem:
    header = definition.header.format(subject=record.subject.replace("_", " "))
    shots = tuple((_choice_text(definition, example), LETTERS[example.answer]) for example in examples)
    prompt = Prompt(header, shots, _choice_text(definition, record))
    return ChoiceItem(
        record.id, prompt, record.choices, record.answer, record.question.strip(), record.subject
    )


def _choice_text(definition: ChoicesTask, record: MultipleChoice) -> str:
    return definition.template.format(question=record.question.strip(), choices=lettered(record.choices))


def _by_subject(definition: ChoicesTask, subjects: set[str]) -> dict[str, list[MultipleChoice]]:
    """The first demonstrations of each subject."""
    source = definition.demonstrations or ""
    examples: dict[str, list[MultipleChoice]] = {subject: [] for subject in subjects}
    for record in load_choices(source, format=definition.format):
        first = examples.get(record.subject)
        if first is not None and len(first) < definition.shots:
            first.append(record)
    lacking = sorted(subject for subject, first in examples.items() if len(first) < definition.shots)
    if lacking:
        raise DataError(
            f"{source}: {len(examples[lacking[0]])} demonstrations of {lacking[0]!r}, where shots is "
            f"{definition.shots}",
            fix="lower shots, or leave that subject's questions out",
        )
    return examples


def _answer_items(definition: AnswersTask, limit: int | None, seed: int) -> list[AnswerItem]:
    records = _questions(definition)
    _check_answers(records, definition)
    examples, records = _apart(records, definition.shots, definition.source)
    shots = [(item.question, item.answer) for item in definition.demonstrations]
    shots += [(record.question, shown_answer(_accepted(record))) for record in examples]
    demonstrations = tuple((_question_text(definition, question), answer) for question, answer in shots)
    chosen = evenly([record.id for record in records], [""] * len(records), limit, seed)
    return [
        AnswerItem(
            record.id,
            Prompt(definition.header, demonstrations, _question_text(definition, record.question)),
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
        names = ", ".join(map(repr, bare[:5])) + (" ..." if len(bare) > 5 else "")
        raise DataError(
            f"{definition.source}: {len(bare)} questions have no answer: {names}",
            fix="add `answer` to them, or leave them out",
        )
