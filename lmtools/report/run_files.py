"""A run as the report reads it: its directory, what every run has in it, and the lines of its JSONL files.

A page shows runs of older versions and runs that were copied, so every value is checked as it is read; a
damaged file is a DataError that names it and the line.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from lmtools.core.errors import DataError, RunError
from lmtools.core.manifest import MANIFEST, Manifest, read_manifest
from lmtools.core.recipe_yaml import parse_yaml
from lmtools.core.results import Results, read_results
from lmtools.core.run import METRICS, RECIPE
from lmtools.core.stored import MALFORMED, describe, parse_record
from lmtools.core.strings import without_secrets
from lmtools.data.rows import jsonl_lines

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """One run. ``results`` is None where it has not come to its end."""

    directory: Path
    name: str
    manifest: Manifest
    recipe: str
    results: Results | None

    def path(self, *parts: str) -> Path:
        """A file or folder of the run, whether it is there or not."""
        return self.directory.joinpath(*parts)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The resolved recipe."""
        recipe = parse_yaml(self.recipe, f"{self.directory}/{RECIPE}") if self.recipe else {}
        return recipe if isinstance(recipe, dict) else {}

    @property
    def head(self) -> str:
        """The kind of temperature head that the recipe fits; empty where it fits none."""
        head = self.settings.get("head")
        return str(head.get("kind", "")) if isinstance(head, dict) else ""

    def inner_runs(self) -> Iterator["Source"]:
        """The runs inside this one, such as those of a quickstart, by name."""
        for path in sorted(self.directory.glob(f"*/{MANIFEST}")):
            yield read_source(path.parent)


def read_source(directory: Path) -> Source:
    """The run in ``directory``, finished or not.

    Raises:
        RunError: there is none.
        DataError: its `metrics.json` is no result file.
    """
    if not (directory / MANIFEST).is_file():
        raise RunError(
            f"{directory}: holds no run (no {MANIFEST})",
            fix="name a directory that a command of lmtools made, such as runs/leret-train",
        )
    recipe, metrics = directory / RECIPE, directory / METRICS
    return Source(
        directory=directory,
        name=directory.resolve().name,
        manifest=read_manifest(directory / MANIFEST),
        recipe=without_secrets(recipe.read_text("utf-8", "replace")) if recipe.is_file() else "",
        results=read_results(metrics) if metrics.is_file() else None,
    )


# The lines of a run's JSONL files, one by one.

FIX = "restore the file from where the run was made, or delete it: the page then leaves that part out"


def records(path: Path, parse: Callable[[dict[str, Any]], T], *, finite: bool = True) -> Iterator[T]:
    """``parse`` of every line's object; nothing where the file is absent.

    Args:
        finite: False takes NaN, which a trainer may log.

    Raises:
        DataError: a line is no JSON object, or ``parse`` finds something missing or of the wrong type in it.
    """
    if not path.is_file():
        return
    for number, line in jsonl_lines(path):
        try:
            record = parse_record(line, parse, finite=finite)
        except MALFORMED as error:
            raise DataError(f"{path}:{number}: damaged: {describe(error)}", fix=FIX) from error
        yield record


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError("a list of texts is expected")
    return tuple(value)


def text(value: Any) -> str:
    """A text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {value!r:.40}")
    return value


def number(value: Any) -> float:
    """A finite number.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise TypeError(f"a number is expected, not {value!r:.40}")
    return float(value)
