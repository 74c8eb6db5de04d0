"""The base of every setting in a recipe: frozen, unknown keys forbidden, every field described."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """A block of settings. Fields carry ``Field(description=...)``: what a setting does and what it costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
