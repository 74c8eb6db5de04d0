"""Training a run: what it writes, that a finished one is only read, and a stopped one goes on."""

import json

import numpy as np
import pytest
from tiny_hyre import run_train, tiny_recipe
from transformers import LlamaForSequenceClassification

from lmtools.core.errors import RunError
from lmtools.hyre import inputs, train
from lmtools.hyre.ensemble import load_ensemble
from lmtools.hyre.inputs import prepare
from lmtools.hyre.pairs import answers, read_training
from lmtools.hyre.reward import open_reward
from lmtools.hyre.train import adaptation_of, load_ensembles
from lmtools.models.files import fingerprint

PARTS = ("ensemble", "ensembles/random", "ensembles/shared_base", "single")


@pytest.fixture
def recipe(tiny_llama, tmp_path):
    return tiny_recipe(tiny_llama, tmp_path, compare=["shared_base", "pca", "random", "random"])


def test_a_run_holds_its_ensembles_a_single_head_and_metrics(recipe, tmp_path):
    results = run_train(recipe, tmp_path / "run")
    held = {path.parent for path in (tmp_path / "run").rglob("ensemble.json")}
    assert held == {tmp_path / "run" / part for part in PARTS}
    value = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [row["name"] for row in value["rows"]] == ["pca", "shared_base", "random", "single head"]
    for row in results.rows:
        assert set(row.metrics) == {"train-accuracy", "heads-train-accuracy", "disagreement"}
        for found in row.metrics.values():
            assert 0 <= found.low <= found.value <= found.high <= 1
    single = results.row("single head").metrics
    assert single["disagreement"].value == 0
    assert single["train-accuracy"] == single["heads-train-accuracy"]
    found = load_ensembles(tmp_path / "run", recipe)
    assert found.main is found.by_name["pca"]
    assert [ensemble.count for ensemble in found.by_name.values()] == [4, 4, 4]
    assert found.single.count == 1


def test_the_single_head_has_no_prior_and_the_others_keep_theirs(recipe, tmp_path):
    run_train(recipe, tmp_path / "run")
    found = load_ensembles(tmp_path / "run", recipe)
    assert found.single.parts[0].prior_scale == 0
    assert found.by_name["shared_base"].parts[0].prior_scale == 1


def test_a_finished_run_is_only_read(recipe, tmp_path, monkeypatch):
    first = run_train(recipe, tmp_path / "run")
    monkeypatch.setattr(inputs, "train_on_pairs", None)
    monkeypatch.setattr(inputs, "tuned_inputs", None)
    assert run_train(recipe, tmp_path / "run", resume=True).rows == first.rows
    with pytest.raises(RunError, match="finished run"):
        run_train(recipe, tmp_path / "run")


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_interrupted_it_goes_on_and_ends_with_the_same_bytes(recipe, tmp_path, monkeypatch, kept):
    whole = run_train(recipe, tmp_path / "whole")
    make, done = train.make_ensemble, []

    def until(*args, **more):
        if len(done) == kept:
            raise KeyboardInterrupt
        done.append(1)
        return make(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(train, "make_ensemble", until)
        with pytest.raises(KeyboardInterrupt):
            run_train(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / "metrics.json").exists()
    assert len(list((tmp_path / "run").rglob("ensemble.json"))) == kept
    made = []
    monkeypatch.setattr(train, "make_ensemble", lambda *a, **m: made.append(1) or make(*a, **m))
    again = run_train(recipe, tmp_path / "run", resume=True)
    assert len(made) == len(PARTS) - kept
    assert again.rows == whole.rows
    for part in PARTS:
        assert fingerprint(tmp_path / "run" / part) == fingerprint(tmp_path / "whole" / part)


def test_the_seed_decides(recipe, tmp_path):
    run_train(recipe, tmp_path / "run")
    run_train(recipe.model_copy(update={"seed": 1}), tmp_path / "other")
    for part, same in (("ensemble", True), ("ensembles/random", False), ("single", False)):
        one, two = (load_ensemble(tmp_path / name / part).train_loss for name in ("run", "other"))
        assert np.array_equal(one, two) is same, part


def test_a_folder_of_something_else_holds_no_ensemble(recipe, tmp_path):
    with pytest.raises(RunError, match="holds no trained ensemble") as caught:
        load_ensembles(tmp_path, recipe)
    assert "lmtools hyre train" in caught.value.fix


def test_only_the_limit_is_adapted_by_its_own_rule(recipe):
    assert adaptation_of("pca", recipe).rule == "reweight"
    assert adaptation_of("gaussian_limit", recipe).rule == "gaussian"
    limit = recipe.model_validate(
        recipe.model_dump() | {"heads": ["gaussian_limit"], "adapt": {"rule": "gaussian"}}
    )
    assert adaptation_of("gaussian_limit", limit).rule == "gaussian"
    assert adaptation_of("pca", limit).rule == "reweight"


def test_a_reward_models_own_head_is_one_more_member(tiny_llama, tmp_path):
    from transformers import AutoTokenizer

    LlamaForSequenceClassification.from_pretrained(tiny_llama, num_labels=1).save_pretrained(tmp_path / "rm")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "rm")
    recipe = tiny_recipe(tmp_path / "rm", tmp_path)
    run_train(recipe, tmp_path / "run")
    found = load_ensembles(tmp_path / "run", recipe)
    assert [ensemble.count for ensemble in found.by_name.values()] == [5, 5]
    assert found.main.sources == ("pca",) * 4 + ("reward_model",)
    assert found.single.count == 1
    inputs = prepare(recipe)
    features = inputs.reader.read(answers(read_training(recipe.data, 0)))
    own = features @ inputs.reader.own_head
    rewards = found.main.outputs(features)[:, -1]
    np.testing.assert_allclose(rewards[::2] - rewards[1::2], own[::2] - own[1::2], rtol=1e-3, atol=1e-4)
    assert open_reward(tmp_path / "run").weights.weights == pytest.approx(np.full(5, 0.2))


def test_a_reward_models_head_joins_every_ensemble_but_a_limit(tiny_llama, tmp_path):
    from transformers import AutoTokenizer

    LlamaForSequenceClassification.from_pretrained(tiny_llama, num_labels=1).save_pretrained(tmp_path / "rm")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "rm")
    limit = {"heads": ["gaussian_limit"], "adapt": {"rule": "gaussian"}, "compare": ["random"]}
    recipe = tiny_recipe(tmp_path / "rm", tmp_path, **limit)
    run_train(recipe, tmp_path / "run")
    found = load_ensembles(tmp_path / "run", recipe).by_name
    assert set(found["gaussian_limit"].sources) == {"gaussian_limit"}
    assert found["random"].sources[-1] == "reward_model"
