"""From training data to an ensemble: sizes, fits, several sources, and a reward model's own head."""

import math

import numpy as np
import pytest
from tiny_ensemble import FAST, WIDTH, preference_ensemble, preferences

from lmtools.core.errors import ModelError, RecipeError
from lmtools.hyre.ensemble import EnsembleInfo, Scaler
from lmtools.hyre.recipe import SourceSettings
from lmtools.hyre.settings import AdaptSettings
from lmtools.hyre.train import TrainingData, make_ensemble

DATA = preferences()
ALL = ("shared_base", "epinet", "mixture", "diverse", "pca", "random", "gaussian")
OWN = np.random.default_rng(3).normal(size=WIDTH).astype(np.float32)


@pytest.mark.parametrize("source", [*ALL, "gaussian_limit"])
def test_size_and_fit_by_their_definitions(source):
    made = preference_ensemble(source, data=DATA)
    margins = made.outputs(DATA.x) - made.outputs(DATA.other)
    for k in range(made.count):
        assert made.margin_rms[k] == pytest.approx(math.sqrt((margins[:, k] ** 2).mean()))
        assert made.train_loss[k] == pytest.approx(np.log1p(np.exp(-margins[:, k])).mean())


def test_sources_together():
    made = preference_ensemble(*ALL, count=4, data=DATA)
    assert made.count == 4 * len(ALL)
    assert made.sources == tuple(source for source in ALL for _ in range(4))
    assert made.outputs(DATA.x).shape == (60, made.count)
    assert made.margin_rms.shape == made.train_loss.shape == (made.count,)
    alone = preference_ensemble("shared_base", count=4, data=DATA)
    assert made.outputs(DATA.x)[:, :4].tolist() == alone.outputs(DATA.x).tolist()


def test_the_same_source_twice_gives_other_heads():
    made = preference_ensemble("random", "random", count=4, data=DATA)
    found = made.outputs(DATA.x)
    assert not np.allclose(found[:, :4], found[:, 4:])


def test_an_ensemble_follows_from_its_seed():
    first, again, other = (preference_ensemble("shared_base", data=DATA, seed=seed) for seed in (1, 1, 2))
    assert first.outputs(DATA.x).tolist() == again.outputs(DATA.x).tolist()
    assert first.outputs(DATA.x).tolist() != other.outputs(DATA.x).tolist()


def test_a_reward_models_own_head_is_the_last_member():
    """Its margins are those of the reward model itself, whatever the features are brought to."""
    made = preference_ensemble("pca", "shared_base", data=DATA, own_head=OWN)
    assert made.sources == ("pca",) * 6 + ("shared_base",) * 6 + ("reward_model",)
    margins = (made.outputs(DATA.x) - made.outputs(DATA.other))[:, -1]
    assert margins == pytest.approx((DATA.x - DATA.other) @ OWN, abs=1e-4)
    without = preference_ensemble("pca", "shared_base", data=DATA)
    assert made.outputs(DATA.x)[:, :-1].tolist() == without.outputs(DATA.x).tolist()


def test_a_feature_that_is_constant_in_training_says_nothing():
    x, other = DATA.x.copy(), DATA.other.copy()
    x[:, 2] = other[:, 2] = 7.0
    made = preference_ensemble("pca", data=TrainingData(x, other), own_head=OWN)
    assert np.isfinite(made.outputs(x)).all()
    moved = x.copy()
    moved[:, 2] = 100.0
    assert made.outputs(moved).tolist() == made.outputs(x).tolist()


def test_features_are_standardised_over_both_answers():
    standard = DATA.scaler()
    expected = Scaler.of(np.concatenate([DATA.x, DATA.other]))
    assert standard.mean.tolist() == expected.mean.tolist()
    assert TrainingData(DATA.x).scaler().mean.tolist() == Scaler.of(DATA.x).mean.tolist()


@pytest.mark.parametrize("source", ["pca", "mixture", "shared_base"])
def test_the_unit_of_the_features_does_not_matter(source):
    scale = np.linspace(0.1, 50, WIDTH).astype(np.float32)
    other_unit = TrainingData(DATA.x * scale + 3, DATA.other * scale + 3, groups=DATA.groups)
    one, two = (preference_ensemble(source, data=data) for data in (DATA, other_unit))
    margins = [m.outputs(d.x) - m.outputs(d.other) for m, d in ((one, DATA), (two, other_unit))]
    assert margins[1] == pytest.approx(margins[0], abs=0.02)


def test_a_feature_that_is_not_a_number():
    x = DATA.x.copy()
    x[4, 1] = math.nan
    with pytest.raises(ModelError, match="text 5"):
        preference_ensemble("pca", data=TrainingData(x, DATA.other))


def test_more_principal_directions_than_features():
    with pytest.raises(RecipeError, match=f"set count to {2 * WIDTH}"):
        preference_ensemble("pca", count=2 * WIDTH + 1, data=DATA)


def regression(unit: float = 1.0):
    y = unit * (DATA.x[:, 0] - DATA.x[:, 3])
    info = EnsembleInfo(
        task="regression", groups=(), target_mean=float(y.mean()), target_scale=float(y.std())
    )
    settings = FAST.model_copy(update={"epochs": 30, "learning_rate": 0.01})
    sources = [SourceSettings(source="shared_base", count=4), SourceSettings(source="epinet", count=3)]
    return make_ensemble(sources, TrainingData(DATA.x, y=y), info, settings, 0), y


def test_numbers_are_learned_in_their_unit():
    made, y = regression()
    found = made.outputs(DATA.x)
    assert found.shape == (60, 7)
    assert np.square(found.mean(axis=1) - y).mean() < 0.4 * y.var()
    fit = np.square(found - y[:, None]).mean(axis=0) / (2 * made.info.target_scale**2)
    assert made.train_loss == pytest.approx(fit)
    thousandfold, _ = regression(1000.0)
    assert thousandfold.outputs(DATA.x) == pytest.approx(1000 * found, rel=1e-2, abs=5)


def test_classes_are_learned():
    y = DATA.x[:, :3].argmax(axis=1)
    info = EnsembleInfo(task="classification", groups=(), outputs=3)
    settings = FAST.model_copy(update={"epochs": 30, "learning_rate": 0.01})
    made = make_ensemble(
        [SourceSettings(source="shared_base", count=4)], TrainingData(DATA.x, y=y), info, settings, 0
    )
    found = made.outputs(DATA.x)
    assert found.shape == (60, 4, 3)
    assert (found.mean(axis=1).argmax(axis=1) == y).mean() > 0.8
    logs = found - np.log(np.exp(found).sum(axis=2, keepdims=True))
    assert made.train_loss == pytest.approx(-np.array([logs[i, :, y[i]] for i in range(60)]).mean(axis=0))


def test_sizes_bring_margins_to_the_scale():
    made = preference_ensemble("shared_base", "random", data=DATA)
    for standardise in (True, False):
        settings = AdaptSettings(standardise=standardise, scale=2.5)
        margins = made.rewards(DATA.x, settings) - made.rewards(DATA.other, settings)
        squares = np.square(margins).mean(axis=0)
        assert (squares if standardise else squares.mean()) == pytest.approx(2.5**2)
