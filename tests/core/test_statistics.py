"""Bootstrap intervals: worked values, properties, and agreement of the fast and the general way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.core import results
from lmtools.core.results import Interval, bootstrap, bootstrap_mean, paired_difference

rates = st.lists(st.floats(0, 1, allow_subnormal=False), min_size=1, max_size=30)


def test_one_value_and_constants_have_no_width():
    assert bootstrap_mean([0.5]) == Interval(0.5, 0.5, 0.5, 1)
    assert bootstrap_mean([1.0, 1.0, 1.0]) == Interval(1.0, 1.0, 1.0, 3)


def test_two_values_by_hand():
    # A resample of {0, 1} has mean 0, 1/2 or 1 with probability 1/4, 1/2, 1/4: both ends are far over 2.5 %.
    assert bootstrap_mean([0.0, 1.0]) == Interval(0.5, 0.0, 1.0, 2)


def test_normal_approximation_holds_for_many_values():
    values = [0.0] * 300 + [1.0] * 700
    interval = bootstrap_mean(values, resamples=4000)
    half = 1.96 * np.sqrt(0.7 * 0.3 / 1000)
    assert interval.low == pytest.approx(0.7 - half, abs=0.004)
    assert interval.high == pytest.approx(0.7 + half, abs=0.004)


def test_clusters_widen_the_interval_and_n_counts_values():
    values = [0.0] * 50 + [1.0] * 50
    ten_alike = [index // 10 for index in range(100)]
    alone, clustered = bootstrap_mean(values), bootstrap_mean(values, ten_alike)
    assert clustered.high - clustered.low > 2 * (alone.high - alone.low)
    assert clustered.n == alone.n == 100


def test_unequal_clusters_weight_every_value_equally():
    # Cluster a holds 3 ones, b a single zero: a resample is {a,a}=1, {a,b}=3/4 or {b,b}=0.
    interval = bootstrap_mean([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert interval == Interval(0.75, 0.0, 1.0, 4)


@given(rates, st.integers(0, 5))
@settings(max_examples=40)
def test_interval_lies_within_the_values(values, seed):
    interval = bootstrap_mean(values, resamples=100, seed=seed)
    slack = 1e-12
    assert min(values) - slack <= interval.low <= interval.high <= max(values) + slack
    assert interval == bootstrap_mean(values, resamples=100, seed=seed)


@given(st.lists(st.tuples(st.floats(-9, 9), st.integers(0, 4)), min_size=1, max_size=20))
@settings(max_examples=30)
def test_the_general_bootstrap_agrees_with_the_mean(pairs):
    values = np.array([value for value, _ in pairs])
    clusters = [cluster for _, cluster in pairs]
    fast = bootstrap_mean(values, clusters, resamples=50, seed=3)
    slow = bootstrap(np.mean, [values], clusters, resamples=50, seed=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high), abs=1e-9)
    assert fast.n == slow.n == len(pairs)


def test_the_general_bootstrap_draws_the_same_rows_of_every_array():
    a = np.arange(20.0)
    interval = bootstrap(lambda x, y: float(np.abs(x - y).max()), [a, a.copy()], resamples=50)
    assert interval == Interval(0.0, 0.0, 0.0, 20)


def test_paired_difference_is_a_minus_b_and_narrower_than_unpaired():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=200)
    before, after = difficulty, difficulty + 0.1 + 0.01 * rng.normal(size=200)
    gain = paired_difference(after, before)
    assert gain.low < 0.1 < gain.high
    assert gain.high - gain.low < 0.01
    assert paired_difference(before, after).value == -gain.value


@given(rates)
@settings(max_examples=20)
def test_no_difference_from_itself(values):
    assert paired_difference(values, values, resamples=20) == Interval(0.0, 0.0, 0.0, len(values))


def test_blocks_do_not_lose_resamples(monkeypatch):
    monkeypatch.setattr(results, "BLOCK", 25)
    blocks = list(results._draws(10, 7, seed=0))
    assert [block.shape for block in blocks] == [(2, 10), (2, 10), (2, 10), (1, 10)]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap_mean([]), "at least one value"),
        (lambda: bootstrap_mean([1.0, float("nan")]), "finite"),
        (lambda: bootstrap_mean([[1.0]]), "one axis"),
        (lambda: bootstrap_mean([1.0, 2.0], ["a"]), "2 values need 2 cluster names, not 1"),
        (lambda: bootstrap_mean([1.0], resamples=0), "resamples"),
        (lambda: paired_difference([1.0], [1.0, 2.0]), "one length, not 1 and 2"),
        (lambda: bootstrap(np.mean, []), "at least one value"),
        (lambda: bootstrap(np.mean, [np.ones(2), np.ones(3)]), "one length"),
        (lambda: bootstrap(lambda a: float("nan"), [np.ones(2)], resamples=2), "not finite"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(ValueError, match=words):
        call()
