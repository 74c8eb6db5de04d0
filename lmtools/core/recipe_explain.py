"""A recipe with everything that can be set in it: YAML whose comments say what each setting does.

    # Precision of the weights. `auto` takes what this machine computes fastest: bfloat16 where it is ...
    # (one of auto, float32, bfloat16, float16; default: auto; changed by this recipe)
    dtype: float32

What is printed is a recipe again, and gives the same configuration. Blocks that are absent (null), and other
kinds of a block, follow the setting as comments.
"""

import textwrap
from typing import Any

from pydantic_core import PydanticUndefined

from lmtools.core.config import Config
from lmtools.core.recipe_faults import models_in
from lmtools.core.recipe_schema import in_words
from lmtools.core.recipe_yaml import yaml_inline, yaml_lines

INDENT = "  "
NARROWEST = 24
"""Columns that a comment has at least, however deep its block."""


def explain_recipe(config: Config, width: int = 100) -> str:
    """Every setting of a resolved recipe with its description, type and default; comments fit ``width``."""
    return "\n".join(_Explanation(width).block(type(config), config, None, "", 0)).strip() + "\n"


class _Explanation:
    """The walk through a recipe; ``explained``: the key under which each kind of block was explained first.

    A kind of block is explained once; where it comes again, only its values are written.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.explained: dict[type[Config], str] = {}

    def block(
        self, model: type[Config], values: Config | None, defaults: Config | None, path: str, used: int
    ) -> list[str]:
        """The lines of a block, not indented.

        Args:
            model: its schema.
            values: its values; None outlines a block that the recipe has not, with its defaults.
            defaults: what the block is where nothing is written; None: what its fields are.
            path: its key, with those around it.
            used: columns that will stand before its lines.
        """
        terse = model in self.explained
        self.explained.setdefault(model, path)
        shapes = model.model_json_schema()["properties"]
        lines: list[str] = []
        for name, field in model.model_fields.items():
            default = field.default if defaults is None else getattr(defaults, name)
            value = default if values is None else getattr(values, name)
            if not path:
                lines.append("")
            if not terse:
                facts = [in_words(shapes[name]), *_default(default)]
                if values is not None and default not in (PydanticUndefined, value):
                    facts.append("changed by this recipe")
                lines += self.comment(field.description or "", used)
                lines += self.comment(f"({'; '.join(facts)})", used)
            key = f"{path}.{name}" if path else name
            written = values is not None and name in values.model_fields_set
            lines += self.setting(name, value, None if written else default, key, used, values is not None)
            for other in models_in(field.annotation):
                if issubclass(other, Config) and other not in self.explained:
                    lines += self.outline(name, other, key, used)
        return lines

    def setting(self, name: str, value: Any, default: Any, key: str, used: int, live: bool) -> list[str]:
        """A key with its value; ``live`` where the recipe has it, not in an outline."""
        inner = used + len(INDENT)
        if value is PydanticUndefined:
            return [f"{name}:"]
        if isinstance(value, Config) and (live or type(value) not in self.explained):
            same = default if isinstance(default, type(value)) else None
            values = value if live else None
            return [f"{name}:", *_indented(self.block(type(value), values, same, key, inner))]
        if live and isinstance(value, tuple) and any(isinstance(item, Config) for item in value):
            lines = [f"{name}:"]
            for item in value:
                lines += ["-", *_indented(self.block(type(item), item, None, f"{key}[]", inner))]
            return lines
        return yaml_lines(name, _plain(value))

    def outline(self, name: str, model: type[Config], key: str, used: int) -> list[str]:
        """A block that could stand here, as comments."""
        inner = used + len("# ") + len(INDENT)
        doc = (model.__doc__ or "").split("\n\n")[0]
        lines = [f"{name}:", *_indented(self.block(model, None, None, key, inner))]
        return [*self.comment(f"Or: {doc}", used), *(f"# {line}".rstrip() for line in lines)]

    def comment(self, text: str, used: int) -> list[str]:
        room = max(NARROWEST, self.width - used - len("# "))
        wrapped = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False)
        return [f"# {line}" for line in wrapped]


def _default(default: Any) -> list[str]:
    """The default in words; none for a block, whose settings have their own."""
    if default is PydanticUndefined:
        return ["required"]
    if isinstance(default, Config):
        return []
    return [f"default: {yaml_inline(_plain(default))}"]


def _plain(value: Any) -> Any:
    """A value as YAML has it; of a block what is not its default, and its kind."""
    if isinstance(value, Config):
        settings = value.model_dump(mode="json", exclude_defaults=True)
        return {"kind": value.kind, **settings} if hasattr(value, "kind") else settings
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def _indented(lines: list[str]) -> list[str]:
    return [f"{INDENT}{line}".rstrip() for line in lines]
