"""Intervals of calibration metrics: weights against repeated rows, the slow bootstrap, and odd data."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from graded import graded_answers
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.core import results
from lmtools.core.results import Interval, bootstrap, bootstrap_mean, paired_difference, resample_weights
from lmtools.metrics.calibration import answers, brier, ece, rms_ce
from lmtools.metrics.calibration_intervals import (
    METRICS,
    clustered_ece,
    clustered_ece_difference,
    differences,
    measure,
)

RNG = np.random.default_rng(7)
SAID = RNG.beta(2, 1, 240)
RIGHT = RNG.random(240) < SAID**2
TEMPERED = SAID**2
QUESTIONS = [f"q{index // 3}" for index in range(240)]


@given(graded_answers(max_size=25), st.data())
def test_a_weight_is_so_many_copies_of_a_row(graded, data):
    said, right = map(np.array, graded)
    rows = st.lists(st.integers(0, 3), min_size=len(said), max_size=len(said)).filter(any)
    weights = np.array(data.draw(st.lists(rows, min_size=1, max_size=4)), dtype=float)
    tally = answers(said, right).tally(weights)
    for place, times in enumerate(weights):
        repeated = answers(said.repeat(times.astype(int)), right.repeat(times.astype(int))).tally()
        for name, each in METRICS.items():
            expected = each(repeated)[0]
            assert each(tally)[place] == pytest.approx(expected, abs=1e-9, nan_ok=True), name


@given(graded_answers(), st.integers(2, 5))
def test_the_metrics_do_not_depend_on_the_scale_of_weights(graded, scale):
    graded = answers(*graded)
    one, many = graded.tally(), graded.tally(np.full((1, len(graded.order)), float(scale)))
    for name, each in METRICS.items():
        assert each(many)[0] == pytest.approx(each(one)[0], abs=1e-9, nan_ok=True), name


@pytest.mark.parametrize("clusters", [None, QUESTIONS])
def test_means_have_the_intervals_of_the_plain_bootstrap(clusters):
    found = measure(SAID, RIGHT, clusters, resamples=300, seed=5)
    assert list(found) == list(METRICS)
    assert astuple(found["accuracy"]) == pytest.approx(
        astuple(bootstrap_mean(RIGHT, clusters, resamples=300, seed=5))
    )
    slow = bootstrap(brier, [SAID, RIGHT], clusters, resamples=300, seed=5)
    assert astuple(found["brier"]) == pytest.approx(astuple(slow))


@pytest.mark.parametrize(("name", "metric"), [("ece", ece), ("rms-ce", rms_ce)])
def test_binned_errors_have_the_plain_interval_moved_to_their_value(name, metric):
    fast = measure(SAID, RIGHT, QUESTIONS, resamples=300)[name]
    slow = bootstrap(metric, [SAID, RIGHT], QUESTIONS, resamples=300)
    assert fast.value == pytest.approx(slow.value)
    assert fast.high - fast.low == pytest.approx(slow.high - slow.low)


def test_the_interval_of_a_small_error_holds_the_error():
    """The plain percentile interval lies above it for about a quarter of perfectly calibrated samples."""
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(30):
        said = rng.beta(2, 1, 300)
        right = rng.random(300) < said
        found = measure(said, right, resamples=200)
        for name in ("ece", "ece-mass", "rms-ce", "mce"):
            assert 0 <= found[name].low <= found[name].value <= found[name].high
        outside += bootstrap(ece, [said, right], resamples=100).low > ece(said, right)
    assert outside > 0


def test_blocks_do_not_change_anything(monkeypatch):
    whole = measure(SAID, RIGHT, QUESTIONS, resamples=50)
    monkeypatch.setattr(results, "WEIGHTS", 7 * 240)
    for name, interval in measure(SAID, RIGHT, QUESTIONS, resamples=50).items():
        assert astuple(interval) == pytest.approx(astuple(whole[name])), name


def test_weights_are_whole_clusters():
    (weights,) = resample_weights(240, QUESTIONS, resamples=20)
    assert weights.shape == (20, 240)
    assert (weights.reshape(20, 80, 3) == weights[:, ::3, None]).all()
    assert (weights.sum(axis=1) == 240).all()


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("n", [1, 5])
def test_all_right_or_all_wrong_leave_auroc_out(right, n):
    found = measure([0.7] * n, [right] * n, resamples=20)
    assert set(found) == set(METRICS) - {"auroc"}
    assert found["ece"].value == pytest.approx(abs(0.7 - right))
    assert "auroc" not in differences([0.7] * n, [right] * n, [0.6] * n, [1] * n, resamples=20)


def test_a_resample_without_auroc_does_not_count():
    # Two answers: half of the resamples hold one of them twice; in all others the right one wins.
    assert measure([0.9, 0.1], [1, 0])["auroc"] == Interval(1.0, 1.0, 1.0, 2)


@given(graded_answers(max_size=12))
@settings(max_examples=30)
def test_figures_are_finite_and_rates_in_range(graded):
    found = measure(*graded, resamples=20)
    json.dumps({name: asdict(interval) for name, interval in found.items()}, allow_nan=False)
    for name, interval in found.items():
        assert interval.n == len(graded[0])
        if name != "nll":
            assert -1e-9 <= interval.low <= interval.high <= 1 + 1e-9, name


def test_differences_are_paired():
    found = differences(SAID, RIGHT, TEMPERED, RIGHT, QUESTIONS, resamples=300, seed=2)
    a, b = measure(SAID, RIGHT, QUESTIONS), measure(TEMPERED, RIGHT, QUESTIONS)
    for name in METRICS:
        assert found[name].value == pytest.approx(a[name].value - b[name].value)
    assert found["accuracy"] == Interval(0.0, 0.0, 0.0, 240)
    each = (SAID - RIGHT) ** 2, (TEMPERED - RIGHT) ** 2
    slow = paired_difference(*each, QUESTIONS, resamples=300, seed=2)
    assert astuple(found["brier"]) == pytest.approx(astuple(slow))
    assert found["ece"].low > 0  # the data is overconfident, its square is right


@given(graded_answers(max_size=25), st.data())
@settings(max_examples=40)
def test_the_clustered_error_is_the_same(graded, data):
    names = st.sampled_from(["b", "a", "c", "z"])
    clusters = data.draw(st.lists(names, min_size=len(graded[0]), max_size=len(graded[0])))
    found = clustered_ece(*graded, clusters, resamples=30, seed=3)
    assert astuple(found) == pytest.approx(astuple(measure(*graded, clusters, 30, 3)["ece"]), abs=1e-9)
    other = np.array(graded[0])[::-1], graded[1]  # of the same questions
    found = clustered_ece_difference(*graded, *other, clusters, resamples=30, seed=3)
    expected = differences(*graded, *other, clusters, 30, 3)["ece"]
    assert astuple(found) == pytest.approx(astuple(expected), abs=1e-9)


def test_no_difference_from_itself():
    for interval in differences(SAID, RIGHT, SAID, RIGHT, resamples=20).values():
        assert interval == Interval(0.0, 0.0, 0.0, 240)


def test_refusals():
    with pytest.raises(ValueError, match="240 values need 240 cluster names, not 2"):
        measure(SAID, RIGHT, ["a", "b"])
    with pytest.raises(ValueError, match="240 values need 240 cluster names, not 2"):
        clustered_ece(SAID, RIGHT, ["a", "b"])
    with pytest.raises(ValueError, match=r"row 0 is 1\.5"):
        clustered_ece([1.5], [1], ["a"])
    with pytest.raises(ValueError, match="one length, not 2 and 1"):
        differences([0.1, 0.2], [0, 1], [0.1], [0])
    with pytest.raises(ValueError, match="at least one answer"):
        measure([], [])
    with pytest.raises(ValueError, match="at least one value"):
        next(resample_weights(0))


def astuple(interval):
    return interval.value, interval.low, interval.high, interval.n
