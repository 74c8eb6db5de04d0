"""The posterior mode against an optimiser of the primal, logistic regression and closed forms."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from lmtools.hyre.reweighting import margin_variances, posterior_mode


def primal(margins, variance, offset):
    """The mode by a general optimiser over the coefficients themselves."""

    def value(a):
        found = offset + margins @ a
        gradient = -margins.T @ expit(-found) + a / variance
        return np.logaddexp(0, -found).sum() + a @ a / (2 * variance), gradient

    start = np.zeros(margins.shape[1])
    return minimize(value, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9}).x


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(1, 6), st.floats(0.05, 5))
def test_against_an_optimiser_of_the_primal(seed, n, heads, variance):
    rng = np.random.default_rng(seed)
    margins, offset = rng.normal(size=(n, heads)) * 2, rng.normal(size=n)
    found = posterior_mode(margins, variance, offset)
    assert found == pytest.approx(primal(margins, variance, offset), abs=1e-4)


@settings(max_examples=100)
@example(18800166, 24, 14, 70.0)  # once it stopped far from the mode: its first step overshot
@given(st.integers(0, 2**31), st.integers(1, 30), st.integers(1, 40), st.floats(0.01, 100))
def test_the_gradient_is_zero(seed, n, heads, variance):
    """By as little as a Newton step would still gain, however wide the prior."""
    margins = np.random.default_rng(seed).normal(size=(n, heads)) * 3
    found = posterior_mode(margins, variance)
    p = expit(-margins @ found)
    gradient = margins.T @ p - found / variance
    curvature = margins.T @ (margins * (p * (1 - p))[:, None]) + np.eye(heads) / variance
    assert gradient @ np.linalg.solve(curvature, gradient) < 1e-8


def test_one_example_by_hand():
    """Of one head and one pair of margin 1: a / v = sigmoid(-a)."""
    expected = brentq(lambda a: a / 2 - expit(-a), 0, 2)
    assert posterior_mode([[1.0]], 2.0) == pytest.approx([expected])


def test_against_logistic_regression():
    rng = np.random.default_rng(0)
    margins = rng.normal(size=(40, 6))
    labels = np.where(rng.random(40) < 0.5, 1, -1)
    fitted = LogisticRegression(C=0.7, fit_intercept=False, tol=1e-10, max_iter=10_000)
    fitted.fit(margins, labels)
    assert posterior_mode(margins * labels[:, None], 0.7) == pytest.approx(fitted.coef_[0], abs=1e-5)


def test_no_examples():
    assert posterior_mode(np.zeros((0, 3)), 1.0).tolist() == [0, 0, 0]


def test_a_narrow_prior_is_a_step_along_the_mean():
    """As v goes to 0 the mode is v / 2 times the sum of the examples."""
    margins = np.random.default_rng(0).normal(size=(5, 3))
    assert posterior_mode(margins, 1e-8) == pytest.approx(0.5e-8 * margins.sum(axis=0), rel=1e-6)


@pytest.mark.parametrize("size", [1e2, 1e4])
def test_margins_of_any_size(size):
    margins = np.random.default_rng(0).normal(size=(30, 4)) * size
    found = posterior_mode(margins, 1.0)
    assert np.isfinite(found).all()
    assert found == pytest.approx(margins.T @ expit(-margins @ found), abs=1e-6 * size)


def test_the_same_pair_often():
    """A gram matrix without full rank: 50 copies of one pair, and of it turned around."""
    one = np.array([[1.0, 2.0]])
    found = posterior_mode(np.repeat(one, 50, axis=0), 1.0)
    assert found == pytest.approx(50 * expit(-one @ found)[0] * one[0], abs=1e-6)
    assert posterior_mode(np.concatenate([one, -one] * 25), 1.0) == pytest.approx([0, 0], abs=1e-9)


@given(st.integers(0, 2**31))
def test_an_offset_that_knows_the_answer_leaves_nothing_to_learn(seed):
    margins = np.random.default_rng(seed).normal(size=(5, 3))
    assert posterior_mode(margins, 1.0, 60.0) == pytest.approx(np.zeros(3), abs=1e-12)


@given(st.integers(0, 2**31))
def test_heads_may_be_turned(seed):
    """An orthogonal change of the heads turns the coefficients and moves no margin."""
    rng = np.random.default_rng(seed)
    margins, turn = rng.normal(size=(6, 4)), np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert turn @ posterior_mode(margins @ turn, 1.0) == pytest.approx(posterior_mode(margins, 1.0), abs=1e-6)


@pytest.mark.parametrize("variance", [0.0, -1.0, math.nan])
def test_a_variance_that_is_none(variance):
    with pytest.raises(ValueError, match="variance"):
        posterior_mode([[1.0]], variance)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_margin_that_is_not_finite(value):
    with pytest.raises(ValueError, match="finite"):
        posterior_mode([[value]], 1.0)


@given(st.integers(0, 1000))
def test_many_examples_are_solved_among_the_coefficients_and_few_among_the_examples(seed):
    margins = np.random.default_rng(seed).normal(size=(7, 7))
    wide = np.concatenate([margins, np.zeros((1, 7))])  # a pair that tells nothing: the other way of solving
    assert posterior_mode(wide, 0.5) == pytest.approx(posterior_mode(margins, 0.5), abs=1e-6)


@given(st.integers(0, 1000), st.integers(0, 6))
def test_variances_are_those_of_the_inverse_curvature(seed, labelled):
    rng = np.random.default_rng(seed)
    known, pool = rng.normal(size=(labelled, 4)), rng.normal(size=(5, 4))
    mode = posterior_mode(known, 0.7)
    p = 1 / (1 + np.exp(-known @ mode))
    curvature = (known * (p * (1 - p))[:, None]).T @ known + np.eye(4) / 0.7
    expected = np.einsum("mk,kl,ml->m", pool, np.linalg.inv(curvature), pool)
    assert margin_variances(pool, known, mode, 0.7) == pytest.approx(expected, rel=1e-6, abs=1e-9)
