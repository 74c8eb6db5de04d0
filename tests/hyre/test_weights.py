"""``weights.json``: what is in it, and that only the ensemble it was made for may use it."""

import json
import math

import numpy as np
import pytest
from tiny_ensemble import adapted, preference_ensemble, preferences

from lmtools.core.errors import DataError, ModelError
from lmtools.hyre.adapt import HEAVY, Weights, read_weights
from lmtools.hyre.settings import AdaptSettings

CONTRACT = {"weights", "losses", "loss", "reduction", "temperature", "effective_heads", "examples"}
OURS = {"rule", "standardise", "scale", "prior", "heaviest", "sources", "ensemble"}
SETTINGS = AdaptSettings(loss="zero_one", reduction="mean", temperature=0.3, standardise=True, prior="train")


def made(weights=(0.5, 0.2, 0.3), settings=SETTINGS) -> Weights:
    return Weights(
        weights=np.array(weights),
        losses=np.array([0.1, 1 / 3, 2.5]),
        settings=settings,
        examples=("é-1", "b"),
        sources=("pca", "pca", "random"),
        ensemble="digest",
    )


def test_the_files_keys_are_those_of_the_contract(tmp_path):
    made().write(tmp_path / "weights.json")
    value = json.loads((tmp_path / "weights.json").read_text(encoding="utf-8"))
    assert set(value) == CONTRACT | OURS
    assert value["weights"] == [0.5, 0.2, 0.3]
    assert value["losses"] == [0.1, 1 / 3, 2.5]
    assert (value["loss"], value["reduction"], value["temperature"]) == ("zero_one", "mean", 0.3)
    assert value["effective_heads"] == pytest.approx(1 / 0.38)
    assert value["examples"] == ["é-1", "b"]
    assert value["heaviest"][0] == {"head": "pca/0", "weight": 0.5}


def test_all_settings_of_the_adaptation_are_in_it(tmp_path):
    made().write(tmp_path / "weights.json")
    assert set(AdaptSettings.model_fields) <= set(json.loads((tmp_path / "weights.json").read_text()))


@pytest.mark.parametrize("settings", [SETTINGS, AdaptSettings(), AdaptSettings(rule="gaussian", scale=2.0)])
@pytest.mark.parametrize("place", ["weights.json", ""])
def test_round_trip(tmp_path, settings, place):
    """By the file's name, or by that of the run that holds it."""
    before = made((-0.5, 1e-300, 0.1 + 0.2), settings)
    before.write(tmp_path / "weights.json")
    after = read_weights(tmp_path / place, "digest", 3)
    assert after.weights.tolist() == before.weights.tolist()
    assert after.losses.tolist() == before.losses.tolist()
    for name in ("settings", "examples", "sources", "ensemble"):
        assert getattr(after, name) == getattr(before, name)


@pytest.mark.parametrize(("ensemble", "count"), [("another", 3), ("digest", 4)])
def test_weights_for_another_ensemble(tmp_path, ensemble, count):
    made().write(tmp_path / "weights.json")
    with pytest.raises(ModelError, match="another ensemble") as caught:
        read_weights(tmp_path / "weights.json", ensemble, count)
    assert "lmtools hyre adapt" in caught.value.fix


def test_a_missing_file(tmp_path):
    for path in (tmp_path, tmp_path / "weights.json"):
        with pytest.raises(DataError, match=r"weights\.json: cannot be read") as caught:
            read_weights(path, "digest", 3)
        assert "lmtools hyre adapt" in caught.value.fix


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"3", b"null", b"{}", b"\xff\xfe", b'{"weights": [1]}']
)
def test_a_file_of_something_else(tmp_path, content):
    path = tmp_path / "weights.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no weights of `lmtools hyre adapt`"):
        read_weights(path, "digest", 3)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [0.5, "much", 0.3]},
        {"weights": [0.5, math.nan, 0.3]},
        {"weights": None},
        {"weights": [[0.5, 0.2, 0.3]]},
        {"losses": [0.1]},
        {"sources": ["pca"]},
        {"temperature": -1},
        {"loss": "hinge"},
        {"examples": 5},
    ],
)
def test_a_value_that_cannot_be(tmp_path, change):
    path = tmp_path / "weights.json"
    made().write(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match="no weights of `lmtools hyre adapt`"):
        read_weights(path, "digest", 3)


def test_the_heaviest_heads():
    weights = np.zeros(30)
    weights[[4, 20, 7]] = [0.5, -0.7, 0.1]
    found = Weights(weights, weights, SETTINGS, (), ("pca",) * 15 + ("random",) * 15, "digest").heaviest()
    assert found[:3] == [("random/20", -0.7), ("pca/4", 0.5), ("pca/7", 0.1)]
    assert len(found) == HEAVY


@pytest.mark.parametrize(
    ("weights", "effective"), [((1, 0, 0), 1), ((1 / 3,) * 3, 3), ((0.5, 0.5, 0), 2), ((0, 0, 0), 3)]
)
def test_how_many_heads_speak(weights, effective):
    """By the gaussian rule no head speaks before the first example, and none more than another."""
    assert made(weights).effective_heads == pytest.approx(effective)


def test_a_users_rewards_are_the_weighted_sum_of_the_heads(tmp_path):
    data, ensemble = preferences(), preference_ensemble("pca", "random")
    rewards = ensemble.rewards(data.x, SETTINGS)
    weights, losses = adapted(
        rewards[:5] - ensemble.rewards(data.other, SETTINGS)[:5], ensemble.train_loss, SETTINGS
    )
    found = Weights(weights, losses, SETTINGS, tuple("abcde"), ensemble.sources, "digest")
    expected = [sum(w * r for w, r in zip(weights, row, strict=True)) for row in rewards]
    assert found.rewards(ensemble, data.x) == pytest.approx(expected)
    found.write(tmp_path / "weights.json")
    again = read_weights(tmp_path, "digest", ensemble.count)
    assert again.rewards(ensemble, data.x).tolist() == found.rewards(ensemble, data.x).tolist()
