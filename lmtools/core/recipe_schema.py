"""JSON Schemas of recipes, for editors that complete and check YAML, and the types of settings in words.

An editor with yaml-language-server (VS Code's YAML extension, Neovim, Emacs, Helix) reads the schema that a
comment at the top of a recipe names, a path relative to the recipe or an address:

    # yaml-language-server: $schema=leret.schema.json
"""

from collections.abc import Mapping
from typing import Any

from lmtools.core.config import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


def json_schema(system: str, schema: type[Config]) -> dict[str, Any]:
    """The JSON Schema of a system's recipes as they are written, short forms and all."""
    properties = schema.model_json_schema(mode="validation")
    return {"$schema": DIALECT, **properties, "title": f"lmtools recipe: {system}"}


def any_schema(schemas: Mapping[str, type[Config]]) -> dict[str, Any]:
    """One JSON Schema for the recipes of all systems, told apart by their key ``system``."""
    parts: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for system, schema in schemas.items():
        block = schema.model_json_schema(mode="validation", ref_template=f"#/$defs/{system}.{{model}}")
        definitions |= {f"{system}.{name}": definition for name, definition in block.pop("$defs", {}).items()}
        definitions[system] = block
        parts.append(
            {"if": {"properties": {"system": {"const": system}}}, "then": {"$ref": f"#/$defs/{system}"}}
        )
    return {
        "$schema": DIALECT,
        "title": "lmtools recipe",
        "type": "object",
        "properties": {"system": {"enum": list(schemas), "description": "Which system the recipe is for."}},
        "required": ["system"],
        "allOf": parts,
        "$defs": definitions,
    }


def in_words(schema: Mapping[str, Any]) -> str:
    """The values that a JSON Schema allows: ``whole number, at least 1``, ``one of hf, vllm, server``."""
    for key in ("anyOf", "oneOf"):
        if key in schema:
            ways = list(dict.fromkeys(map(in_words, schema[key])))
            return (", or " if "," in ways[0] else " or ").join(ways)
    if "$ref" in schema:
        return "block of settings"
    if "const" in schema:
        return f"always {schema['const']}"
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if schema.get("type") == "array":
        return _list(schema)
    if schema.get("type") == "object":
        return f"names, each with a {in_words(schema.get('additionalProperties', {}))}"
    words = TYPES.get(schema.get("type", ""), "value")
    limits = [text.format(schema[key]) for key, text in BOUNDS.items() if key in schema]
    return ", ".join([words, *limits])


def _list(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}: {', '.join(map(in_words, schema['prefixItems']))}"
    least = f", {schema['minItems']} or more" if schema.get("minItems") else ""
    return f"list, each {in_words(schema.get('items', {}))}{least}"
