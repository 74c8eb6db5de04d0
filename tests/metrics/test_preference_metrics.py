"""Metrics of reward models on preference pairs."""

import doctest
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lmtools.metrics import preference
from lmtools.metrics.preference import (
    accuracy,
    agreement_with,
    correct,
    disagreements,
    effective_heads,
    pairwise_disagreement,
    rmse,
    weighted_disagreements,
)

MARGINS = st.one_of(st.just(0.0), st.floats(-1e6, 1e6))
ONE_HEAD = arrays(float, st.integers(1, 30), elements=MARGINS)
HEADS = arrays(float, array_shapes(min_dims=2, max_dims=2, max_side=8), elements=MARGINS)
WEIGHTS = arrays(float, st.integers(1, 30), elements=st.floats(-1e200, 1e200)).filter(np.any)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(preference).failed == 0


def test_accuracy_by_hand():
    # Right, a tie, wrong, right: 2.5 of 4.
    assert correct([3.0, 0.0, -0.1, 1e-300]).tolist() == [1.0, 0.5, 0.0, 1.0]
    assert accuracy([3.0, 0.0, -0.1, 1e-300]) == 0.625
    assert correct([[1.0, -1.0], [-0.0, 2.0]]).tolist() == [[1.0, 0.0], [0.5, 1.0]]
    assert correct([]).shape == (0,)


@given(ONE_HEAD)
def test_labels_turned_round_turn_accuracy_round(margins):
    assert accuracy(-margins) == pytest.approx(1 - accuracy(margins))


@given(HEADS)
def test_agreement_is_the_accuracy_of_each_head(margins):
    assert agreement_with(margins) == pytest.approx([accuracy(head) for head in margins.T])


def test_disagreement_by_hand():
    # Heads 0 and 1 agree on the first pair only, and both disagree with head 2 there: 2 of 3, then 2 of 3.
    assert pairwise_disagreement([[1.0, 2.0, -1.0], [1.0, -3.0, -1.0]]) == pytest.approx(2 / 3)
    assert pairwise_disagreement([[1.0, -1.0]]) == 1.0
    # A tie is half a disagreement, with anything.
    assert pairwise_disagreement([[1.0, 0.0]]) == pairwise_disagreement([[0.0, 0.0]]) == 0.5
    assert pairwise_disagreement([[5.0], [-5.0]]) == 0.0


@given(HEADS)
def test_disagreement_is_the_mean_over_pairs_of_heads(margins):
    def of(one, two):
        return np.where(one * two == 0, 0.5, one != two).mean()

    signs = np.sign(margins)
    pairs = [of(one, two) for one, two in itertools.combinations(signs.T, 2)]
    assert pairwise_disagreement(margins) == pytest.approx(np.mean(pairs) if pairs else 0.0)


@given(HEADS, st.integers(0, 9))
def test_disagreement_knows_neither_order_nor_size_nor_labels(margins, seed):
    rng = np.random.default_rng(seed)
    found = pairwise_disagreement(margins)
    assert 0 <= found <= 1
    assert pairwise_disagreement(rng.permutation(margins, axis=1)) == pytest.approx(found)
    assert pairwise_disagreement(-2 * margins) == pytest.approx(found)


@given(HEADS)
def test_disagreement_is_that_of_each_pair_on_the_mean(margins):
    assert disagreements(margins).mean() == pytest.approx(pairwise_disagreement(margins))


def test_disagreement_of_heads_drawn_by_weight():
    margins = [[1.0, -2.0, 3.0], [1.0, 1.0, 1.0]]
    assert weighted_disagreements(margins, [0.5, 0.5, 0.0]) == pytest.approx([0.5, 0.0])
    assert weighted_disagreements(margins, [1.0, 0.0, 0.0]) == pytest.approx([0.0, 0.0])
    # A head of a negative weight says the opposite; sizes of weights do not matter, only their shares.
    assert weighted_disagreements(margins, [2.0, -2.0, 0.0]) == pytest.approx([0.0, 0.5])
    assert weighted_disagreements(margins, [0.0, 0.0, 0.0]) == pytest.approx([0.5, 0.5])


@given(HEADS)
def test_equal_weights_draw_heads_with_replacement(margins):
    """Of K heads without ties one draw in K takes the same head twice."""
    heads = margins.shape[1]
    signs = np.where(margins < 0, -1.0, 1.0)
    expected = disagreements(signs) * (heads - 1) / heads
    assert weighted_disagreements(signs, np.ones(heads)) == pytest.approx(expected, abs=1e-12)


def test_effective_heads_by_hand():
    assert effective_heads([0.25] * 4) == 4.0
    assert effective_heads([0.0, 1.0, 0.0]) == 1.0
    # 1 / (.25 + .0625 + .0625)
    assert effective_heads([0.5, 0.25, 0.25]) == pytest.approx(8 / 3)
    assert effective_heads([0.5, -0.25, -0.25]) == pytest.approx(8 / 3)


@given(WEIGHTS, st.floats(1e-3, 1e3))
def test_effective_heads_lie_between_one_and_all(weights, factor):
    found = effective_heads(weights)
    assert 1 - 1e-9 <= found <= len(weights) * (1 + 1e-9)
    assert effective_heads(-factor * weights) == pytest.approx(found)
    assert effective_heads([*weights, 0.0]) == pytest.approx(found)


def test_rmse_by_hand():
    # Errors 3 and 4.
    assert rmse([4.0, -1.0], [1.0, 3.0]) == pytest.approx(12.5**0.5)
    assert rmse([2.0], [2.0]) == 0.0


@given(ONE_HEAD, st.floats(-100, 100))
def test_rmse_of_a_shift_is_the_shift(targets, shift):
    assert rmse(targets + shift, targets) == pytest.approx(abs(shift), abs=1e-6)
    assert rmse(targets, targets + shift) == rmse(targets + shift, targets)


@pytest.mark.parametrize("metric", [accuracy, agreement_with, pairwise_disagreement, effective_heads])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_no_values_and_values_that_are_not_numbers(metric, bad):
    row = [1.0, bad]
    axes = [row] if metric in (agreement_with, pairwise_disagreement) else row
    with pytest.raises(ValueError, match="must be finite"):
        metric(axes)
    with pytest.raises(ValueError, match="at least one value"):
        metric(np.zeros(np.shape(axes))[:0])
    with pytest.raises(ValueError, match=r"axes, not shape \(1, 1, 1\)"):
        metric([[[1.0]]])


def test_no_weight_at_all():
    with pytest.raises(ValueError, match="a weight other than 0"):
        effective_heads([0.0, 0.0])


def test_errors_need_as_many_predictions_as_targets():
    with pytest.raises(ValueError, match="of one length, not 1 and 2"):
        rmse([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="at least one value"):
        rmse([], [])
    with pytest.raises(ValueError, match="finite"):
        rmse([float("nan")], [1.0])
