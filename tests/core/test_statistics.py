"""Intervals: worked values, properties, and what they must not claim. Their coverage: ``test_coverage``."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, t

from lmtools.core import intervals
from lmtools.core.intervals import (
    RATE,
    cluster_size,
    exact_share,
    mean_interval,
    paired_difference,
    percentile_interval,
    rate_bounds,
    resample_weights,
)
from lmtools.core.results import Interval

rates = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(7, 7, 0.590, 1), (0, 10, 0, 0.308), (5, 10, 0.187, 0.813), (1, 1, 0.025, 1), (495, 500, 0.977, 0.997)],
)
def test_shares_have_the_published_exact_interval(right, n, low, high):
    found = mean_interval([1.0] * right + [0.0] * (n - right), bounds=RATE)
    assert found == exact_share(right, n)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-4), pytest.approx(high, abs=5e-4))
    assert (found.value, found.n, found.clusters, found.method) == (right / n, n, n, "clopper-pearson")


def test_pairs_of_equal_answers_are_half_as_many():
    """Clusters of equal answers have the exact interval of as many single ones."""
    twice = np.repeat([1.0] * 14 + [0.0] * 6, 2)
    found = mean_interval(twice, np.repeat(np.arange(20), 2).tolist(), 20_000, bounds=RATE)
    exact = exact_share(14, 20)
    assert (found.low, found.high) == (
        pytest.approx(exact.low, abs=0.01), pytest.approx(exact.high, abs=0.01),
    )  # fmt: skip
    assert (found.n, found.clusters) == (40, 20)
    assert found.method == "bootstrap-gaffke, clustered by question"


@pytest.mark.parametrize("n", [1, 3, 5, 10])
def test_equal_differences_are_no_certainty(n):
    """The upper end by hand: one more difference may be 1, with a weight of Beta(1, n)."""
    found = paired_difference([0.25] * n, [0.75] * n, resamples=20_000, bounds=RATE)
    weight = beta.ppf(0.975, 1, n)
    assert found.value == -0.5
    assert found.high == pytest.approx(-0.5 + 1.5 * weight, abs=0.03)
    assert found.low == pytest.approx(-0.5 - 0.5 * weight, abs=0.03)
    assert (found.high < 0) == (n >= 10)


@pytest.mark.parametrize("n", [5, 6])
def test_six_wins_of_six_are_the_least_that_tell(n):
    assert (paired_difference([1.0] * n, [0.0] * n, resamples=20_000, bounds=RATE).low > 0) == (n >= 6)


@given(rates, st.integers(0, 5))
@settings(max_examples=40)
def test_within_bounds_the_interval_holds_the_value_and_has_width(values, seed):
    found = mean_interval(values, resamples=100, seed=seed, bounds=RATE)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.01
    assert found == mean_interval(values, resamples=100, seed=seed, bounds=RATE)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 4)), min_size=1, max_size=20))
@settings(max_examples=40)
def test_the_mean_weighs_every_value_alike(pairs):
    values, clusters = [value for value, _ in pairs], [cluster for _, cluster in pairs]
    for bounds in (None, (-9.0, 9.0)):
        found = mean_interval(values, clusters, resamples=20, bounds=bounds)
        assert found.value == pytest.approx(np.mean(values))
        assert found.low <= found.value <= found.high
        assert (found.n, found.clusters) == (len(pairs), len(set(clusters)))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.integers(-9, 9))
@settings(max_examples=40)
def test_intervals_move_and_grow_with_the_values(eighths, shift):
    """In numbers that are added and halved without rounding."""
    values, scale = np.array(eighths) / 8, 4
    moved = values * scale + shift
    for bounds in (None, RATE):
        first = mean_interval(values, resamples=50, bounds=bounds)
        ends = None if bounds is None else (shift, shift + scale)
        second = mean_interval(moved, resamples=50, bounds=ends)
        assert second.low == pytest.approx(first.low * scale + shift, abs=1e-6)
        assert second.high == pytest.approx(first.high * scale + shift, abs=1e-6)


def test_many_values_have_the_normal_interval():
    values = np.random.default_rng(0).random(3000)
    half = 1.96 * values.std() / np.sqrt(3000)
    for bounds in (None, RATE):
        found = mean_interval(values, resamples=4000, bounds=bounds)
        assert found.low == pytest.approx(values.mean() - half, abs=half / 10)
        assert found.high == pytest.approx(values.mean() + half, abs=half / 10)


@pytest.mark.parametrize("bounds", [None, RATE])
def test_clusters_widen_the_interval_and_n_counts_values(bounds):
    values = [0.0] * 50 + [1.0] * 50
    ten_alike = [index // 10 for index in range(100)]
    alone = mean_interval(values, bounds=bounds)
    clustered = mean_interval(values, ten_alike, bounds=bounds, by="text")
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)
    assert (clustered.n, clustered.clusters) == (alone.n, 10) == (100, 10)
    assert clustered.method.endswith(", clustered by text")


def test_without_bounds_it_is_students_and_wider_where_values_are_skewed():
    even = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    half = t.ppf(0.975, 4) * np.sqrt(2.5 / 5)
    assert (even.low, even.high, even.method) == (
        pytest.approx(3 - half), pytest.approx(3 + half), "student-hall",
    )  # fmt: skip
    skewed = mean_interval([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0, 9.0])
    assert skewed.high - skewed.value > 1.3 * (skewed.value - skewed.low)


def test_a_single_value_without_bounds_has_no_interval():
    assert mean_interval([0.5]) == Interval(0.5, 0.5, 0.5, 1, "none", 1)
    assert mean_interval([1.0, 2.0], ["a", "a"]) == Interval(1.5, 1.5, 1.5, 2, "none", 1)


def test_paired_difference_is_a_minus_b_and_narrower_than_unpaired():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=200)
    before, after = difficulty, difficulty + 0.1 + 0.01 * rng.normal(size=200)
    gain = paired_difference(after, before)
    assert gain.low < 0.1 < gain.high
    assert gain.high - gain.low < 0.01
    back = paired_difference(before, after)
    assert (back.value, back.low, back.high) == pytest.approx((-gain.value, -gain.high, -gain.low))


@given(rates)
@settings(max_examples=20)
def test_equal_values_differ_by_nothing_as_far_as_can_be_told(values):
    found = paired_difference(values, values, resamples=200, bounds=RATE)
    assert found.value == 0
    assert found.low < 0 < found.high


def test_percentiles_move_out_for_few_clusters():
    resampled = np.random.default_rng(0).normal(size=100_000)
    few, many = (percentile_interval(0.0, resampled, n, n) for n in (5, 5000))
    assert many.high == pytest.approx(1.96, abs=0.03)
    assert few.high == pytest.approx(t.ppf(0.975, 4) * np.sqrt(6 / 4), abs=0.1)


def test_weights_are_those_of_whole_clusters():
    ((weights, prior),) = resample_weights(6, ["a", "b", "a", "a", "b", "c"], resamples=5000)
    assert weights.shape == (5000, 6)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] != weights[:, 1]).all()
    assert weights.mean(axis=0) == pytest.approx(np.ones(6), abs=0.05)
    assert prior.mean() == pytest.approx(cluster_size(np.array([3.0, 2.0, 1.0])), abs=0.1)


def test_blocks_change_nothing(monkeypatch):
    values = np.random.default_rng(0).random(10)
    whole = mean_interval(values, resamples=7, bounds=RATE)
    ((weights, prior),) = resample_weights(10, None, 7)
    monkeypatch.setattr(intervals, "WEIGHTS", 25)
    assert mean_interval(values, resamples=7, bounds=RATE) == whole
    blocks = list(resample_weights(10, None, 7))
    assert [len(block) for block, _ in blocks] == [2, 2, 2, 1]
    assert (np.concatenate([block for block, _ in blocks]) == weights).all()
    assert (np.concatenate([block for _, block in blocks]) == prior).all()


def test_rates_are_told_by_their_values():
    assert rate_bounds([0.0, 1.0], [0.5]) == RATE
    assert rate_bounds([0.0, 1.0], [1.5]) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mean_interval([]), "at least one value"),
        (lambda: mean_interval([1.0, float("nan")]), "finite"),
        (lambda: mean_interval([[1.0]]), "one axis"),
        (lambda: mean_interval([1.5], bounds=RATE), r"between 0\.0 and 1\.0"),
        (lambda: mean_interval([1.0, 2.0], ["a"]), "2 values need 2 cluster names, not 1"),
        (lambda: mean_interval([0.5], resamples=0, bounds=RATE), "resamples"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "one length, not 1 and 2"),
        (lambda: next(resample_weights(0)), "at least one value"),
        (lambda: next(resample_weights(2, resamples=0)), "resamples"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
