"""The reweighting rule: by hand, and what must hold of it for any losses."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmtools.hyre.reweighting import blend, class_losses, pair_losses, reduced, reweight, squared_losses

LN2, LN3 = math.log(2), math.log(3)
LOSSES = arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 50))
MARGINS = arrays(np.float64, (4, 3), elements=st.floats(-30, 30))


def test_weights_by_hand():
    assert reweight([0, LN2, 2 * LN2]) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert reweight([0, LN2, 2 * LN2], prior=[1, 2, 4]) == pytest.approx([1 / 3] * 3)
    assert reweight([0, 2 * LN2], temperature=2) == pytest.approx([2 / 3, 1 / 3])
    # Five examples that one head has right and another wrong: odds of e^5.
    assert reweight([0, 5]) == pytest.approx([1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))])


@given(LOSSES, st.floats(0.1, 10))
def test_weights_are_a_distribution(losses, temperature):
    weights = reweight(losses, temperature=temperature)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1)
    assert (np.diff(weights[np.argsort(losses)]) <= 1e-12).all()  # more loss, no more weight


@given(LOSSES, st.randoms())
def test_the_order_of_heads_does_not_matter(losses, random):
    order = list(range(len(losses)))
    random.shuffle(order)
    assert reweight(losses[order]) == pytest.approx(reweight(losses)[order])


@given(LOSSES, st.floats(-1000, 1000))
def test_what_all_heads_lose_alike_does_not_matter(losses, shift):
    assert reweight(losses + shift) == pytest.approx(reweight(losses), abs=1e-9)


@given(LOSSES, st.floats(1e-3, 1e3))
def test_only_the_priors_proportions_matter(losses, scale):
    prior = np.arange(1.0, len(losses) + 1)
    assert reweight(losses, prior * scale) == pytest.approx(reweight(losses, prior))


@given(arrays(np.float64, (2, 5), elements=st.floats(0, 50)))
def test_examples_in_two_parts(losses):
    """The posterior of the first examples is the prior of the next: generalised Bayes."""
    first, second = losses
    step = reweight(first)
    assert reweight(second, step) == pytest.approx(reweight(first + second), rel=1e-6)


@given(LOSSES)
def test_a_high_temperature_leaves_the_prior(losses):
    prior = np.arange(1.0, len(losses) + 1)
    assert reweight(losses, prior, 1e12) == pytest.approx(prior / prior.sum())


def test_a_low_temperature_takes_the_best_head():
    assert reweight([3.0, 2.9, 4.0], temperature=1e-6).tolist() == [0, 1, 0]


@pytest.mark.parametrize("worst", [1e6, 1e300, math.inf])
def test_a_perfect_head_among_hopeless_ones(worst):
    assert reweight([0, worst, worst]).tolist() == [1, 0, 0]


def test_ten_thousand_examples():
    margins = np.random.default_rng(0).normal(size=(10_000, 5)) * 1e4
    weights = reweight(pair_losses(margins, "nll").sum(axis=0))
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1)


def test_heads_that_are_all_wrong_alike_keep_the_prior():
    losses = reduced(pair_losses(np.full((100, 3), -1e5), "nll"), "sum")
    assert reweight(losses, [1, 1, 2]) == pytest.approx([0.25, 0.25, 0.5])


def test_one_head_and_no_examples():
    assert reweight([123.0]).tolist() == [1.0]
    none = reduced(pair_losses(np.zeros((0, 3)), "nll"), "mean")
    assert none.tolist() == [0, 0, 0]
    assert reweight(none, [1, 1, 2]) == pytest.approx([0.25, 0.25, 0.5])


def test_a_head_without_prior_has_no_weight():
    assert reweight([0.0, 1.0, 1.0], [0, 1, 1]).tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("losses", "prior", "temperature"),
    [
        ([], None, 1),
        ([[1.0]], None, 1),
        ([math.nan, 0], None, 1),
        ([math.inf, math.inf], None, 1),
        ([0.0, 1.0], None, 0),
        ([0.0, 1.0], None, math.nan),
        ([0.0, 1.0], [1.0], 1),
        ([0.0, 1.0], [-1.0, 2.0], 1),
        ([0.0, 1.0], [math.inf, 2.0], 1),
        ([0.0, math.inf], [0.0, 1.0], 1),
    ],
)
def test_what_gives_no_weights(losses, prior, temperature):
    with pytest.raises(ValueError, match=r"head|temperature|prior"):
        reweight(losses, prior, temperature)


def test_pair_losses_by_hand():
    assert pair_losses([[0.0, LN3, -LN3]], "nll")[0] == pytest.approx([LN2, math.log(4 / 3), math.log(4)])
    assert pair_losses([[0.0, LN3, -LN3]], "zero_one").tolist() == [[0.5, 0, 1]]
    assert pair_losses([[1e6, -1e6]], "nll").tolist() == [[0, 1e6]]


@given(MARGINS)
def test_a_pair_and_its_reverse(margins):
    """Both orders are wrong once together, and their likelihoods sum to 1."""
    both = pair_losses(margins, "zero_one") + pair_losses(-margins, "zero_one")
    assert (both == 1).all()
    likelihood = np.exp(-pair_losses(margins, "nll")) + np.exp(-pair_losses(-margins, "nll"))
    assert likelihood == pytest.approx(np.ones_like(margins))


def test_class_losses_by_hand():
    logits = np.log([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]])  # one example, two heads
    assert class_losses(logits, [0], "nll")[0] == pytest.approx([LN2, 2 * LN2])
    assert class_losses(logits + 7, [0], "nll")[0] == pytest.approx([LN2, 2 * LN2])
    assert class_losses(logits, [0], "zero_one").tolist() == [[0, 1]]


@given(MARGINS)
def test_two_classes_are_a_pair(margins):
    logits = np.stack([margins, np.zeros_like(margins)], axis=2)
    found = class_losses(logits, np.zeros(len(margins)), "nll")
    assert found == pytest.approx(pair_losses(margins, "nll"), abs=1e-9)


def test_squared_losses_by_hand():
    assert squared_losses([[3.0, 1.0]], [1.0], 2.0).tolist() == [[1, 0]]
    with pytest.raises(ValueError, match="variance"):
        squared_losses([[3.0]], [1.0], 0.0)


@pytest.mark.parametrize("loss", ["nll", "zero_one"])
def test_an_output_that_is_not_a_number(loss):
    with pytest.raises(ValueError, match="not a number"):
        pair_losses([[math.nan]], loss)
    with pytest.raises(ValueError, match="not a number"):
        class_losses([[[math.nan, 0]]], [0], loss)


@given(MARGINS)
def test_the_sum_is_the_mean_of_each_example(margins):
    losses = pair_losses(margins, "nll")
    assert reduced(losses, "sum") == pytest.approx(len(losses) * reduced(losses, "mean"))
    assert reduced(losses, "sum")[0] == pytest.approx(sum(losses[i, 0] for i in range(len(losses))))


@given(MARGINS)
def test_blend_is_the_weighted_sum(outputs):
    weights = reweight([0.0, 1.0, 2.0])
    plain = [sum(w * row[k] for k, w in enumerate(weights)) for row in outputs]
    assert blend(weights, outputs) == pytest.approx(np.array(plain))
    logits = np.stack([outputs, 2 * outputs], axis=2)
    assert blend(weights, logits) == pytest.approx(np.stack([plain, 2 * np.array(plain)], axis=1))


def test_one_head_alone_is_heard_exactly():
    outputs = np.random.default_rng(0).normal(size=(6, 3))
    assert blend([0, 1, 0], outputs).tolist() == outputs[:, 1].tolist()
