"""Calibration metrics: worked values, properties, agreement with other libraries where these are right."""

import math

import numpy as np
import pytest
import torch
from graded import confidences, graded_answers
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from lmtools.metrics.calibration import CLIP, accuracy, bins, brier, ece, mce, nll, rms_ce

METRICS = [accuracy, brier, nll, ece, rms_ce, mce, lambda c, y: ece(c, y, mass=True)]
each_metric = pytest.mark.parametrize("metric", METRICS)

# Two bins by hand: (0, .5] holds .2 wrong, .4 right: gap |.6 - 1| = .4; (.5, 1] holds .6, .8, 1 of which one
# is right: gap |2.4 - 1| = 1.4.
SAID, RIGHT = [0.2, 0.4, 0.6, 0.8, 1.0], [0, 1, 0, 1, 0]


def test_by_hand():
    assert accuracy(SAID, RIGHT) == pytest.approx(2 / 5)
    assert ece(SAID, RIGHT, bins=2) == pytest.approx((0.4 + 1.4) / 5)
    assert mce(SAID, RIGHT, bins=2) == pytest.approx(1.4 / 3)
    rms = math.sqrt(2 / 5 * (0.4 / 2) ** 2 + 3 / 5 * (1.4 / 3) ** 2)
    assert rms_ce(SAID, RIGHT, bins=2, mass=False) == pytest.approx(rms)
    assert brier(SAID, RIGHT) == pytest.approx((0.04 + 0.36 + 0.36 + 0.04 + 1.0) / 5)
    bets = [0.8, 0.4, 0.4, 0.8]  # the probability given to what happened; the last answer is clipped
    assert nll(SAID, RIGHT) == pytest.approx(-(sum(map(math.log, bets)) + math.log(CLIP)) / 5)


def test_equal_mass_by_hand():
    # Four answers, two bins: gaps |.9 - 0| and |1.4 - 2|.
    assert ece([0.3, 0.6, 0.7, 0.7], [0, 0, 1, 1], bins=2, mass=True) == pytest.approx(1.5 / 4)
    # Three answers, two bins of 1.5: the middle one is half in each. Gaps |.2 + .3 - .5|, |.3 + .9 - 1.5|.
    assert ece([0.2, 0.6, 0.9], [0, 1, 1], bins=2, mass=True) == pytest.approx(0.3 / 3)
    # One confidence for all: every bin holds the same share of right answers, whatever the order.
    assert ece([0.5] * 4, [1, 0, 0, 0], bins=2, mass=True) == pytest.approx(0.25)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 15, 49])
def test_a_confidence_on_an_edge_counts_once_and_in_the_bin_below(count):
    edges = [k / count for k in range(count + 1)]
    found = bins(edges, [1] * len(edges), bins=count)
    assert found.counts.tolist() == [2.0] + [1.0] * (count - 1)  # the first bin holds 0 and 1/B
    assert found.edges.tolist() == edges


def test_zero_and_one_count():
    assert ece([0.0, 1.0], [1, 0]) == mce([0.0, 1.0], [1, 0]) == rms_ce([0.0, 1.0], [1, 0], bins=2) == 1.0
    assert ece([0.0, 1.0], [0, 1]) == brier([0.0, 1.0], [0, 1]) == 0.0
    assert nll([1.0], [0]) == nll([0.0], [1]) == pytest.approx(16.118096)
    assert nll([1.0, 0.0], [1, 0]) == 0.0


def test_rms_ce_is_the_published_sum_with_the_last_bin():
    rng = np.random.default_rng(0)
    said = rng.random(400)
    right = rng.random(400) < said**2
    order = np.argsort(said)
    gaps = [said[part].mean() - right[part].mean() for part in np.split(order, 4)]
    assert rms_ce(said, right) == pytest.approx(math.sqrt(np.mean(np.square(gaps))))
    assert rms_ce(said[:199], right[:199]) == pytest.approx(abs(said[:199].mean() - right[:199].mean()))


