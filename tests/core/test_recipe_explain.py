"""An explained recipe is the same recipe, and says of every setting what it is."""

import re

import pytest
import yaml
from pydantic import Field

from lmtools.cli.recipes import schema_of
from lmtools.core.config import Config
from lmtools.core.recipe import list_recipes, load_recipe
from lmtools.core.recipe_explain import explain_recipe
from lmtools.core.recipe_faults import dotted_keys


class Near(Config):
    """Something near."""

    kind: str = Field(default="near", description="Which one it is.")
    steps: int = Field(default=2, ge=1, description="How far it is.")


class Far(Config):
    """Something far."""

    url: str = Field(description="Where it is.")


class Toy(Config):
    """A toy."""

    name: str = Field(default="a: #b", description="What it is called, " + "at length " * 12 + "and so on.")
    place: Near | Far = Field(default=Near(steps=5), description="Where to look.")
    others: tuple[Near, ...] = Field(default=(), description="More of them.")
    rate: float = Field(default=1e-7, gt=0, description="How fast it goes.")
    limit: Far | None = Field(default=None, description="Where it ends.")


def loaded(text, schema, tmp_path):
    file = tmp_path / "explained.yaml"
    file.write_text(text, encoding="utf-8")
    return load_recipe(schema, str(file), default="")


@pytest.mark.parametrize("info", list_recipes(), ids=lambda info: info.name)
@pytest.mark.parametrize("width", [30, 100])
def test_a_packaged_recipe_resolves_to_the_same(info, width, tmp_path):
    schema = schema_of(info.system, info.name)
    config = load_recipe(schema, info.name, default="")
    text = explain_recipe(config, width)
    assert loaded(text, schema, tmp_path) == config
    # Every key of every block stands somewhere, as a setting or in a comment.
    for key in dotted_keys(schema):
        assert re.search(rf"^[# ]*(- )?{key.rsplit('.', 1)[-1]}:", text, re.MULTILINE), key


@pytest.mark.parametrize(
    "toy",
    [
        Toy(),
        Toy(name="x\ny", place=Far(url="http://a"), rate=3, limit=Far(url="'")),
        Toy(others=(Near(), Near(steps=9)), place=Near(kind="null")),
    ],
)
def test_any_values_come_back(toy, tmp_path):
    assert loaded(explain_recipe(toy, 60), Toy, tmp_path) == toy


def test_types_defaults_and_changes_are_told():
    text = explain_recipe(Toy(rate=2.0, place=Near(steps=3)), 100)
    assert "# (number, above 0; default: 1.0e-07; changed by this recipe)\nrate: 2.0" in text
    # The block is written: what it leaves out is as the block has it, not as the recipe had it.
    assert "  # (whole number, at least 1; default: 2; changed by this recipe)\n  steps: 3" in text
    assert "# (text; default: 'a: #b')\n" in text
    untouched = explain_recipe(Toy(), 100)
    assert "changed" not in untouched
    assert "# (whole number, at least 1; default: 5)\n  steps: 5" in untouched


def test_absent_blocks_and_other_kinds_follow_as_comments():
    text = explain_recipe(Toy(), 100)
    assert "# Or: Something far.\n# place:\n#   # Where it is.\n#   # (text; required)\n#   url:\n" in text
    assert text.count("# Or:") == 1  # explained once, though `limit` could hold it too
    assert yaml.safe_load(text)["limit"] is None


def test_comments_fit_the_width():
    for width in (40, 60, 100):
        lines = explain_recipe(Toy(), width).splitlines()
        comments = [line for line in lines if line.lstrip().startswith("# ")]
        assert max(map(len, comments)) <= width
        assert "at length and so on." in " ".join(line.strip("# ") for line in comments)
