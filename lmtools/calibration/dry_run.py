"""`--dry-run`: check everything, render one real question of each task, count the work. Loads no weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lmtools.calibration.prompt import Rendering, open_rendering
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.setup import read_inputs
from lmtools.calibration.tasks import Answers, Task
from lmtools.core.errors import MachineError
from lmtools.core.progress import say
from lmtools.models.size import parameters

T = TypeVar("T")
BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class TaskPlan:
    """What one task would cost; token counts are None where there is no tokenizer."""

    task: str
    questions: int
    prompt: str
    """The first question's."""
    tokens: int | None
    prompt_tokens: int | None
    """Of all prompts; what prompts share at their beginning is computed once."""
    generated_tokens: int
    """At most."""


@dataclass(frozen=True)
class Plan:
    """What a measurement would do."""

    tasks: tuple[TaskPlan, ...]
    weights_gib: float | None
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why, a sentence each."""


def dry_run(recipe: CalibrationRecipe) -> Plan:
    """Everything that can be known before any weight is loaded.

    Raises:
        RecipeError: a task is unknown.
        DataError: something is wrong with the data.
        ModelError: something is wrong with the model's files.
    """
    unchecked: list[str] = []

    def attempt(what: str, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except MachineError as error:
            unchecked.append(f"{what}: {error.message.splitlines()[0]}")
            return None

    found = attempt("the questions", lambda: read_inputs(recipe))
    rendering = attempt("the tokenizer", lambda: open_rendering(recipe.model, recipe.chat))
    size = None
    if recipe.model.backend != "server":
        size = attempt("the model's size", lambda: parameters(recipe.model))
    if recipe.head is not None:
        unchecked.append(f"whether {recipe.head} fits the model: that needs its weights")
    tasks = [_plan(task, rendering, recipe) for task in found[0]] if found and rendering else []
    weights = round(size * BYTES[recipe.model.dtype] / 2**30, 2) if size else None
    return Plan(tuple(tasks), weights, tuple(unchecked))


def _plan(task: Task, rendering: Rendering, recipe: CalibrationRecipe) -> TaskPlan:
    prompts = [rendering.text(item.prompt) for item in task.items]
    counts = rendering.count_tokens(prompts)
    written = 0
    if isinstance(task, Answers) and recipe.answers.file is None:
        written = len(prompts) * recipe.answers.samples * task.definition.max_tokens
    return TaskPlan(
        task=task.name,
        questions=len(prompts),
        prompt=prompts[0],
        tokens=counts[0] if counts else None,
        prompt_tokens=sum(counts) if counts else None,
        generated_tokens=written,
    )


def print_dry_run(plan: Plan) -> None:
    """The plan for a person, on stderr."""
    for task in plan.tasks:
        tokens = "" if task.tokens is None else f", {task.tokens} tokens"
        say(f"--- {task.task}: the first of {task.questions} prompts{tokens} ---\n{task.prompt}\n")
    for task in plan.tasks:
        read = "" if task.prompt_tokens is None else f"{task.prompt_tokens:,} tokens read, "
        say(f"{task.task}: {task.questions} questions, {read}at most {task.generated_tokens:,} written")
    if plan.weights_gib is not None:
        say(f"memory: {plan.weights_gib} GiB of weights, and what a batch needs")
    for sentence in plan.unchecked:
        say(f"not checked: {sentence}")
    say(f"{'all else' if plan.unchecked else 'everything'} checks out; run it without --dry-run")
