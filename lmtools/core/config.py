"""The base of every setting in a recipe: frozen, unknown keys forbidden, every field described."""

from typing import Annotated

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


class Config(BaseModel):
    """A block of settings. Fields carry ``Field(description=...)``: what a setting does and what it costs.

    A setting that is a list is declared as a tuple, so that the block stays frozen; a list is taken too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
