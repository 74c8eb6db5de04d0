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
from lmtools.data.records import Record
from lmtools.data.rows import read_records
from lmtools.data.sources import source_hash
from lmtools.models.files import model_hashes

# Answers that were written elsewhere: a JSONL file of `id` and `answer`, scored as they are.


class GivenAnswer(Record):
    """One answer to one question; a question may have several, so ids need not be unique."""

    question: str = Field(alias="id", min_length=1)
    answer: str = Field(min_length=1)


def read_given(path: Path, tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """Question id -> its answers, in the order of the file.

    Raises:
        RecipeError: the recipe has other than one short-answer task.
        DataError: a line is no answer, an answer is empty, or an id belongs to none of the questions asked.
    """
    asked = [task for task in tasks if isinstance(task, Answers)]
    if len(asked) != 1 or len(tasks) != 1:
        raise RecipeError(
            "answers.file needs exactly one task, with short answers",
            fix="name it, such as --task triviaqa",
        )
    ids = {item.id for item in asked[0].items}
    found: dict[str, tuple[str, ...]] = {}
    for line in read_records(path, GivenAnswer):
        if line.question not in ids:
            near = near_miss(line.question, ids)
            raise DataError(
                f"{path}: {line.question!r} is no id of the questions asked in {asked[0].name}",
                fix=f"did you mean {near!r}?" if near else "check the ids; a limit leaves questions out",
            )
        found[line.question] = (*found.get(line.question, ()), line.answer)
    missing = len(ids) - len(found)
    if missing:
        say(f"note: {missing} of {len(ids)} questions have no answer in {path} and are left out")
    return found


def only_answered(tasks: Sequence[Task], given: Mapping[str, tuple[str, ...]]) -> tuple[Task, ...]:
    """The tasks with the questions that have an answer."""
    return tuple(
        Answers(task.name, task.definition, tuple(item for item in task.items if item.id in given))
        for task in tasks
        if isinstance(task, Answers)
    )


@dataclass(frozen=True)
class Setup:
    """What a measurement works with; ``inputs`` are the SHA-256 of everything that was read.

    ``given`` holds the answers of each question where they were written elsewhere; else it is None.
    """

    recipe: CalibrationRecipe
    tasks: tuple[Task, ...]
    rendering: Rendering
    given: Mapping[str, tuple[str, ...]] | None
    inputs: dict[str, str]


def prepare(recipe: CalibrationRecipe, methods: Sequence[str] | None = None) -> Setup:
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
    tasks, given = read_inputs(recipe)
    inputs = model_hashes(recipe.model)
    for task in tasks:
        inputs |= task_hashes(task.name, task.definition)
    if recipe.answers.file is not None:
        inputs[recipe.answers.file] = sha256_file(Path(recipe.answers.file).expanduser())
    return Setup(recipe, tasks, open_rendering(recipe.model, recipe.chat), given, inputs)


def read_inputs(recipe: CalibrationRecipe) -> tuple[tuple[Task, ...], dict[str, tuple[str, ...]] | None]:
    """The tasks, and the given answers, if there are any; raises as ``prepare`` does for them."""
    tasks = read_tasks(recipe)
    if recipe.answers.file is None:
        return tasks, None
    given = read_given(Path(recipe.answers.file).expanduser(), tasks)
    return only_answered(tasks, given), given


def check_methods(recipe: CalibrationRecipe, methods: Sequence[str]) -> tuple[str, ...]:
    """What is to be said of the recipe's `compare`: a sentence for each name that is none of ``methods``.

    Raises:
        RecipeError: `methods` names one that is not there.
    """
    known = ", ".join(methods)
    for name in recipe.methods:
        if name not in methods:
            raise RecipeError(
                f"methods: {name!r} is none of those that can be measured: {known}",
                fix="leave methods out, or name the run that fitted it: --head RUN",
            )
    return tuple(
        f"compare: {name!r} will not be measured ({known})" for name in recipe.compare if name not in methods
    )


def task_hashes(name: str, definition: Definition) -> dict[str, str]:
    """SHA-256 of a task's definition and of its sources."""
    sources = [definition.source]
    if isinstance(definition, ChoicesTask) and definition.demonstrations is not None:
        sources.append(definition.demonstrations)
    hashes = {f"task {name}": sha256_text(definition.model_dump_json())}
    return hashes | {source: source_hash(source) for source in sources}
