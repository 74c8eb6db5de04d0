"""What every command that makes a run shares: how it opens a run directory, and how it ends."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.cli.invocation import as_called
from lmtools.cli.options import emit
from lmtools.core.config import Config
from lmtools.core.progress import say
from lmtools.core.recipe import dump_recipe
from lmtools.core.resume import started_with
from lmtools.core.run import Run, default_out, last_unfinished

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
) -> Iterator[Run]:
    """Open the directory of a run, new or resumed.

    Args:
        inputs: each input's path or name -> SHA-256 of its content.
        pick_up: without ``out``, continue the last unfinished run if it is the same one, as ``resume`` does.
        agree: makes several processes choose the same directory.
    """
    if pick_up and out is None and not resume:
        last = last_unfinished(system, action)
        resume = last is not None and started_with(last, dump_recipe(recipe), inputs, seed)
        if resume:
            say(f"{last}/ was interrupted: continuing it")
    directory = out or Path(agree(lambda: str(default_out(system, action, resume=resume))))
    command = ["lmtools", *sys.argv[1:]]
    with Run.create(directory, recipe, command=command, inputs=inputs, resume=resume, seed=seed) as run:
        yield run


def finish(run: Run, results: "Results", json: bool, closing: str, metrics: Sequence[str] = ()) -> None:
    """End a run: its metrics, a table of them, ``closing``, and with ``json`` the results on stdout."""
    run.finish(results)
    ending(results, closing, metrics)
    emit({"run": str(run.directory), **asdict(results)}, json)


def ending(results: "Results", closing: str, metrics: Sequence[str] = ()) -> None:
    """For people: a table, and ``closing``, in which command lines become typeable."""
    from lmtools.report.table import print_table

    print_table(results, metrics)
    say(f"\n{as_called(closing)}")
