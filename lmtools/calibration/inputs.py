"""From a recipe to what a measurement works with: tasks, form of the prompts, given answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from lmtools.calibration.prompt import Rendering, open_rendering
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.tasks import Answers, ChoicesTask, Definition, Task, read_tasks
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.files import sha256_file, sha256_text
from lmtools.core.progress import say
from lmtools.core.strings import near_miss
from lmtools.data.records import Id, Record
from lmtools.data.rows import read_records
from lmtools.data.sources import source_hash
from lmtools.models.files import model_hashes

# Answers that were written elsewhere: a JSONL file of `id` and `answer`, scored as they are.


class WrittenAnswer(Record):
    """One answer to one question; a question may have several, so ids need not be unique."""

    question: Id = Field(alias="id", min_length=1)
    answer: str = Field(min_length=1)


def read_answers(path: Path, tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """Question id -> its answers, in the order of the file.

    Raises:
        RecipeError: the recipe has other than one short-answer task.
        DataError: a line is no answer, an answer is empty, or an id belongs to none of the questions asked.
    """
    short = [task for task in tasks if isinstance(task, Answers)]
    if len(short) != 1 or len(tasks) != 1:
        raise RecipeError(
            "answers.file needs exactly one task, with short answers",
            fix="name it, such as --task triviaqa",
        )
    ids = {item.id for item in short[0].items}
    answers: dict[str, tuple[str, ...]] = {}
    for line in read_records(path, WrittenAnswer):
        if line.question not in ids:
            near = near_miss(line.question, ids)
            raise DataError(
                f"{path}: {line.question!r} is no id of the questions asked in {short[0].name}",
                fix=f"did you mean {near!r}?" if near else "check the ids; a limit leaves questions out",
            )
        answers[line.question] = (*answers.get(line.question, ()), line.answer)
    missing = len(ids) - len(answers)
    if missing:
        say(f"note: {missing} of {len(ids)} questions have no answer in {path} and are left out")
    return answers


def only_answered(tasks: Sequence[Task], answers: Mapping[str, tuple[str, ...]]) -> tuple[Task, ...]:
    """The tasks with the questions that have an answer."""
    return tuple(
        Answers(task.name, task.definition, tuple(item for item in task.items if item.id in answers))
        for task in tasks
        if isinstance(task, Answers)
    )


@dataclass(frozen=True)
class CalibrationInputs:
    """What a measurement works with; ``hashes`` are the SHA-256 of everything that was read.

    ``answers`` holds those of each question where they were written elsewhere; else it is None.
    """

    recipe: CalibrationRecipe
    tasks: tuple[Task, ...]
    rendering: Rendering
    answers: Mapping[str, tuple[str, ...]] | None
    hashes: dict[str, str]


def prepare(recipe: CalibrationRecipe, methods: Sequence[str] | None = None) -> CalibrationInputs:
    """Read and check tasks and data, load the tokenizer, hash all inputs but the head.

    Args:
        methods: what the model can be read with, against which the recipe's names are held; None: not held.

    Raises:
        RecipeError: a task or a method is unknown.
        DataError: a source is missing or wrong.
        ModelError: the model cannot be used.
        MachineError: a download failed.
    """
    for sentence in () if methods is None else check_methods(recipe, methods):
        say(f"note: {sentence}")
    tasks, answers = read_inputs(recipe)
    hashes = model_hashes(recipe.model)
    for task in tasks:
        hashes |= task_hashes(task.name, task.definition)
    if recipe.answers.file is not None:
        hashes[recipe.answers.file] = sha256_file(Path(recipe.answers.file).expanduser())
    rendering = open_rendering(recipe.model, recipe.chat)
    return CalibrationInputs(recipe, tasks, rendering, answers, hashes)


def read_inputs(recipe: CalibrationRecipe) -> tuple[tuple[Task, ...], dict[str, tuple[str, ...]] | None]:
    """The tasks, and the answers that were written elsewhere, if any; raises as ``prepare`` does for them."""
    tasks = read_tasks(recipe)
    if recipe.answers.file is None:
        return tasks, None
    answers = read_answers(Path(recipe.answers.file).expanduser(), tasks)
    return only_answered(tasks, answers), answers


def check_methods(recipe: CalibrationRecipe, methods: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of the recipe's `compare`: a sentence for each name that is none of ``methods``.

    Raises:
        RecipeError: `methods` names one that is not there.
    """
    names = ", ".join(methods)
    for name in recipe.methods:
        if name not in methods:
            raise RecipeError(
                f"methods: {name!r} is none of those that can be measured: {names}",
                fix="leave methods out, or name the run that fitted it: --head RUN",
            )
    return tuple(
        f"compare: {name!r} will not be measured ({names})" for name in recipe.compare if name not in methods
    )


def task_hashes(name: str, definition: Definition) -> dict[str, str]:
    """SHA-256 of a task's definition and of its sources."""
    sources = [definition.source]
    if isinstance(definition, ChoicesTask) and definition.demonstrations is not None:
        sources.append(definition.demonstrations)
    hashes = {f"task {name}": sha256_text(definition.model_dump_json())}
    return hashes | {source: source_hash(source) for source in sources}
