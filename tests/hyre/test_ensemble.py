"""An ensemble: one row at a time, one factor for all heads or one for each, and its form on disk."""

import json
import math

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tiny_ensemble import WIDTH, preference_ensemble, preferences

from lmtools.core.errors import ModelError
from lmtools.hyre import ensemble as module
from lmtools.hyre.ensemble import SETTINGS, WEIGHTS, ensemble_digest, load_ensemble, read_info, save_ensemble
from lmtools.hyre.settings import AdaptSettings

SOURCES = ("shared_base", "epinet", "mixture", "diverse", "pca", "random", "gaussian")
PLAIN = AdaptSettings()
ROWS = preferences(37, seed=9).x


@pytest.fixture(scope="module")
def made():
    own = np.linspace(-1, 1, WIDTH).astype(np.float32)
    return preference_ensemble(*SOURCES, count=3, own_head=own)


@pytest.fixture
def saved(made, tmp_path):
    save_ensemble(made, tmp_path)
    return tmp_path


def test_a_text_has_the_same_rewards_in_any_batch_and_order(made, monkeypatch):
    whole = made.outputs(ROWS)
    order = np.random.default_rng(0).permutation(len(ROWS))
    close = {"abs": 1e-6, "rel": 1e-6}
    assert np.concatenate([made.outputs(row[None]) for row in ROWS]) == pytest.approx(whole, **close)
    assert made.outputs(ROWS[order]) == pytest.approx(whole[order], **close)
    monkeypatch.setattr(module, "ROWS", 5)
    assert made.outputs(ROWS) == pytest.approx(whole, **close)


def test_no_texts(made):
    assert made.outputs(ROWS[:0]).shape == (0, made.count)
    assert made.rewards(ROWS[:0], PLAIN).shape == (0, made.count)


def test_features_that_are_not_numbers(made):
    features = ROWS.copy()
    features[7, 2] = math.nan
    with pytest.raises(ModelError, match="text 8"):
        made.outputs(features)


def test_features_of_another_model(made):
    with pytest.raises(ModelError, match=f"9 features, where the ensemble has {WIDTH}"):
        made.outputs(np.zeros((2, 9), dtype=np.float32))


def test_factors_of_each_head_or_of_all_together(made):
    one_each = made.factors(AdaptSettings(standardise=True, scale=3))
    assert one_each * made.margin_rms == pytest.approx(np.full(made.count, 3.0))
    together = made.factors(AdaptSettings(standardise=False, scale=3))
    assert len(set(together)) == 1
    assert np.sqrt(np.square(together * made.margin_rms).mean()) == pytest.approx(3)
    rewards = made.rewards(ROWS, AdaptSettings(scale=3))
    assert rewards == pytest.approx(made.outputs(ROWS) * together)


def test_together_heads_keep_their_sizes_to_each_other(made):
    common = made.rewards(ROWS, PLAIN) / made.outputs(ROWS)
    assert common == pytest.approx(np.full_like(common, common[0, 0]))


def test_saved_and_loaded_it_is_the_same(made, saved):
    loaded = load_ensemble(saved)
    assert loaded.info == made.info == read_info(saved)
    assert loaded.sources == made.sources
    assert loaded.outputs(ROWS).tolist() == made.outputs(ROWS).tolist()
    assert loaded.margin_rms.tolist() == made.margin_rms.tolist()
    assert loaded.train_loss.tolist() == made.train_loss.tolist()
    assert loaded.rewards(ROWS, PLAIN).tolist() == made.rewards(ROWS, PLAIN).tolist()
    assert not any(weight.requires_grad for part in loaded.parts for weight in part.parameters())


@pytest.mark.parametrize("source", [*SOURCES, "gaussian_limit"])
def test_each_source_is_saved(source, tmp_path):
    made = preference_ensemble(source, count=5)
    save_ensemble(made, tmp_path)
    assert load_ensemble(tmp_path).outputs(ROWS).tolist() == made.outputs(ROWS).tolist()


def test_what_lies_in_the_folder(made, saved):
    assert sorted(path.name for path in saved.iterdir()) == [SETTINGS, WEIGHTS]
    tensors = load_file(saved / WEIGHTS)
    assert tensors["standard.mean"].shape == tensors["standard.scale"].shape == (WIDTH,)
    assert tensors["size"].shape == tensors["fit"].shape == (made.count,)
    settings = json.loads((saved / SETTINGS).read_text())
    assert set(settings) == {"format", "info", "lmtools"}
    assert [group["source"] for group in settings["info"]["groups"]] == [*SOURCES, "reward_model"]


def test_the_digest_is_of_the_content(made, saved, tmp_path):
    first = ensemble_digest(saved)
    save_ensemble(made, tmp_path / "again")
    assert ensemble_digest(tmp_path / "again") == first
    save_ensemble(preference_ensemble("random", seed=1), tmp_path / "other")
    assert ensemble_digest(tmp_path / "other") != first


@pytest.mark.parametrize("name", [SETTINGS, WEIGHTS])
@pytest.mark.parametrize("harm", ["missing", "empty", "truncated", "noise", "a folder"])
def test_a_broken_file(saved, name, harm):
    path = saved / name
    content = path.read_bytes()
    path.unlink()
    if harm == "a folder":
        path.mkdir()
    elif harm != "missing":
        changed = {"empty": b"", "truncated": content[: len(content) // 2], "noise": b"\xff\x00" * 50}
        path.write_bytes(changed[harm])
    with pytest.raises(ModelError, match=name) as caught:
        load_ensemble(saved)
    assert "train" in caught.value.fix


@pytest.mark.parametrize(
    "settings",
    [
        [],
        {},
        "ensemble",
        {"format": 1},
        {"format": 1, "info": None},
        {"format": 1, "info": {"task": "poetry", "groups": []}},
        {
            "format": 1,
            "info": {"task": "preference", "groups": [{"source": "pca", "count": 1, "kind": "cubic"}]},
        },
    ],
)
def test_settings_of_something_else(saved, settings):
    (saved / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="no ensemble's settings"):
        load_ensemble(saved)


def test_a_later_format(saved):
    settings = json.loads((saved / SETTINGS).read_text())
    (saved / SETTINGS).write_text(json.dumps({**settings, "format": 2}))
    with pytest.raises(ModelError, match="format 2; this version reads 1"):
        load_ensemble(saved)


def test_settings_of_other_heads(saved):
    settings = json.loads((saved / SETTINGS).read_text())
    for change in (
        {"count": 4},
        {"kind": "epinet"},
        {"arguments": {"hidden": 3}},
        {"arguments": {"wide": 3}},
    ):
        groups = [{**settings["info"]["groups"][0], **change}, *settings["info"]["groups"][1:]]
        changed = {**settings, "info": {**settings["info"], "groups": groups}}
        (saved / SETTINGS).write_text(json.dumps(changed))
        with pytest.raises(ModelError, match="cannot be loaded"):
            load_ensemble(saved)


@pytest.mark.parametrize(
    "name", ["standard.mean", "standard.scale", "size", "fit", "0.heads.weight", "4.weight"]
)
@pytest.mark.parametrize("harm", ["missing", "not finite", "shorter"])
def test_tensors_that_are_no_ensemble(saved, name, harm):
    tensors = load_file(saved / WEIGHTS)
    value = tensors.pop(name)
    if harm == "not finite":
        value[..., 0] = np.nan
    if harm != "missing":
        tensors[name] = value if harm == "not finite" else np.ascontiguousarray(value[..., :-1])
    save_file(tensors, saved / WEIGHTS)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_ensemble(saved)
