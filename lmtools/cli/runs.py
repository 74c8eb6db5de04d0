"""What every command that makes a run shares: how it opens a run directory, and how it ends."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.invocation import as_called, program
from lmtools.cli.output import emit
from lmtools.core.config import Config
from lmtools.core.files import sha256_text
from lmtools.core.progress import say
from lmtools.core.recipe import dump_recipe
from lmtools.core.run import Run, default_out, last_unfinished, started_with
from lmtools.core.tracking import TrackedRun, Tracker, open_tracker
from lmtools.models.precision import describe_precisions

if TYPE_CHECKING:
    from lmtools.core.results import Results


@contextmanager
def open_run(
    system: str,
    action: str,
    recipe: Config,
    *,
    inputs: Mapping[str, str],
    seed: int,
    out: Path | None,
    resume: bool,
    pick_up: bool = False,
    agree: Callable[[Callable[[], str]], str] = lambda choose: choose(),
    track: "str | Tracker | None" = None,
    precision: Mapping[str, str] | None = None,
) -> Iterator[Run]:
    """Open the directory of a run, new or resumed; one that comes to its end gets its `report.html`.

    Args:
        inputs: each input's path or name -> SHA-256 of its content.
        pick_up: without ``out``, continue the last unfinished run if it is the same one, as ``resume`` does.
        agree: makes several processes choose the same directory.
        track: the name of a tracker, or one that is open already. It is no part of the run: a run that was
            begun without it can be resumed with it, and the other way round.
        precision: for the manifest; None: that of every model of the recipe.
    """
    if precision is None:
        precision = describe_precisions(recipe)
    if pick_up and out is None and not resume:
        last = last_unfinished(system, action)
        resume = last is not None and started_with(last, dump_recipe(recipe), inputs, seed)
        if resume:
            say(f"{last}/ was interrupted: continuing it")
    directory = out or Path(agree(lambda: str(default_out(system, action, resume=resume))))
    command = ["lmtools", *sys.argv[1:]]
    with Run.create(
        directory, recipe, command=command, inputs=inputs, resume=resume, seed=seed, precision=precision
    ) as run:
        if track is not None and run.writes:
            run.tracker = track if not isinstance(track, str) else open_tracker(track, _tracked(run, recipe))
        try:
            yield run
        finally:  # also where what comes after the run has failed, such as an upload
            if run.writes and run.manifest.finished:
                _show(run)


def _show(run: Run) -> None:
    """Write the run's page. What was measured stands without it: a fault here does not fail the run."""
    from lmtools.report.page import write_report

    try:
        say(f"report: {write_report([run.directory])}")
    except Exception as error:
        say(f"no report was written ({error}); try again: {program()} --debug report {run.directory}")


def _tracked(run: Run, recipe: Config) -> TrackedRun:
    """What a tracker is told of a run."""
    key = sha256_text(f"{run.directory.resolve()} {run.manifest.started}")[:16]
    return TrackedRun(run.directory.name, key, run.directory, recipe.model_dump(mode="json"))


def finish(
    run: Run,
    results: "Results",
    json: bool,
    closing: str,
    metrics: Sequence[str] = (),
    push: Callable[[], Mapping[str, str]] = dict,
) -> None:
    """End a run: its metrics, a table of them, ``closing``, and with ``json`` the results on stdout.

    Args:
        push: sends what was made elsewhere, when all is on disk; what it gives is part of the JSON.
    """
    run.finish(results)
    ending(results, closing, metrics)
    emit({"run": str(run.directory), **asdict(results), **push()}, json)


def ending(results: "Results", closing: str, metrics: Sequence[str] = ()) -> None:
    """For people: a table, and ``closing``, in which command lines become typeable."""
    from lmtools.report.markdown import print_table

    print_table(results, metrics)
    say(f"\n{as_called(closing)}")
