"""What train, explore, eval and quickstart share: a recipe and an open run directory."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli import runs
from lmtools.cli.options import BackendName, overrides
from lmtools.cli.output import emit
from lmtools.core.run import Run
from lmtools.models.recipes import load_model_recipe

if TYPE_CHECKING:
    from lmtools.leret.inputs import LeretInputs
    from lmtools.leret.recipe import LeretRecipe

DEFAULT = "leret/quickstart"


def read_recipe(
    ref: str | None,
    settings: Sequence[str] | None = None,
    model: str | None = None,
    backend: BackendName | None = None,
    seed: int | None = None,
) -> "LeretRecipe":
    """The recipe ``ref``, or the default one, with what the options change in it."""
    from lmtools.leret.recipe import LeretRecipe

    return load_model_recipe(LeretRecipe, ref, overrides(settings, model, backend, seed), default=DEFAULT)


@contextmanager
def open_run(
    action: str,
    recipe: "LeretRecipe",
    out: Path | None,
    resume: bool,
    *,
    trained: Path | None = None,
    pick_up: bool = False,
    track: str | None = None,
) -> Iterator[tuple["LeretInputs", Run]]:
    """Check and prepare everything that a run needs, then open its directory.

    Args:
        trained: the training run whose policy is an input.
        pick_up: without ``out``, continue the last unfinished run if it is the same one, as ``resume`` does.
        track: the name of a tracker.
    """
    from lmtools.leret.inputs import policy_hash, prepare
    from lmtools.leret.processes import agree

    policy = policy_hash(trained) if trained else {}
    setup = prepare(recipe)
    with runs.open_run(
        "leret",
        action,
        recipe,
        inputs={**setup.inputs, **policy},
        seed=recipe.seed,
        out=out,
        resume=resume,
        pick_up=pick_up,
        agree=agree,
        track=track,
    ) as run:
        yield setup, run


def show_plan(recipe: "LeretRecipe", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.leret.dry_run import dry_run, print_dry_run

    plan = dry_run(recipe)
    emit(plan, json)
    if not json:
        print_dry_run(plan)


def search_line(trained: Path, question: str) -> str:
    """The command that asks the policy of a training run."""
    return f"lmtools leret search {shlex.quote(question)} --policy {shlex.quote(str(trained))}"
