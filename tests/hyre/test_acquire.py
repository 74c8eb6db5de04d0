"""Which example to ask about: scores by hand, and what must hold of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmtools.hyre.reweighting import coin_entropy, normal_scores, reweight, scores

LN2, LN3 = math.log(2), math.log(3)
MARGINS = arrays(np.float64, (5, 4), elements=st.floats(-40, 40))
WEIGHTS = arrays(np.float64, 4, elements=st.floats(0, 20)).map(reweight)
KINDS = ("entropy", "bald", "variance")


def test_by_hand():
    """Two heads of equal weight say 3/4 and 1/4."""
    margins, weights = [[LN3, -LN3]], [0.5, 0.5]
    each = 2 * LN2 - 0.75 * LN3  # the entropy of a coin of 3/4
    assert scores("entropy", margins, weights) == pytest.approx([LN2])
    assert scores("bald", margins, weights) == pytest.approx([LN2 - each])
    assert scores("variance", margins, weights) == pytest.approx([LN3**2])


@given(st.floats(0, 1))
def test_the_entropy_of_a_coin(p):
    found = float(coin_entropy(p))
    assert 0 <= found <= LN2 + 1e-12
    assert found == pytest.approx(float(coin_entropy(1 - p)), abs=1e-9)
    assert coin_entropy([0.0, 0.5, 1.0]) == pytest.approx([0, LN2, 0])


@pytest.mark.parametrize("kind", KINDS)
@given(margins=MARGINS, weights=WEIGHTS, data=st.data())
def test_turning_pairs_around_changes_nothing(kind, margins, weights, data):
    signs = data.draw(arrays(np.float64, (5, 1), elements=st.sampled_from([-1.0, 1.0])))
    turned = scores(kind, margins * signs, weights)
    assert turned == pytest.approx(scores(kind, margins, weights), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@given(margins=MARGINS, weights=WEIGHTS)
def test_scores_are_finite_and_not_negative(kind, margins, weights):
    found = scores(kind, margins, weights)
    assert found.shape == (5,)
    assert np.isfinite(found).all()
    assert (found >= 0).all()


@given(MARGINS, WEIGHTS)
def test_bald_is_at_most_the_entropy(margins, weights):
    total, mutual = scores("entropy", margins, weights), scores("bald", margins, weights)
    assert (mutual <= total + 1e-12).all()
    assert (total <= LN2 + 1e-12).all()


@given(arrays(np.float64, (5, 1), elements=st.floats(-40, 40)), WEIGHTS)
def test_heads_that_agree_tell_nothing(column, weights):
    margins = np.repeat(column, 4, axis=1)
    assert scores("bald", margins, weights) == pytest.approx(np.zeros(5), abs=1e-12)
    assert scores("variance", margins, weights) == pytest.approx(np.zeros(5), abs=1e-9)


def test_a_head_without_weight_is_not_asked():
    margins = [[3.0, -3.0], [0.1, 5.0]]
    for kind in KINDS:
        alone = scores(kind, [[3.0], [0.1]], [1.0])
        assert scores(kind, margins, [1.0, 0.0]) == pytest.approx(alone)


def test_what_each_score_asks_for():
    """Noise on which all agree, or heads that are sure and contradict each other."""
    margins = [[0.0, 0.0], [4.0, -4.0], [4.0, 4.0]]
    assert scores("entropy", margins, [0.5, 0.5]) == pytest.approx([LN2, LN2, 0.09], abs=0.01)
    assert int(scores("bald", margins, [0.5, 0.5]).argmax()) == 1
    assert int(scores("variance", margins, [0.5, 0.5]).argmax()) == 1


def test_random_is_drawn_by_seed():
    margins = np.zeros((6, 2))
    first, again, other = (scores("random", margins, [0.5, 0.5], seed) for seed in (1, 1, 2))
    assert first.tolist() == again.tolist()
    assert first.tolist() != other.tolist()
    assert len(set(first)) == 6


@pytest.mark.parametrize("kind", [*KINDS, "random"])
def test_an_empty_pool(kind):
    assert scores(kind, np.zeros((0, 2)), [0.5, 0.5]).shape == (0,)


def test_a_normal_margin_is_asked_about_as_many_heads_of_that_spread_are():
    rng = np.random.default_rng(0)
    means, variances = np.array([0.0, 1.0, -2.0]), np.array([4.0, 0.25, 1.0])
    heads = means[:, None] + np.sqrt(variances)[:, None] * rng.normal(size=(3, 200_000))
    weights = np.full(200_000, 1 / 200_000)
    for kind in ("bald", "entropy", "variance"):
        expected = scores(kind, heads, weights)
        assert normal_scores(kind, means, variances) == pytest.approx(expected, rel=0.02, abs=0.004)
    assert normal_scores("bald", means, np.zeros(3)) == pytest.approx(np.zeros(3), abs=1e-12)
    assert normal_scores("entropy", -means, variances) == pytest.approx(
        normal_scores("entropy", means, variances)
    )
    assert len(set(normal_scores("random", means, variances, 1))) == 3
