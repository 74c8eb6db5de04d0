"""JSON Schemas of recipes: they take what loads, refuse what does not, and describe every setting."""

import copy

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from lmtools.cli.recipes import SCHEMAS, schema_of
from lmtools.core.config import Config
from lmtools.core.recipe import find_recipe, list_recipes, load_recipe, parse_yaml
from lmtools.core.recipe_faults import models_in
from lmtools.core.recipe_schema import any_schema, in_words, json_schema

CLASSES = {system: schema_of(system, system) for system in SCHEMAS}
SINGLE = {system: json_schema(system, schema) for system, schema in CLASSES.items()}
WHOLE = any_schema(CLASSES)


def blocks(schema: type[BaseModel], seen: dict[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """A schema and all blocks in it, by module and name."""
    seen[f"{schema.__module__}.{schema.__name__}"] = schema
    for field in schema.model_fields.values():
        for inner in models_in(field.annotation):
            if inner not in seen.values():
                blocks(inner, seen)
    return seen


BLOCKS = {name: block for schema in CLASSES.values() for name, block in blocks(schema, {}).items()}
FIELDS = [(name, field) for name, block in BLOCKS.items() for field in block.model_fields]


def recipes():
    for info in list_recipes():
        data = parse_yaml(find_recipe(info.name).read_text(encoding="utf-8"), info.name)
        yield pytest.param(info.system, data, id=info.name)


@pytest.mark.parametrize(("name", "field"), FIELDS, ids=[f"{name}:{field}" for name, field in FIELDS])
def test_every_setting_says_what_it_does(name, field):
    description = BLOCKS[name].model_fields[field].description or ""
    assert len(description.split()) >= 4, f"{name}.{field}: {description!r}"
    assert description.rstrip("`)").endswith(".") or description.endswith(")."), description
    assert len(description) <= 700


def test_every_block_says_what_it_is():
    assert {"lmtools.models.spec.ModelSpec", "lmtools.retrieval.config.HybridConfig"} <= BLOCKS.keys()
    assert [name for name, block in BLOCKS.items() if not block.__doc__] == []


def test_a_setting_without_a_description_is_noticed():
    class Bare(Config):
        n: int = 1

    assert Bare.model_fields["n"].description is None


@pytest.mark.parametrize("system", SCHEMAS)
def test_it_is_a_json_schema_with_descriptions(system):
    schema = SINGLE[system]
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert system in schema["title"]
    for block in (schema, *schema.get("$defs", {}).values()):
        # Pydantic leaves out what the block that is referred to says in the same words.
        described = (one.get("description", "$ref" in one) for one in block["properties"].values())
        assert block["description"]
        assert all(described)
    jsonschema.Draft202012Validator.check_schema(WHOLE)


@pytest.mark.parametrize(("system", "data"), recipes())
def test_it_takes_every_packaged_recipe_as_written(system, data):
    jsonschema.validate(data, SINGLE[system])
    jsonschema.validate(data, WHOLE)


@pytest.mark.parametrize(("system", "data"), recipes())
def test_it_takes_a_recipe_with_every_default_written(system, data, tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(data))
    jsonschema.validate(load_recipe(CLASSES[system], str(file), default="").model_dump(mode="json"), WHOLE)


@pytest.mark.parametrize(("system", "data"), recipes())
@pytest.mark.parametrize("bad", [{"sed": 1}, {"seed": "one"}, {"seed": -1}, {"model": {"dtpye": "float32"}}])
def test_it_refuses_what_does_not_load(system, data, bad):
    wrong = copy.deepcopy(data) | bad
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SINGLE[system])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, WHOLE)


@pytest.mark.parametrize(
    ("system", "given", "good"),
    [
        ("hyre", {"heads": ["pca", {"source": "epinet", "count": 3}]}, True),
        ("hyre", {"heads": ["pcb"]}, False),
        ("hyre", {"heads": []}, False),
        ("hyre", {"lora": {"rank": 4}}, True),
        ("calibration", {"tasks": ["atlas", {"name": "mmlu", "limit": 5}]}, True),
        ("calibration", {"tasks": []}, False),
        ("calibration", {}, False),
        ("leret", {"retriever": {"kind": "hybrid", "members": [{"kind": "bm25"}, {"kind": "dense"}]}}, True),
        ("leret", {"retriever": {"kind": "hybrid", "members": [{"kind": "hybrid"}]}}, False),
        ("leret", {"retriever": {"kind": "http"}}, False),
        ("leret", {"retriever": {"kind": "rank-bm25", "threads": 2}}, False),
        ("leret", {"data": {"train_limit": None}}, True),
        ("ats", {"head": {"clip": [0.5, 2]}}, True),
    ],
)
def test_short_forms_and_unions(system, given, good, tmp_path):
    data = {"system": system, **given}
    file = tmp_path / "r.yaml"
    file.write_text(yaml.safe_dump(data))
    loads = True
    try:
        load_recipe(CLASSES[system], str(file), default="")
    except Exception:
        loads = False
    assert loads is good
    for schema in (SINGLE[system], WHOLE):
        assert jsonschema.Draft202012Validator(schema).is_valid(data) is good


def test_the_joint_schema_tells_systems_apart():
    assert not jsonschema.Draft202012Validator(WHOLE).is_valid({"system": "leet"})
    assert not jsonschema.Draft202012Validator(WHOLE).is_valid({"seed": 1})
    assert not jsonschema.Draft202012Validator(WHOLE).is_valid({"system": "ats", "hop": {"k": 3}})


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "exclusiveMinimum": 0}, "whole number, above 0"),
        (
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            "whole number, at least 1, or null",
        ),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "text or null"),
        ({"enum": ["a", "b"]}, "one of a, b"),
        ({"const": "a"}, "always a"),
        ({"type": "array", "minItems": 1, "items": {"type": "string"}}, "list, each text, 1 or more"),
        ({"type": "array", "prefixItems": [{"type": "number"}] * 2}, "list of 2: number, number"),
        ({"type": "object", "additionalProperties": {"type": "string"}}, "names, each with a text"),
        ({"oneOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]}, "block of settings"),
    ],
)
def test_types_in_words(schema, words):
    assert in_words(schema) == words
