"""Labelled examples become weights: the settings, no examples, and the limit of infinitely many heads."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from scipy.special import expit
from tiny_ensemble import adapted, preference_ensemble, preferences

from lmtools.core.errors import DataError
from lmtools.hyre.adapt import check_examples, check_heads, head_prior, informativeness, prior_weights
from lmtools.hyre.ensemble import EnsembleInfo
from lmtools.hyre.heads import prior_root
from lmtools.hyre.recipe import SourceSettings
from lmtools.hyre.reweighting import posterior_mode
from lmtools.hyre.settings import AdaptSettings, TrainSettings
from lmtools.hyre.train import TrainingData, make_ensemble

LN2, LN3 = math.log(2), math.log(3)
FIT = np.array([0.0, LN2, 2 * LN2])
PLAIN, GAUSSIAN = AdaptSettings(), AdaptSettings(rule="gaussian")
MARGINS = arrays(np.float64, (5, 3), elements=st.floats(-20, 20))


def test_by_hand():
    """Odds are products of sigmoids: (3/4)^2 for one head, (1/4)^2 for its opposite."""
    weights, losses = adapted([[LN3, -LN3], [LN3, -LN3]], np.zeros(2), PLAIN)
    assert weights == pytest.approx([0.9, 0.1])
    assert losses == pytest.approx([2 * math.log(4 / 3), 2 * math.log(4)])
    weights, losses = adapted([[LN3, -LN3], [LN3, -LN3]], np.zeros(2), AdaptSettings(reduction="mean"))
    assert weights == pytest.approx([0.75, 0.25])
    weights, losses = adapted([[0.0, -1.0]], np.zeros(2), AdaptSettings(loss="zero_one", temperature=0.5))
    assert losses.tolist() == [0.5, 1]
    assert weights == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])


def test_the_prior_from_training_by_hand():
    assert head_prior(FIT, AdaptSettings(prior="train")) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert head_prior(FIT, PLAIN) == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("prior", ["uniform", "train"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_without_examples_the_prior_is_left(prior, reduction):
    settings = AdaptSettings(prior=prior, reduction=reduction)
    weights, losses = adapted(np.zeros((0, 3)), FIT, settings)
    assert weights == pytest.approx(head_prior(FIT, settings))
    assert losses.tolist() == [0, 0, 0]


@pytest.mark.parametrize("settings", [PLAIN, GAUSSIAN, AdaptSettings(loss="zero_one", prior="train")])
@given(margins=MARGINS, data=st.data())
def test_the_order_of_examples_does_not_matter(settings, margins, data):
    order = data.draw(st.permutations(range(5)))
    for found, expected in zip(
        adapted(margins[order], FIT, settings), adapted(margins, FIT, settings), strict=True
    ):
        assert found == pytest.approx(expected, abs=1e-6)


@given(MARGINS, st.floats(0.1, 10))
def test_a_mean_is_a_sum_at_a_higher_temperature(margins, temperature):
    mean = adapted(margins, FIT, AdaptSettings(reduction="mean", temperature=temperature))[0]
    total = adapted(margins, FIT, AdaptSettings(temperature=5 * temperature))[0]
    assert mean == pytest.approx(total)


def test_the_gaussian_rule_is_the_posterior_mode():
    margins = np.random.default_rng(0).normal(size=(5, 3))
    weights, losses = adapted(margins, FIT, GAUSSIAN)
    assert weights.tolist() == posterior_mode(margins, 1 / 3).tolist()
    assert losses.tolist() == adapted(margins, FIT, PLAIN)[1].tolist()
    assert adapted(np.zeros((0, 3)), FIT, GAUSSIAN)[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("settings", [PLAIN, GAUSSIAN])
def test_a_margin_that_is_not_a_number(settings):
    with pytest.raises(ValueError, match="not a number"):
        adapted([[math.nan, 0.0]], np.zeros(2), settings)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_the_limit_is_logistic_regression_under_the_learned_prior(scale):
    """The rewards are those of the mode of N(0, s^2 A) over linear heads, found by a general optimiser."""
    data = preferences()
    made = preference_ensemble("gaussian_limit", data=data)
    settings = AdaptSettings(rule="gaussian", scale=scale)
    rewards = made.rewards(data.x, settings) - made.rewards(data.other, settings)
    weights, _ = adapted(rewards[:7], made.train_loss, settings)

    wide = made.scaler(data.x).astype(np.float64) - made.scaler(data.other)
    root = prior_root(wide, data.groups)
    inverse = np.linalg.inv(scale**2 * root.T @ root)

    def negative_log_posterior(w):
        found = wide[:7] @ w
        return np.logaddexp(0, -found).sum() + w @ inverse @ w / 2, -wide[:7].T @ expit(-found) + inverse @ w

    best = minimize(negative_log_posterior, np.zeros(wide.shape[1]), jac=True, method="BFGS", tol=1e-8).x
    assert rewards @ weights == pytest.approx(wide @ best, abs=1e-3)
    assert np.abs(wide @ best).mean() > 0.1


def test_few_labels_find_the_user():
    """Five labels of a wish for one feature; the mean of heads in opposite pairs knows nothing of it."""
    made = preference_ensemble("pca", count=16)
    rng = np.random.default_rng(5)
    x, other = rng.normal(size=(2, 200, 8)).astype(np.float32) * np.linspace(0.5, 3.0, 8, dtype=np.float32)
    margins = made.rewards(x, AdaptSettings(scale=3)) - made.rewards(other, AdaptSettings(scale=3))
    margins *= np.sign(x[:, 4] - other[:, 4])[:, None]
    weights, _ = adapted(margins[:5], made.train_loss, AdaptSettings(scale=3))
    assert (margins[5:].mean(axis=1) > 1e-6).mean() < 0.1  # plus and minus cancel
    assert (margins[5:] @ weights > 0).mean() > 0.6


def test_too_few_examples():
    check_examples(5, 5, "pairs.jsonl")
    with pytest.raises(DataError, match=r"pairs.jsonl: 4 pairs, and 5 .*\n.*--examples 4"):
        check_examples(4, 5, "pairs.jsonl")


def test_an_ensemble_of_numbers_cannot_be_adapted_to_pairs():
    check_heads(preference_ensemble())
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 3)).astype(np.float32)
    made = make_ensemble(
        [SourceSettings(source="shared_base", count=2)],
        TrainingData(x, y=x[:, 0]),
        EnsembleInfo(task="regression", groups=()),
        TrainSettings(epochs=1),
        0,
    )
    with pytest.raises(DataError, match="regression cannot be adapted"):
        check_heads(made)


def test_under_the_normal_prior_a_pair_like_a_labelled_one_tells_less():
    pool = np.array([[2.0, 0.0], [0.0, 1.5]])
    settings = AdaptSettings(rule="gaussian")
    nothing = informativeness("variance", pool, np.zeros((0, 2)), np.zeros(2), settings, 0)
    assert nothing[0] > nothing[1]
    known = np.array([[2.0, 0.0]] * 20)
    mode, _ = adapted(known, np.zeros(2), settings)
    after = informativeness("variance", pool, known, mode, settings, 0)
    assert after[0] < after[1] == pytest.approx(nothing[1])


def test_before_any_example_a_posterior_mode_has_no_opinion():
    assert not prior_weights(np.zeros(3), AdaptSettings(rule="gaussian")).any()
    assert prior_weights(np.zeros(4), AdaptSettings()).tolist() == [0.25] * 4
