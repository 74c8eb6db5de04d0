"""Intervals of calibration metrics: weights against repeated rows, the slow bootstrap, and odd data."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from graded import graded_answers
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.core import intervals
from lmtools.core.intervals import RATE, exact_share, mean_interval, paired_difference
from lmtools.metrics.calibration import answers
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
def test_means_have_the_intervals_of_means(clusters):
    found = measure(SAID, RIGHT, clusters, resamples=300, seed=5)
    assert list(found) == list(METRICS)
    means = {"accuracy": (RIGHT, RATE), "brier": ((SAID - RIGHT) ** 2, RATE)}
    means["nll"] = -np.log(np.where(RIGHT, SAID, 1 - SAID)), None
    for name, (values, bounds) in means.items():
        assert found[name] == mean_interval(values, clusters, 300, 5, bounds=bounds), name
        assert found[name].value == pytest.approx(METRICS[name](answers(SAID, RIGHT).tally())[0])


def test_every_interval_names_its_method():
    alone, clustered = measure(SAID, RIGHT, resamples=20), measure(SAID, RIGHT, QUESTIONS, resamples=20)
    assert alone["accuracy"].method == "clopper-pearson"
    assert alone["ece"].method == "bootstrap-gaffke, less the noise of bins"
    assert clustered["nll"].method == "student-hall, clustered by question"
    assert {i.clusters for i in clustered.values()} == {80}
    assert all(i.method.endswith(", clustered by question") for i in clustered.values())
    assert clustered_ece(SAID, RIGHT, QUESTIONS, by="text").method.endswith(", clustered by text")


def test_the_interval_of_a_binned_error_holds_it_and_what_calibrated_answers_have():
    """The error of a sample of a calibrated population lies far from 0; its interval reaches down there."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(40):
        said = rng.beta(2, 1, 300)
        right = rng.random(300) < said
        found = measure(said, right, resamples=200)
        for name in ("ece", "ece-mass", "rms-ce", "mce"):
            assert 0 <= found[name].low <= found[name].value <= found[name].high
        held += found["ece"].low < 0.01
    assert held >= 37


def test_blocks_do_not_change_anything(monkeypatch):
    whole = measure(SAID, RIGHT, QUESTIONS, resamples=50)
    monkeypatch.setattr(intervals, "WEIGHTS", 7 * 240)
    for name, interval in measure(SAID, RIGHT, QUESTIONS, resamples=50).items():
        assert astuple(interval) == pytest.approx(astuple(whole[name])), name


@pytest.mark.parametrize("right", [0, 1])
@pytest.mark.parametrize("n", [1, 5])
def test_all_right_or_all_wrong_leave_auroc_out(right, n):
    found = measure([0.7] * n, [right] * n, resamples=20)
    assert set(found) == set(METRICS) - {"auroc"}
    assert found["ece"].value == pytest.approx(abs(0.7 - right))
    assert "auroc" not in differences([0.7] * n, [right] * n, [0.6] * n, [1] * n, resamples=20)


@pytest.mark.parametrize("n", [1, 4, 40])
def test_a_perfect_order_of_few_answers_is_no_certainty(n):
    """It rests on the rarer kind of answers: as sure as so many answers that are all right."""
    found = measure([0.9] * 40 + [0.1] * n, [1] * 40 + [0] * n)["auroc"]
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(exact_share(n, n).low, abs=0.15)


@pytest.mark.parametrize("n", [1, 3])
def test_nothing_is_certain_of_few_answers(n):
    found = measure([0.7] * n, [1] * n)
    for name in set(found) - {"nll"}:
        assert found[name].high - found[name].low > 0.3, name
    found = differences([0.7] * n, [1] * n, [0.4] * n, [0] * n)
    for name in set(found) - {"nll"}:
        assert found[name].low < 0 < found[name].high, name


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
    assert found["accuracy"] == paired_difference(RIGHT, RIGHT, QUESTIONS, 300, 2, bounds=RATE)
    each = (SAID - RIGHT) ** 2, (TEMPERED - RIGHT) ** 2
    assert found["brier"] == paired_difference(*each, QUESTIONS, 300, 2, bounds=RATE)
    assert found["ece"].low > -0.01  # the data is overconfident, its square is right
    assert found["nll"].low > 0


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
    for name, interval in differences(SAID, RIGHT, SAID, RIGHT, resamples=200).items():
        assert -0.05 < interval.low <= interval.value == 0 <= interval.high < 0.05, name


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


def astuple(interval):
    return interval.value, interval.low, interval.high, interval.n
