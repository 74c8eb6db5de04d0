"""What train, explore, eval and quickstart share: a recipe, an open run directory, and how a run ends."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.invocation import as_called
from lmtools.cli.options import BackendName, emit, overrides
from lmtools.core.progress import say
from lmtools.core.recipe import dump_recipe, load_recipe
from lmtools.core.resume import started_with
from lmtools.core.run import Run, default_out, last_unfinished

if TYPE_CHECKING:
    from lmtools.core.results import Results
    from lmtools.leret.recipe import LeretRecipe
    from lmtools.leret.setup import Setup

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

    return load_recipe(LeretRecipe, ref, overrides(settings, model, backend, seed), default=DEFAULT)


@contextmanager
def open_run(
    action: str,
    recipe: "LeretRecipe",
    out: Path | None,
    resume: bool,
    *,
    trained: Path | None = None,
    pick_up: bool = False,
) -> Iterator[tuple["Setup", Run]]:
    """Check and prepare everything that a run needs, then open its directory.

    Args:
        trained: the training run whose policy is an input.
        pick_up: without ``out``, continue the last unfinished run if it is the same one, as ``resume`` does.
    """
    from lmtools.leret.processes import agree
    from lmtools.leret.setup import policy_hash, prepare

    policy = policy_hash(trained) if trained else {}
    setup = prepare(recipe)
    inputs = {**setup.inputs, **policy}
    if pick_up and out is None and not resume:
        last = last_unfinished("leret", action)
        resume = last is not None and started_with(last, dump_recipe(recipe), inputs, recipe.seed)
        if resume:
            say(f"{last}/ was interrupted: continuing it")
    directory = out or Path(agree(lambda: str(default_out("leret", action, resume=resume))))
    command = ["lmtools", *sys.argv[1:]]
    with Run.create(
        directory, recipe, command=command, inputs=inputs, resume=resume, seed=recipe.seed
    ) as run:
        yield setup, run


def show_plan(recipe: "LeretRecipe", json: bool) -> None:
    """``--dry-run``."""
    from lmtools.leret.dry_run import dry_run, print_dry_run

    plan = dry_run(recipe)
    emit(plan, json)
    if not json:
        print_dry_run(plan)


def finish(run: Run, results: "Results", json: bool, closing: str) -> None:
    """End a run: its metrics, the table, and ``closing``, in which command lines become typeable."""
    from lmtools.leret.summary import print_table

    run.finish(results)
    print_table(results)
    say(f"\n{as_called(closing)}")
    emit({"run": str(run.directory), **asdict(results)}, json)


def search_line(trained: Path, question: str) -> str:
    """The command that asks the policy of a training run."""
    return f"lmtools leret search {shlex.quote(question)} --policy {shlex.quote(str(trained))}"