def test_reliability_bins():
    found = bins(SAID, RIGHT, bins=4)
    assert found.counts.tolist() == [1, 1, 1, 2]
    assert found.confidence == pytest.approx([0.2, 0.4, 0.6, 0.9])
    assert found.accuracy == pytest.approx([0, 1, 0, 0.5])
    assert np.isnan(bins([0.9], [1], bins=2).accuracy[0])
    mass = bins([0.2, 0.6, 0.9], [0, 1, 1], bins=2, mass=True)
    assert mass.counts.tolist() == [1.5, 1.5]
    assert mass.edges.tolist() == [0.2, 0.6, 0.9]
    assert mass.accuracy == pytest.approx([1 / 3, 1])


@given(graded_answers(), st.integers(1, 20), st.booleans())
def test_ece_is_the_error_of_the_bins(graded, count, mass):
    found = bins(*graded, bins=count, mass=mass)
    assert found.counts.sum() == pytest.approx(len(graded[0]))
    gaps = np.nan_to_num(np.abs(found.confidence - found.accuracy))
    assert ece(*graded, bins=count, mass=mass) == pytest.approx((found.counts * gaps).sum() / len(graded[0]))
    assert mce(*graded, bins=count, mass=mass) == pytest.approx(gaps.max(), abs=1e-9)


@given(graded_answers(), st.integers(1, 20), st.booleans())
def test_errors_are_ordered_and_bounded(graded, count, mass):
    said, right = map(np.array, graded)
    l1, l2, most = (metric(said, right, bins=count, mass=mass) for metric in (ece, rms_ce, mce))
    slack = 1e-9
    assert abs(said.mean() - right.mean()) - slack <= l1 <= l2 + slack
    assert l2 <= most + slack <= 1 + 2 * slack
    assert l1 <= np.abs(said - right).mean() + slack


@each_metric
@given(graded=graded_answers(), seed=st.integers(0, 9))
def test_the_order_of_rows_does_not_matter(metric, graded, seed):
    said, right = map(np.array, graded)
    shuffled = np.random.default_rng(seed).permutation(len(said))
    assert metric(said[shuffled], right[shuffled]) == pytest.approx(metric(said, right), abs=1e-9)


@given(confidences, st.booleans())
def test_one_answer(said, right):
    error = abs(said - right)
    for metric in (ece, rms_ce, mce):
        assert metric([said], [right]) == pytest.approx(error, abs=1e-12)
    assert brier([said], [right]) == pytest.approx(error**2, abs=1e-12)
    assert accuracy([said], [right]) == right
    assert 0 <= nll([said], [right]) <= -math.log(CLIP)


@pytest.mark.parametrize("right", [0, 1])
def test_all_right_or_all_wrong(right):
    said = np.linspace(0, 1, 31)
    assert accuracy(said, [right] * 31) == right
    assert ece(said, [right] * 31) == pytest.approx(0.5)


@given(graded_answers())
def test_scikit_learn_agrees(graded):
    said, right = graded
    assert brier(said, right) == pytest.approx(brier_score_loss(right, said, pos_label=1))
    clipped = np.clip(said, CLIP, 1 - CLIP)  # theirs would be clipped at 2e-16
    both = np.stack([1 - clipped, clipped], axis=1)
    assert nll(said, right) == pytest.approx(log_loss(right, both, labels=[0, 1]), abs=2e-7)


@pytest.mark.parametrize(("strategy", "mass"), [("uniform", False), ("quantile", True)])
def test_the_calibration_curve_of_scikit_learn_agrees(strategy, mass):
    rng = np.random.default_rng(1)
    said = rng.random(60)
    right = rng.random(60) < said
    share, mean = calibration_curve(right, said, n_bins=15, strategy=strategy)
    found = bins(said, right, mass=mass)
    assert found.accuracy[found.counts > 0] == pytest.approx(share)
    assert found.confidence[found.counts > 0] == pytest.approx(mean)


