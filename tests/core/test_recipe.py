"""Recipes: every fault of a file and of its overrides at once, each with its place and the near miss."""

import re
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from lmtools.core import recipe as module
from lmtools.core.config import Config
from lmtools.core.errors import RecipeError
from lmtools.core.recipe import (
    dump_recipe,
    find_recipe,
    list_recipes,
    load_recipe,
    parse_yaml,
    recipe_system,
)
from lmtools.core.recipe_yaml import apply_override


class Bm25(Config):
    kind: Literal["bm25"] = "bm25"
    k1: float = Field(0.9, gt=0)


class Dense(Config):
    kind: Literal["dense"] = "dense"
    encoder: str = "minilm"


class Stage(Config):
    name: str
    steps: int = Field(1, ge=1)


class Model(Config):
    name: str = "builtin"
    dtype: Literal["float32", "bfloat16"] = "float32"


class Toy(Config):
    system: Literal["toy"] = "toy"
    seed: int = 0
    lr: float = 1e-7
    model: Model = Model()
    retriever: Bm25 | Dense = Field(Bm25(), discriminator="kind")
    stages: tuple[Stage, ...] = ()
    note: str | None = None

    @model_validator(mode="after")
    def _seed_below_hundred(self):
        if self.seed > 100:
            raise ValueError("seed must be at most 100")
        return self


GOOD = """\
# lmtools toy train --recipe toy/good
# A toy.
system: toy
lr: 1e-5
model:
  dtype: bfloat16
stages:
  - name: warm-up
  - name: main
    steps: 3
"""


@pytest.fixture
def packaged(tmp_path, monkeypatch):
    """A packaged folder with recipes of its own."""
    folder = tmp_path / "recipes" / "toy"
    folder.mkdir(parents=True)
    (folder / "good.yaml").write_text(GOOD)
    (folder / "large.yaml").write_text(
        "# lmtools toy train \\\n#   --recipe toy/large\n#\n# Large.\nsystem: toy\n"
    )
    monkeypatch.setattr(module, "bundled", lambda *parts: tmp_path.joinpath(*parts))
    return folder


def faults(tmp_path, text, *overrides):
    """The lines that complain about ``text``, without its path."""
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Toy, str(path), overrides, default="toy/good")
    assert caught.value.exit_code == 2
    return caught.value.message.replace(str(path), "r.yaml").splitlines()


def test_by_name_by_path_and_by_default(packaged):
    by_default = load_recipe(Toy, None, default="toy/good")
    assert by_default == load_recipe(Toy, "toy/good", default="toy/large")
    assert by_default == load_recipe(Toy, str(packaged / "good.yaml"), default="toy/large")
    assert by_default.lr == 1e-5
    assert [stage.steps for stage in by_default.stages] == [1, 3]


def test_overrides(packaged):
    config = load_recipe(
        Toy,
        "toy/good",
        [
            "seed=7",
            "model.name=gpt2",
            "stages.1.steps=9",
            "retriever={kind: dense, encoder: x}",
            "lr=2e-6",
            "note=a=b",
        ],
        default="toy/good",
    )
    assert (config.seed, config.model.name, config.model.dtype) == (7, "gpt2", "bfloat16")
    assert (config.stages[1].name, config.stages[1].steps) == ("main", 9)
    assert config.retriever == Dense(encoder="x")
    assert (config.lr, config.note) == (2e-6, "a=b")


def test_the_later_override_wins(packaged):
    assert load_recipe(Toy, "toy/good", ["seed=1", "seed=2"], default="toy/good").seed == 2


