"""A run as the report reads it: its directory, and what every run has in it."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lmtools.core.errors import RunError
from lmtools.core.manifest import Manifest, read_manifest
from lmtools.core.recipe_yaml import parse_yaml
from lmtools.core.results import Results, read_results
from lmtools.core.resume import MANIFEST, METRICS, RECIPE


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
        found = parse_yaml(self.recipe, f"{self.directory}/{RECIPE}") if self.recipe else {}
        return found if isinstance(found, dict) else {}

    @property
    def head(self) -> str:
        """The kind of temperature head that the recipe fits; empty where it fits none."""
        head = self.settings.get("head")
        return str(head.get("kind", "")) if isinstance(head, dict) else ""

    def parts(self) -> Iterator["Source"]:
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
        recipe=recipe.read_text(encoding="utf-8", errors="replace") if recipe.is_file() else "",
        results=read_results(metrics) if metrics.is_file() else None,
    )
