"""Recipes that name models: read, checked, and every model at the precision that this machine gives it."""

from collections.abc import Sequence
from typing import TypeVar

from lmtools.core.config import Config
from lmtools.core.recipe import load_recipe
from lmtools.models.precision import resolve_dtypes

T = TypeVar("T", bound=Config)


def load_model_recipe(schema: type[T], ref: str | None, overrides: Sequence[str] = (), *, default: str) -> T:
    """``load_recipe``, with ``model.dtype: auto`` resolved: what a run writes down is what it computed with.

    Raises:
        RecipeError: as ``load_recipe``.
        LmtoolsError: ``$LMTOOLS_DTYPE`` names no precision.
    """
    return resolve_dtypes(load_recipe(schema, ref, overrides, default=default))


def named_recipe(
    schema: type[T], recipe: T | str, overrides: Sequence[str] = (), *, default: str
) -> tuple[str, T]:
    """A recipe by its name or path, or one that is there already; and what a result file calls it.

    Raises:
        RecipeError, LmtoolsError: as ``load_model_recipe``.
    """
    if isinstance(recipe, str):
        return recipe, load_model_recipe(schema, recipe, overrides, default=default)
    return default.partition("/")[0], resolve_dtypes(recipe)
