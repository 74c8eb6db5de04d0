"""`--dry-run`: check everything, render one real question of each task, count the work. Loads no weights."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmtools.calibration.inputs import check_methods, read_inputs
from lmtools.calibration.prompt import Rendering, open_rendering
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.tasks import Answers, Task
from lmtools.core.dry_run import Attempts, say_model, say_unchecked
from lmtools.core.progress import say
from lmtools.models.files import weights_gib
from lmtools.models.precision import describe_precision


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
    precision: str | None
    """Of the model, and why."""
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why, a sentence each."""
    notes: tuple[str, ...] = ()
    """What may not be meant so, a sentence each."""


def dry_run(
    recipe: CalibrationRecipe,
    methods: Sequence[str] | None = None,
    check_head: Callable[[], None] | None = None,
) -> Plan:
    """Everything that can be known before any weight is loaded.

    Args:
        methods: what the model can be read with, against which the recipe's names are held; None: not held.
        check_head: raises ModelError where the recipe's head is for another model.

    Raises:
        RecipeError: a task or a method is unknown.
        DataError: something is wrong with the data.
        ModelError: something is wrong with the model's files, or the head is for another model.
    """
    attempt = Attempts()
    notes = () if methods is None else check_methods(recipe, methods)
    questions = attempt("the questions", lambda: read_inputs(recipe))
    rendering = attempt("the tokenizer", lambda: open_rendering(recipe.model, recipe.chat))
    weights = None
    if recipe.model.backend != "server":
        weights = attempt("the model's size", lambda: weights_gib(recipe.model))
    if check_head is not None:
        attempt(f"whether {recipe.head} fits the model", check_head)
    tasks = [_plan(task, rendering, recipe) for task in questions[0]] if questions and rendering else []
    gib = round(weights, 2) if weights is not None else None
    return Plan(tuple(tasks), gib, describe_precision(recipe.model), tuple(attempt.unchecked), notes)


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
    for sentence in plan.notes:
        say(f"note: {sentence}")
    say_model(plan.precision, plan.weights_gib)
    say_unchecked(plan.unchecked)
