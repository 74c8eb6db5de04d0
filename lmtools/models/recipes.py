"""Recipes as runs are made with: read, checked, every model at this machine's precision, every path absolute.

A run whose recipe this is can so be used from any directory, and be moved: what is no longer where it was is
looked for where it now stands as seen from the run.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from lmtools.core.config import Config
from lmtools.core.errors import RunError
from lmtools.core.files import absolute, moved_along
from lmtools.core.manifest import MANIFEST, read_manifest
from lmtools.core.recipe import find_recipe, load_recipe
from lmtools.core.run import RECIPE
from lmtools.models.precision import resolve_dtypes

T = TypeVar("T", bound=Config)


def load_model_recipe(schema: type[T], ref: str | None, overrides: Sequence[str] = (), *, default: str) -> T:
    """``located_recipe`` with ``model.dtype: auto`` resolved: a run writes down what it computed with.

    Raises:
        RecipeError: as ``load_recipe``.
        LmtoolsError: ``$LMTOOLS_DTYPE`` names no precision.
    """
    return resolve_dtypes(located_recipe(schema, ref, overrides, default=default))


def located_recipe(schema: type[T], ref: str | None, overrides: Sequence[str] = (), *, default: str) -> T:
    """``load_recipe``, with absolute paths; raises as it."""
    recipe = load_recipe(schema, ref, overrides, default=default).with_paths(_absolute)
    return _found_again(recipe, find_recipe(ref or default).parent)


def named_recipe(
    schema: type[T], recipe: T | str, overrides: Sequence[str] = (), *, default: str
) -> tuple[str, T]:
    """A recipe by its name or path, or one that is there already; and what a result file calls it.

    Raises:
        RecipeError, LmtoolsError: as ``load_model_recipe``.
    """
    if isinstance(recipe, str):
        return recipe, load_model_recipe(schema, recipe, overrides, default=default)
    return default.partition("/")[0], resolve_dtypes(recipe.with_paths(_absolute))


def _found_again(recipe: T, directory: Path) -> T:
    """The recipe of a run that was moved to ``directory``: what went along is where it is now."""
    before, now = "", absolute(str(directory))
    if (directory / MANIFEST).is_file():
        with suppress(RunError):  # not a run's
            before = read_manifest(directory / MANIFEST).directory
    if before in ("", now):
        return recipe

    def moved(key: str, path: str) -> str:
        beside = moved_along(path, before, now)
        return beside if not os.path.exists(path) and os.path.exists(beside) else path

    return recipe.with_paths(moved)


def check_there(recipe: Config, directory: Path, *settings: str) -> None:
    """Whether the files that a run's recipe names are there.

    Args:
        settings: dotted keys, or beginnings of keys, of those that are needed.

    Raises:
        RunError: one is gone; it names the setting.
    """

    def check(key: str, path: str) -> str:
        if key.startswith(settings) and not os.path.exists(path):
            file = directory / RECIPE
            raise RunError(
                f"{key}: {path} is not there any more; {file} names it",
                fix=f"name the path it has now: --set {key}=PATH, or that line of {file}",
            )
        return path

    recipe.with_paths(check)


def _absolute(key: str, path: str) -> str:
    return absolute(path)
