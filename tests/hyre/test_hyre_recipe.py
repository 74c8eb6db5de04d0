"""What a HyRe recipe accepts, and what it makes of it."""

import pytest
from pydantic import ValidationError

from lmtools.core.errors import RecipeError
from lmtools.core.recipe import load_recipe
from lmtools.hyre.recipe import EvalSettings, HyreRecipe, SourceSettings
from lmtools.hyre.settings import AdaptSettings

TABLES = {"data": {"tables": ["wine.csv"]}}


def test_the_stated_defaults_of_the_rule():
    adapt = AdaptSettings()
    assert (adapt.rule, adapt.loss, adapt.reduction, adapt.temperature) == ("reweight", "nll", "sum", 1.0)
    assert (adapt.prior, adapt.scale) == ("uniform", 1.0)
    assert EvalSettings().draws == 20
    assert 5 in EvalSettings().examples


def test_without_anything_it_works_on_what_is_bundled():
    recipe = HyreRecipe()
    assert recipe.task == "preference"
    assert recipe.data.train.startswith("atlas:")
    assert recipe.data.targets.startswith("atlas:")
    assert recipe.lora is None


def test_the_bare_name_of_a_source_will_do():
    recipe = HyreRecipe.model_validate({"heads": ["pca", {"source": "mixture", "count": 7}]})
    assert recipe.heads == (SourceSettings(source="pca"), SourceSettings(source="mixture", count=7))
    assert recipe.name == "pca+mixture"


def test_one_source_twice_is_named_once():
    assert HyreRecipe.model_validate({"heads": ["random", "pca", "random"]}).name == "random+pca"


def test_the_limit_stands_alone_under_its_rule():
    recipe = HyreRecipe.model_validate({"heads": ["gaussian_limit"], "adapt": {"rule": "gaussian"}})
    assert recipe.name == "gaussian_limit"


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_tables(task):
    recipe = HyreRecipe.model_validate(
        {"task": task, "heads": ["shared_base", "epinet", "diverse"], **TABLES}
    )
    assert recipe.data.tables == ("wine.csv",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"heads": []}, "heads"),
        ({"heads": ["pca", "gaussian_limit"], "adapt": {"rule": "gaussian"}}, "stands alone"),
        ({"heads": ["gaussian_limit"]}, r"needs adapt\.rule: gaussian"),
        ({"heads": ["kmeans"]}, "heads"),
        ({"heads": [{"source": "pca", "count": 0}]}, "count"),
        ({"heads": "pca"}, "heads"),
        ({"compare": ["kmeans"]}, "compare"),
        (TABLES, "task: regression or classification"),
        ({"task": "regression"}, r"reads data\.tables"),
        ({"task": "regression", "heads": ["pca", "mixture"], **TABLES}, "mixture, pca: only for task"),
        (
            {"task": "classification", "heads": ["epinet"], "compare": ["random"], **TABLES},
            "random: only for task",
        ),
        ({"task": "regression", "heads": ["epinet"], "lora": {}, **TABLES}, "no backbone"),
        ({"adapt": {"temperature": 0}}, "temperature"),
        ({"adapt": {"scale": -1}}, "scale"),
        ({"adapt": {"loss": "hinge"}}, "loss"),
        ({"adapt": {"prior": "train", "standardize": True}}, "standardize"),
        ({"eval": {"examples": []}}, "examples"),
        ({"eval": {"examples": [5, -1]}}, "examples"),
        ({"eval": {"holdout": 1.0}}, "holdout"),
        ({"eval": {"draws": 0}}, "draws"),
        ({"eval": {"active": ["thompson"]}}, "active"),
        ({"train": {"batch": 1}}, "batch"),
        ({"train": {"learning_rate": 0}}, "learning_rate"),
        ({"data": {"shift": 1.0}}, "shift"),
        ({"system": "ats"}, "system"),
        ({"seed": -1}, "seed"),
    ],
)
def test_what_cannot_be_is_refused(settings, words):
    with pytest.raises(ValidationError, match=words):
        HyreRecipe.model_validate(settings)


def test_a_file_of_a_recipe(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("system: hyre\nheads: [{source: pca}, random]\neval:\n  examples: [0, 5]\n  active: []\n")
    recipe = load_recipe(HyreRecipe, str(path), ["adapt.loss=zero_one", "heads.0.count=4"], default="x")
    assert [source.count for source in recipe.heads] == [4, 100]
    assert recipe.eval.examples == (0, 5)
    assert recipe.eval.active == ()
    assert recipe.adapt.loss == "zero_one"


def test_a_misspelt_setting_names_the_near_miss(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("system: hyre\nadapt:\n  temprature: 2\n")
    with pytest.raises(RecipeError, match="temperature"):
        load_recipe(HyreRecipe, str(path), default="x")