def test_all_faults_at_once_with_place_key_and_near_miss(tmp_path):
    text = GOOD.replace("dtype: bfloat16", "dtyp: bfloat16").replace("steps: 3", "steps: 0")
    text += "sed: 3\n"
    assert faults(tmp_path, text, "model.nme=gpt2", "lr=fast") == [
        "--set lr=fast: lr: should be a valid number, unable to parse string as a number (given: 'fast')",
        "r.yaml:6: model.dtyp: unknown key; did you mean dtype?",
        "--set model.nme=gpt2: model.nme: unknown key; did you mean name?",
        "r.yaml:10: stages.1.steps: should be greater than or equal to 1 (given: 0)",
        "r.yaml:11: sed: unknown key; did you mean seed?",
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "model: {dtype: bfloat6}",
            "r.yaml:1: model.dtype: 'bfloat6' is none of float32, bfloat16; did you mean bfloat16?",
        ),
        ("dtype: float32", "r.yaml:1: dtype: unknown key; did you mean model.dtype?"),
        ("model: gpt2", "r.yaml:1: model: is a block of settings, not 'gpt2'; set one of its keys"),
        ("stages: [{steps: 2}]", "r.yaml:1: stages.0.name: is missing"),
        ("seed: 101", "r.yaml: recipe: seed must be at most 100 (given: {'seed': 101})"),
        ("retriever: {kind: bm25, k2: 1}", "r.yaml:1: retriever.k2: unknown key; did you mean k1?"),
        (
            "retriever: {kind: bm26}",
            "r.yaml:1: retriever: kind 'bm26' is none of bm25, dense; did you mean bm25?",
        ),
        ("system: leret", "r.yaml: a recipe for leret, and one for toy is needed here"),
        (
            "zzz: 1",
            "r.yaml:1: zzz: unknown key; known here: lr, model, note, retriever, seed, stages, system",
        ),
    ],
)
def test_complaints(tmp_path, text, complaint):
    assert faults(tmp_path, text + "\n") == [complaint]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: 1\nlr: [\n", r"r\.yaml:3: .*expected the node content.*"),
        ("seed: 1\nmodel:\n  name: a\n  name: b\n", r"r\.yaml:4: the key 'name' is given twice"),
        ("seed: 1\n7: 2\n", r"r\.yaml:2: the key 7 is not a text; quote it"),
        ("- a\n- b\n", r"r\.yaml: a recipe is `key: value` lines, not a list"),
        ("model: !!python/object/apply:os.system [ls]\n", r"r\.yaml:1: could not determine a constructor.*"),
        ("a: \0\n", r"r\.yaml:1: .*"),
    ],
)
def test_yaml_faults(tmp_path, text, complaint):
    (line, *_) = faults(tmp_path, text)
    assert re.fullmatch(complaint, line)


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("seed", "--set seed: is not of the form key=value"),
        ("=3", "--set =3: is not of the form"),
        ("model..name=3", "--set model..name=3: is not of the form"),
        ("seed.x=3", "--set seed.x=3: seed is 4, which has no settings below it"),
        ("stages.5.steps=3", "--set stages.5.steps=3: stages is a list of 1; '5' is not a place in it"),
        ("stages.-1.steps=3", "'-1' is not a place in it"),
        ("note=[", "--set note=[: "),
        ("modl.name=x", "--set modl.name=x: modl: unknown key; did you mean model?"),
    ],
)
def test_bad_overrides(tmp_path, override, complaint):
    (line,) = faults(tmp_path, "seed: 4\nstages: [{name: a}]\n", override)
    assert complaint in line


def test_an_unknown_name_suggests_near_ones(packaged):
    with pytest.raises(RecipeError, match=r"toy/god: .*did you mean toy/good") as caught:
        find_recipe("toy/god")
    assert "lmtools recipes ls" in caught.value.fix


def test_a_path_that_is_not_there(packaged):
    with pytest.raises(RecipeError, match=r"mine/toy\.yaml: no such file"):
        find_recipe("mine/toy.yaml")


