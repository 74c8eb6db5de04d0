"""How a command prints its answer: tables and sentences for people on stderr, JSON for programs on stdout."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lmtools.cli.invocation import as_called
from lmtools.core.progress import first_process, say
from lmtools.core.strings import printable

if TYPE_CHECKING:
    from lmtools.core.results import Results
    from lmtools.runs import FinishedRun


def show_run(run: "FinishedRun", json: bool, closing: str, metrics: Sequence[str] = ()) -> None:
    """A finished run: a table of its metrics, ``closing``, and with ``json`` the results on stdout."""
    show_results(run.results, closing, metrics)
    emit(run.as_json(), json)


def show_results(results: "Results", closing: str, metrics: Sequence[str] = ()) -> None:
    """For people: a table, the verdict, and ``closing``, in which command lines become typeable."""
    from lmtools.report.markdown import print_table

    print_table(results, metrics)
    say_verdicts(results)
    say(f"\n{as_called(closing)}")


def echo(text: str) -> None:
    """Lines of an answer for a person, on stdout."""
    typer.echo(printable(text))


def say_verdicts(results: "Results") -> None:
    """How the main row stands to the strongest baseline, a sentence for each headline metric that has one."""
    from lmtools.report.verdict import verdicts

    for verdict in verdicts(results):
        if verdict.strongest:
            say(f"\n{verdict.sentence}")


def emit(value: Any, as_json: bool) -> None:
    """Print a command's answer: with ``as_json`` one JSON object on stdout, otherwise nothing.

    Of several processes only the first one prints.

    Dataclasses, pydantic models and paths inside ``value`` are written as JSON has them.

    Raises:
        ValueError: a figure is NaN or infinite.
    """
    if as_json and first_process():
        text = json.dumps(value, default=_plain, ensure_ascii=True, allow_nan=False, indent=2)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")