def of_torchmetrics(said, right, norm="l1"):
    # Imported here: it does not load beside the stub of torchvision in the environment of the vLLM tests.
    from torchmetrics.functional.classification import binary_calibration_error

    return float(
        binary_calibration_error(torch.tensor(said), torch.tensor(right).int(), n_bins=15, norm=norm)
    )


@pytest.mark.parametrize(("norm", "metric"), [("l1", ece), ("l2", rms_ce), ("max", mce)])
def test_torchmetrics_agrees_where_no_confidence_is_on_an_edge(norm, metric):
    rng = np.random.default_rng(2)
    said = rng.random(300)
    right = rng.random(300) < said**2
    theirs = of_torchmetrics(said, right, norm)
    assert metric(said, right, bins=15, mass=False) == pytest.approx(theirs, abs=1e-9)


def test_torchmetrics_puts_confidence_one_into_a_bin_of_its_own():
    # In the last bin of 15 are .95 (right) and 1 (wrong): its gap is |1.95 - 1| / 2.
    said, right = [0.95, 1.0], [1, 0]
    assert ece(said, right) == pytest.approx(0.475)
    assert of_torchmetrics(said, right) == pytest.approx((0.05 + 1.0) / 2)  # two bins


NETCAL_SAID = [0.05, 0.12, 0.28, 0.31, 0.45, 0.52, 0.66, 0.71, 0.83, 0.88, 0.93, 0.97]
NETCAL_RIGHT = [0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1]


def test_values_of_netcal():
    """Computed with netcal 1.4.0; it agrees wherever no confidence is on an edge and mass bins come out even.

    Its bins are closed on the left: a confidence on an edge is in the bin above, and 1 is in the last one.
    """
    assert ece(NETCAL_SAID, NETCAL_RIGHT, bins=5) == pytest.approx(0.1325)
    assert ece(NETCAL_SAID, NETCAL_RIGHT, bins=15) == pytest.approx(0.2891666666666666)
    assert mce(NETCAL_SAID, NETCAL_RIGHT, bins=5) == pytest.approx(0.20499999999999996)
    assert mce(NETCAL_SAID, NETCAL_RIGHT, bins=15) == pytest.approx(0.66)
    for count, value in ((3, 0.09916666666666668), (4, 0.1508333333333334), (6, 0.14916666666666664)):
        assert ece(NETCAL_SAID, NETCAL_RIGHT, bins=count, mass=True) == pytest.approx(value)
    assert ece([1.0, 0.9], [1, 0], bins=5) == pytest.approx(0.45)
    # netcal: .667, with .8 and 1 in one bin; here 0 and .2 are in one.
    assert ece([0.2, 0.4, 0.6, 0.8, 1.0, 0.0], [0, 1, 1, 0, 0, 1], bins=5) == pytest.approx(3.6 / 6)


@each_metric
@pytest.mark.parametrize(
    ("said", "right", "words"),
    [
        ([], [], "at least one answer"),
        ([0.5, float("nan")], [1, 0], r"row 1 is nan"),
        ([1.5], [1], r"\[0, 1\]: row 0 is 1.5"),
        ([-0.1], [1], "row 0 is -0.1"),
        ([float("inf")], [1], "row 0 is inf"),
        ([0.5, 0.5], [1], r"one length, not of shapes \(2,\) and \(1,\)"),
        ([[0.5]], [[1]], "two lists"),
        ([0.5, 0.5], [1, 0.5], "correct must be 0 or 1: row 1 is 0.5"),
        ([0.5], [float("nan")], "correct must be 0 or 1"),
    ],
)
def test_refusals(metric, said, right, words):
    with pytest.raises(ValueError, match=words):
        metric(said, right)


def test_bins_must_be_at_least_one():
    for metric in (ece, rms_ce, mce, bins):
        with pytest.raises(ValueError, match="bins must be at least 1, not 0"):
            metric([0.5], [1], bins=0)