def test_not_utf8(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_bytes(b"seed: \xff\n")
    with pytest.raises(RecipeError, match=r"not UTF-8 text \(byte 6\)"):
        load_recipe(Toy, str(path), default="x")


def test_list_recipes(packaged):
    (packaged / "broken.yaml").write_text("# lmtools x\n# Broken.\nsystem: [\n")
    listed = [(info.name, info.system, info.command, info.summary) for info in list_recipes()]
    assert listed == [
        ("toy/broken", "", "lmtools x", "Broken."),
        ("toy/good", "toy", "lmtools toy train --recipe toy/good", "A toy."),
        ("toy/large", "toy", "lmtools toy train --recipe toy/large", "Large."),
    ]


def test_an_empty_recipe_is_all_defaults(tmp_path):
    (tmp_path / "r.yaml").write_text("# nothing\n")
    assert load_recipe(Toy, str(tmp_path / "r.yaml"), default="x") == Toy()


models = st.builds(Model, name=st.text(), dtype=st.sampled_from(["float32", "bfloat16"]))
toys = st.builds(
    Toy,
    seed=st.integers(-5, 100),
    lr=st.floats(allow_nan=False, allow_infinity=False),
    model=models,
    stages=st.lists(st.builds(Stage, name=st.text(), steps=st.integers(1, 2**63 - 1)), max_size=3).map(tuple),
    retriever=st.one_of(st.builds(Dense, encoder=st.text()), st.just(Bm25())),
    note=st.none() | st.text(),
)


@given(toys)
@example(Toy(note="1e5"))
@example(Toy(note="\x85\u2028 no"))
@example(Toy(lr=1e-300))
def test_a_dumped_recipe_is_the_same_recipe(config):
    assert Toy.model_validate(parse_yaml(dump_recipe(config), "dumped")) == config


# More than a recipe can mean, and where a fault comes from.


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "a: &a [x, x]\nb: &b [" + "*a, " * 99 + "*a]\nc: [" + "*b, " * 99 + "*b]\n",
            "more than 10,000 values",
        ),
        ("a: " + "[" * 800 + "]" * 800 + "\n", "more than 50 blocks inside one another"),
        ("a: &x [1, *x]\n", "the alias *x stands inside what it names"),
        ("a: " + "{b: " * 3000 + "\n", "more than 50 blocks inside one another"),
    ],
)
def test_what_would_grow_without_end_is_refused_by_its_line(tmp_path, text, says):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(Toy, str(path), default="")
    assert f"r.yaml:{1 + (says.startswith('more than 10') and 2)}: {says}" in caught.value.message


def test_an_alias_within_measure_is_read():
    assert parse_yaml("a: &x [1, 2]\nb: *x\n", "r") == {"a": [1, 2], "b": [1, 2]}


def test_a_setting_of_five_thousand_parts_is_refused():
    with pytest.raises(RecipeError, match="more than 50 parts in the key"):
        apply_override({}, "a." * 5000 + "b=1")


