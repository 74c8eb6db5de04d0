"""What is wrong with a recipe: one line a fault, with the file and line, the key and the near miss."""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from lmtools.core.recipe_yaml import KeyPath
from lmtools.core.strings import cut, did_you_mean, near_miss


def describe_faults(
    schema: type[BaseModel],
    error: ValidationError,
    locations: Mapping[KeyPath, str],
    changes: Mapping[KeyPath, str] = MappingProxyType({}),
    before: Mapping[str, Any] = MappingProxyType({}),
) -> list[str]:
    """One line for each fault that pydantic found.

    Args:
        schema: the model the recipe should have fitted.
        locations: where each key came from: ``file:line``; ``()`` is the file itself.
        changes: where keys that were changed since then came from: ``--set a.b=value``. A fault that the
            recipe ``before`` them has not is theirs.
    """
    old = _faults(schema, before) if changes else set()
    lines = []
    for fault in error.errors(include_url=False):
        path = _trace(schema, fault["loc"][:-1])[1] + fault["loc"][-1:]
        key = cut(".".join(map(str, path)), 100) or "recipe"
        given = any(path[: len(keys)] == keys for keys in changes)
        new = given or (changes and (fault["loc"], fault["msg"]) not in old)
        location = _change(path, changes) if new else _location(path, locations)
        lines.append(f"{location}: {key}: {_complaint(schema, fault)}")
    return list(dict.fromkeys(lines))


def _faults(schema: type[BaseModel], data: Mapping[str, Any]) -> set[tuple[KeyPath, str]]:
    """Where and what is wrong with a recipe."""
    try:
        schema.model_validate(data)
    except ValidationError as error:
        return {(fault["loc"], fault["msg"]) for fault in error.errors(include_url=False)}
    return set()


def _change(path: KeyPath, changes: Mapping[KeyPath, str]) -> str:
    """The changes of a key, of the blocks around it and of what is in it; else all of them."""
    near = [text for keys, text in changes.items() if keys[: len(path)] == path or path[: len(keys)] == keys]
    return " ".join(near or changes.values())


def _location(path: KeyPath, locations: Mapping[KeyPath, str]) -> str:
    """Where the key stands, or something in it, or the nearest block around it that stands somewhere."""
    inside = [location for keys, location in locations.items() if path and keys[: len(path)] == path]
    if path not in locations and inside:
        return inside[0]
    for length in range(len(path), -1, -1):
        if path[:length] in locations:
            return locations[path[:length]]
    return "recipe"


def _complaint(schema: type[BaseModel], fault: ErrorDetails) -> str:
    kind, value = fault["type"], fault["input"]
    if kind == "extra_forbidden":
        return _unknown_key(schema, fault["loc"])
    if kind == "missing":
        return "is missing"
    if kind in ("literal_error", "enum"):
        allowed = re.findall(r"'([^']*)'", str(fault.get("ctx", {}).get("expected", "")))
        return f"{_short(value)} is none of {', '.join(allowed)}{_hint(str(value), allowed)}"
    if kind == "union_tag_invalid":
        context = fault["ctx"]
        allowed = re.findall(r"'([^']*)'", context["expected_tags"])
        key, tag = context["discriminator"].strip("'"), context["tag"]
        return f"{key} {_short(tag)} is none of {', '.join(allowed)}{_hint(tag, allowed)}"
    if kind in ("model_type", "model_attributes_type", "dict_type") and not isinstance(value, dict):
        return f"is a block of settings, not {_short(value)}; set one of its keys"
    text = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = text.removeprefix("Input ")
    return f"{text} (given: {_short(value)})"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(schema: type[BaseModel], path: KeyPath) -> str:
    """Suggest a neighbour of the same block, then the same name in another block, then a far neighbour."""
    name = str(path[-1])
    siblings = sorted({field for model in _trace(schema, path[:-1])[0] for field in model.model_fields})
    elsewhere = {key.rsplit(".", 1)[-1]: key for key in dotted_keys(schema) if "." in key}
    if not (hint := _hint(name, siblings, 0.65)):
        near = near_miss(name[:100], elsewhere, cutoff=0.8)
        hint = f"; did you mean {elsewhere[near]}?" if near else _hint(name, siblings)
    return f"unknown key{hint or '; known here: ' + ', '.join(siblings)}"


def _hint(name: str, names: Iterable[str], cutoff: float = 0.5) -> str:
    """``; did you mean NAME?``, or nothing."""
    near = did_you_mean(name[:100], names, cutoff)
    return f"; {near}" if near else ""


def dotted_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a schema, blocks included: ``model``, ``model.name`` and so on."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        for model in models_in(field.annotation):
            yield from dotted_keys(model, f"{prefix}{name}.")


def _trace(schema: type[BaseModel], path: KeyPath) -> tuple[list[type[BaseModel]], KeyPath]:
    """The models that may stand at pydantic's ``path``, and the path as the recipe has it.

    Pydantic puts the tag of a union's member into the path (``retriever.bm25.k1``); a recipe has no such key.
    """
    models, keys = [schema], []
    for part in path:
        fields = [model.model_fields[part] for model in models if part in model.model_fields]
        tagged = [model for model in models if any(part in get_args(f.annotation) for f in _fields(model))]
        if fields:
            models = [model for field in fields for model in models_in(field.annotation)]
        elif tagged and isinstance(part, str):
            models = tagged
            continue
        keys.append(part)
    return models, tuple(keys)


def _fields(model: type[BaseModel]) -> list[FieldInfo]:
    return list(model.model_fields.values())


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation: itself, or the members of its union, list or optional."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]
