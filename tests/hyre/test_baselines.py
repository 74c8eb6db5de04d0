"""Baselines on pairs made by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from lmtools.hyre.methods import PairView, pair_methods, shared_methods, simplex_weights
from lmtools.hyre.reweighting import pair_losses, posterior_mode

METHODS = {
    method.name.removesuffix("/pca"): method for method in (*pair_methods("pca"), *shared_methods("pca"))
}
BASELINES = {name: method.predict for name, method in METHODS.items()}
WITHOUT_EXAMPLES = [name for name, method in METHODS.items() if method.needs is None]


def pairs(margins=None, features=None, single=None, inner=None) -> PairView:
    given = [value for value in (margins, features, single, inner) if value is not None]
    n = len(given[0])
    blank = np.zeros((n, 2))
    found = [blank if value is None else np.array(value, dtype=float) for value in (margins, features, inner)]
    return PairView(
        found[0], found[1], np.zeros(n) if single is None else np.array(single, dtype=float), found[2]
    )


def drawn(seed: int, n: int) -> PairView:
    rng = np.random.default_rng(seed)
    return PairView(
        rng.normal(size=(n, 4)), rng.normal(size=(n, 3)), rng.normal(size=n), rng.normal(size=(n, 2))
    )


ASKED = pairs(margins=[[1.0, -2.0, 3.0], [-1.0, 4.0, 1.0]])


def test_uniform():
    assert BASELINES["uniform"](ASKED[np.array([], dtype=int)], ASKED) == pytest.approx([2 / 3, 4 / 3])


def test_best_head():
    known = pairs(margins=[[1.0, 1.0, -5.0], [-1.0, 1.0, 5.0]])
    assert BASELINES["best-head"](known, ASKED).tolist() == [-2, 4]


def test_best_heads_with_as_few_errors_are_told_apart_by_their_loss():
    known = pairs(margins=[[1.0, 9.0, 2.0], [-1.0, -9.0, -1.0]])  # one error each
    assert BASELINES["best-head"](known, ASKED).tolist() == [3, 1]
    tie = pairs(margins=[[0.0, -1.0, 0.5], [3.0, 5.0, -5.0]])  # a tie is half an error
    assert BASELINES["best-head"](tie, ASKED).tolist() == [1, -1]


def test_oracle_head():
    """It looks at what is asked, whatever was labelled: no method, a ceiling."""
    known = pairs(margins=[[9.0, -9.0, -9.0]])
    assert BASELINES["oracle-head"](known, ASKED).tolist() == [3, 1]


@given(st.integers(0, 2**31), st.integers(1, 20))
def test_no_head_is_better_than_the_oracle(seed, n):
    known, asked = drawn(seed, 5), drawn(seed + 1, n)
    oracle = pair_losses(BASELINES["oracle-head"](known, asked)[:, None], "zero_one").sum()
    assert oracle == pair_losses(asked.outputs, "zero_one").sum(axis=0).min()


@given(st.integers(0, 2**31), st.integers(1, 20))
def test_simplex_weights_are_on_the_simplex_and_lower_the_loss(seed, n):
    margins = drawn(seed, n).outputs
    weights = simplex_weights(margins)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    loss, equal = (np.logaddexp(0, -margins @ w).mean() for w in (weights, np.full(4, 0.25)))
    assert loss <= equal + 1e-6


def test_simplex_weights_near_the_best_there_are():
    """Against a fine grid over two heads."""
    margins = np.array([[3.0, -1.0], [-2.0, 2.0], [1.0, -0.5]])
    grid = np.linspace(0, 1, 1001)
    losses = [np.logaddexp(0, -margins @ [w, 1 - w]).sum() for w in grid]
    found = simplex_weights(margins)
    assert np.logaddexp(0, -margins @ found).sum() == pytest.approx(min(losses), abs=1e-3)
    assert found[0] == pytest.approx(grid[int(np.argmin(losses))], abs=0.05)


def test_simplex_weights_without_examples_are_equal():
    assert simplex_weights(np.zeros((0, 4))) == pytest.approx([0.25] * 4)
    known, asked = pairs(margins=[[1.0, -1.0, -1.0]]), ASKED
    assert BASELINES["simplex"](known, asked) == pytest.approx(asked.outputs @ simplex_weights(known.outputs))


def test_single_head():
    asked = pairs(single=[0.5, -2.0])
    assert BASELINES["single-head"](asked, asked).tolist() == [0.5, -2]


def test_a_fine_tuned_head_moves_towards_the_examples():
    known = pairs(single=[-1.0, -1.0], inner=[[1.0, 0.0], [1.0, 0.0]])
    asked = pairs(single=[-0.5, 0.5], inner=[[2.0, 0.0], [0.0, 7.0]])
    found = BASELINES["fine-tuned-head"](known, asked)
    assert found[0] > -0.5
    assert found[1] == pytest.approx(0.5)
    # a / v = the sum of what the examples still lack, v = 1 / the mean squared length, here 1.
    moved = (found[0] + 0.5) / 2
    assert moved == pytest.approx(2 * expit(1 - moved))


def test_a_fine_tuned_head_without_examples_is_the_single_head():
    asked = drawn(0, 4)
    assert BASELINES["fine-tuned-head"](asked[np.arange(0)], asked).tolist() == asked.single.tolist()


def test_mean_difference():
    known = pairs(features=[[3.0, 4.0], [0.0, -2.0]])  # of length 1: (0.6, 0.8) and (0, -1)
    asked = pairs(features=[[1.0, 0.0], [0.0, 5.0], [2.0, 6.0]])
    assert BASELINES["mean-difference"](known, asked) == pytest.approx([0.6, -1.0, 0.0], abs=1e-12)


def test_answers_with_the_same_features_say_nothing():
    known = pairs(features=[[0.0, 0.0]])
    asked = pairs(features=[[1.0, 2.0]])
    for name in ("mean-difference", "logistic"):
        assert BASELINES[name](known, asked).tolist() == [0]


def test_logistic():
    known, asked = drawn(0, 6), drawn(1, 3)
    variance = 1 / (known.features**2).sum(axis=1).mean()
    expected = asked.features @ posterior_mode(known.features, variance)
    assert BASELINES["logistic"](known, asked) == pytest.approx(expected)


@given(st.integers(0, 2**31))
def test_logistic_regression_does_not_depend_on_the_unit(seed):
    known, asked = drawn(seed, 6), drawn(seed + 1, 3)
    scaled = [PairView(p.outputs, 100 * p.features, p.single, p.inner) for p in (known, asked)]
    assert BASELINES["logistic"](*scaled) == pytest.approx(BASELINES["logistic"](known, asked), abs=1e-5)


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_orders_what_it_was_shown(name):
    """Twenty pairs that one direction explains: those that look at them get most right."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 3))
    features *= np.sign(features[:, :1])
    all_pairs = PairView(features, features, features[:, 1], features)
    known, asked = all_pairs[np.arange(20)], all_pairs[np.arange(20, 40)]
    found = BASELINES[name](known, asked)
    assert found.shape == (20,)
    if name not in ("uniform", "single-head"):
        assert (found > 0).mean() > 0.85


@pytest.mark.parametrize("name", WITHOUT_EXAMPLES)
def test_baselines_that_look_at_no_examples(name):
    asked = drawn(0, 9)
    first, second = (BASELINES[name](drawn(seed, 4), asked).tolist() for seed in (1, 2))
    assert first == second


def test_rows_of_pairs():
    some = drawn(0, 5)[np.array([3, 1])]
    assert (len(some.outputs), len(some.features), len(some.single), len(some.inner)) == (2, 2, 2, 2)
    assert some.single.tolist() == drawn(0, 5).single[[3, 1]].tolist()
    assert WITHOUT_EXAMPLES == ["uniform", "oracle-head", "single-head"]
    assert math.isfinite(float(some.single.sum()))