@pytest.mark.parametrize(
    ("overrides", "where"),
    [
        (["stages.0.steps=x"], "--set stages.0.steps=x: stages.0.steps"),
        (["stages=[{name: a, steps: x}]"], "--set stages=[{name: a, steps: x}]: stages.0.steps"),
        (["retriever={kind: bm25, k1: x}"], "--set retriever={kind: bm25, k1: x}: retriever.k1"),
        (["seed=x", "lr=4"], "--set seed=x: seed"),
        (["seed=101", "lr=4"], "--set seed=101 --set lr=4: recipe: seed must be at most 100"),
    ],
)
def test_a_fault_of_a_setting_is_one_of_the_command_line(tmp_path, overrides, where):
    path = tmp_path / "r.yaml"
    path.write_text("system: toy\nseed: 1\nretriever: {kind: bm25}\nstages: [{name: a}]\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(Toy, str(path), overrides, default="")
    assert caught.value.message.startswith(where)
    assert "r.yaml" not in caught.value.message


def test_a_fault_of_the_file_stays_one_of_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("system: toy\nseed: x\n")
    with pytest.raises(RecipeError) as caught:
        load_recipe(Toy, str(path), ["lr=abc", "seed=y"], default="")
    first, second = sorted(caught.value.message.splitlines())
    assert first.startswith("--set lr=abc: lr")
    assert second.startswith("--set seed=y: seed")  # the value is no longer the file's
    with pytest.raises(RecipeError, match=re.escape(f"{path}:2: seed")):
        load_recipe(Toy, str(path), ["lr=4"], default="")


VALUES = {
    "9" * 400: "999999999999999999999999999999999999999… is too large a whole number",
    "9" * 5000: "'999999999999999999999999999999999999999…' is no int",
    "0x" + "f" * 17: "0xfffffffffffffffff is too large a whole number",
    ".nan": ".nan is no finite number",
    "-.inf": "-.inf is no finite number",
    "1e999": "1e999 is no finite number",
    "!!bool x": "'x' is no bool",
    "!!int ''": "'' is no int",
    "!!float x": "'x' is no float",
    "!!binary aGFsbG8=": "could not determine a constructor for the tag 'tag:yaml.org,2002:binary'",
    "!!timestamp x": "could not determine a constructor for the tag 'tag:yaml.org,2002:timestamp'",
    "!!set {a, b}": "could not determine a constructor for the tag 'tag:yaml.org,2002:set'",
    "!!python/name:os.system ''": "could not determine a constructor",
    r'"a\ud800b"': r"'a\ud800b' holds half a character, which no file can",
    "a\0b": r"'\x00' cannot stand in YAML: write it escaped, quoted",
    "a\x1b[2Jb": r"'\x1b' cannot stand in YAML: write it escaped, quoted",
}


@pytest.mark.parametrize("value", VALUES)
def test_a_value_that_no_setting_can_have_is_refused_where_it_stands(tmp_path, value):
    assert faults(tmp_path, f"system: toy\nnote: {value}\n")[0].startswith(f"r.yaml:2: {VALUES[value]}")
    (line,) = faults(tmp_path, "system: toy\nnote: a\n", f"note={value}")
    assert re.fullmatch(r"--set note=.{1,80}?: .*", line.replace("\0", "0"))
    assert VALUES[value] in line


def test_a_date_is_a_text_and_the_largest_whole_numbers_are_read():
    text = f"a: 2026-01-31\nb: 2026-13-99\nc: {2**63 - 1}\nd: {-(2**63) + 1}\n"
    assert parse_yaml(text, "r") == {
        "a": "2026-01-31", "b": "2026-13-99", "c": 2**63 - 1, "d": -(2**63) + 1,
    }  # fmt: skip


def test_a_text_of_any_length_is_no_recipe(tmp_path):
    assert "r.yaml: more than 200,000 characters" in faults(tmp_path, "note: " + "x" * 300_000)
    assert "r.yaml: too large for a recipe" in faults(tmp_path, "# " + "x" * 900_000)


@pytest.mark.parametrize("system", ["[toy]", "{a: 1}", "3", "", "true"])
def test_a_system_that_is_no_text_is_named(tmp_path, system):
    assert faults(tmp_path, f"system: {system}\n")[0].startswith("r.yaml:1: system: ")
    with pytest.raises(RecipeError, match=r"r\.yaml:1: system: should be a text \(given: "):
        recipe_system(tmp_path / "r.yaml")
    assert faults(tmp_path, "seed: 1\n", f"system={system}")[0].startswith(f"--set system={system}: system: ")


@pytest.mark.parametrize(
    "override", [f"seed={'x' * 100_000}", f"{'x' * 100_000}=1", f"note=[{'x' * 100_000}"]
)
def test_of_a_very_long_setting_the_beginning_is_told(tmp_path, override):
    assert all(len(line) < 400 for line in faults(tmp_path, "seed: 1\n", override))


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=60))
@example("? [a]: b")
@example("a: !!null {x: y}")
@example("!!map x")
@example("%TAG ! tag:yaml.org,2002:\n--- !bool x")
@example("a: &a\n  b: *a")
def test_any_text_is_a_recipe_or_has_its_faults(text):
    for read in (lambda: parse_yaml(text, "r.yaml"), lambda: apply_override({}, text)):
        message = "--set "
        try:
            read()
        except RecipeError as error:
            message = error.message
        assert message.startswith(("r.yaml", "--set "))
