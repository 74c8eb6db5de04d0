"""The base of every setting in a recipe: frozen, unknown keys forbidden, every field described.

A setting that may name a file carries a ``Location``; ``Config.with_paths`` changes the paths in all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

SYSTEM = "Which system the recipe is for; decides the settings there are."
"""The description of every recipe's ``system``."""
Seed = Annotated[
    int,
    Field(
        ge=0,
        description="Everything random follows from it: the same seed and the same inputs give the same run.",
    ),
]
"""A recipe's ``seed``."""


@dataclass(frozen=True)
class Location:
    """Marks a setting whose value may name a file or folder, or several.

    ``split`` takes a value apart into what stands before its path, the path, and what stands behind it; the
    path is empty where the value names something else.
    """

    split: Callable[[str], tuple[str, str, str]] = lambda value: ("", value, "")

    def changed(self, key: str, value: str, change: "PathChange") -> str:
        """The value with another path in it."""
        before, path, behind = self.split(value)
        return f"{before}{change(key, path)}{behind}" if path else value


PathChange = Callable[[str, str], str]
"""From a dotted key and the path that stands there to another path."""


class Config(BaseModel):
    """A block of settings. Fields carry ``Field(description=...)``: what a setting does and what it costs.

    A setting that is a list is declared as a tuple, so that the block stays frozen; a list is taken too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    def with_paths(self, change: PathChange, prefix: str = "") -> Self:
        """The same settings, with ``change`` made to every path in them and in the blocks below them."""
        updates = {}
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            mark = next((item for item in field.metadata if isinstance(item, Location)), None)
            if (changed := _with_paths(f"{prefix}{name}", value, mark, change)) != value:
                updates[name] = changed
        return self.model_copy(update=updates) if updates else self


def _with_paths(key: str, value: Any, mark: Location | None, change: PathChange) -> Any:
    if isinstance(value, Config):
        return value.with_paths(change, f"{key}.")
    if isinstance(value, tuple):
        return tuple(_with_paths(f"{key}.{index}", item, mark, change) for index, item in enumerate(value))
    return mark.changed(key, value, change) if mark is not None and isinstance(value, str) else value
