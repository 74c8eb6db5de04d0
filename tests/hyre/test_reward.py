"""A trained run opened as a reward model: under the prior or a user's weights, on its own features."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import save_adapter, save_tiny_llama
from tiny_hyre import trained_once

from lmtools.core.errors import DataError, ModelError, RecipeError, RunError
from lmtools.hyre.adapt import Weights, head_prior
from lmtools.hyre.ensemble import ensemble_digest, load_ensemble
from lmtools.hyre.reward import open_ensemble, open_reward, trained_recipe
from lmtools.models.chat import Message
from lmtools.models.features import AnsweredPrompt
from lmtools.models.precision import resolve_dtypes

ASKED = (Message("user", "Name a river."),)
ANSWERS = [AnsweredPrompt(ASKED, text) for text in ("The Seine.", "No.", "q" * 30)]


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    return trained_once(tiny_llama, tmp_path_factory.mktemp("hyre"))


@pytest.fixture
def own(trained, tmp_path):
    """A copy of the run, to be broken."""
    return Path(shutil.copytree(trained[1], tmp_path / "own"))


def some_weights(recipe, run, values) -> Weights:
    ensemble = load_ensemble(run / "ensemble")
    return Weights(
        np.array(values),
        np.zeros(4),
        recipe.adapt,
        ("a",),
        ensemble.sources,
        ensemble_digest(run / "ensemble"),
    )


def test_without_weights_it_is_the_prior(trained):
    recipe, run = trained
    reward = open_reward(run)
    heads = reward.ensemble.rewards(reward.reader.read(ANSWERS), recipe.adapt)
    prior = head_prior(reward.ensemble.train_loss, recipe.adapt)
    assert reward(ANSWERS) == pytest.approx(heads @ prior)


def test_the_prior_is_that_of_the_recipe(own):
    path = own / "recipe.yaml"
    path.write_text(path.read_text().replace("prior: uniform", "prior: train"))
    weights = open_reward(own).weights.weights
    assert weights.sum() == pytest.approx(1)
    assert np.ptp(weights) > 0


@pytest.mark.parametrize("place", ["weights.json", ""])
def test_a_users_weights_are_those_of_the_heads(trained, tmp_path, place):
    recipe, run = trained
    some_weights(recipe, run, [0.0, 1.0, 0.0, 0.0]).write(tmp_path / "weights.json")
    reward = open_reward(run, tmp_path / place)
    heads = reward.ensemble.rewards(reward.reader.read(ANSWERS), recipe.adapt)
    assert reward(ANSWERS) == pytest.approx(heads[:, 1])


def test_order_and_company_do_not_matter(trained):
    reward = open_reward(trained[1])
    whole = reward(ANSWERS)
    fresh = open_reward(trained[1])
    assert fresh(ANSWERS[::-1])[::-1] == pytest.approx(whole, abs=1e-5)
    assert [reward([one])[0] for one in ANSWERS] == pytest.approx(whole)
    assert reward([]).shape == (0,)


@pytest.mark.parametrize("blank", ["", " \n"])
def test_an_answer_without_text_is_an_error(trained, blank):
    with pytest.raises(DataError, match="empty"):
        open_reward(trained[1])([*ANSWERS, AnsweredPrompt(ASKED, blank)])


def test_the_recipe_is_the_runs_with_settings(trained):
    recipe, run = trained
    assert trained_recipe(run) == resolve_dtypes(recipe)
    assert trained_recipe(run, ["adapt.temperature=0.5", "seed=7"]).adapt.temperature == 0.5
    with pytest.raises(RecipeError, match="temprature"):
        trained_recipe(run, ["adapt.temprature=0.5"])


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(RunError, match="holds no trained ensemble"):
        open_reward(tmp_path)
    with pytest.raises(RunError, match="no such directory"):
        trained_recipe(tmp_path / "nowhere")


def test_weights_of_another_run(trained, own, tmp_path, tiny_llama):
    recipe, run = trained
    some_weights(recipe, run, [0.25] * 4).write(tmp_path / "weights.json")
    path = own / "ensemble" / "ensemble.safetensors"
    shutil.copy(own / "single" / "ensemble.safetensors", path)
    shutil.copy(own / "single" / "ensemble.json", path.parent)
    with pytest.raises(ModelError, match="weights of 4 heads for another ensemble than this one of 1"):
        open_reward(own, tmp_path / "weights.json")


@pytest.mark.parametrize("change", ["seed", "adapter", "dtype"])
def test_another_backbone_is_an_error(own, tiny_llama, tmp_path, change):
    settings = {
        "seed": lambda: [f"model.name={save_tiny_llama(tmp_path / 'other', seed=9)}"],
        "adapter": lambda: [f"model.adapter={save_adapter(tiny_llama, tmp_path / 'adapter')}"],
        "dtype": lambda: ["model.dtype=bfloat16"],
    }[change]()
    with pytest.raises(ModelError, match="its ensemble was trained on other features") as caught:
        open_ensemble(own, trained_recipe(own, settings))
    assert "lmtools hyre train" in caught.value.fix


def test_other_features_in_the_recipe_do_not_change_the_ensembles(own):
    """What the heads read is theirs to say."""
    recipe = trained_recipe(own, ["features.layers=[1]"])
    _, reader = open_ensemble(own, recipe)
    assert reader.identity == open_reward(own).reader.identity


def test_an_ensemble_of_tables_is_an_error(own, trained):
    path = own / "ensemble" / "ensemble.json"
    value = json.loads(path.read_text())
    value["info"]["task"] = "regression"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match="regression cannot be adapted to preference pairs"):
        open_reward(own)


def test_a_truncated_ensemble_is_an_error(own):
    path = own / "ensemble" / "ensemble.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be loaded"):
        open_reward(own)
