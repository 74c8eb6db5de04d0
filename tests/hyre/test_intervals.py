"""Intervals over draws and test pairs: width, pairing and coverage."""

import numpy as np
import pytest

from lmtools.hyre.results import Resampler, accuracy_of, over_targets


def interval(correct, seed=0, resamples=400, name="target"):
    resampler = Resampler(*correct.shape, resamples, seed, name)
    return over_targets([accuracy_of(correct)], [resampler.accuracies(correct)], correct.shape[1])


@pytest.mark.parametrize(("value", "low", "high"), [(0, 0, 0.168), (0.5, 0.416, 0.584), (1, 0.832, 1)])
def test_equal_values_are_no_certainty(value, low, high):
    """One more pair may lie at a bound: of 21 pairs it weighs 16.8 % or less in 97.5 % of resamples."""
    found = interval(np.full((5, 20), float(value)), resamples=4000)
    assert (found.value, found.n, found.method) == (value, 20, "bootstrap-gaffke, over draws and pairs")
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_accuracy_counts_what_was_tested():
    correct = np.array([[1, np.nan, 0], [np.nan, 1, 1]])
    assert accuracy_of(correct) == pytest.approx(3 / 4)


def test_resamples_by_hand():
    """Of one draw and two pairs the share of the first one's weight is uniform."""
    resampler = Resampler(1, 2, 2000, 0, "target")
    found = resampler.accuracies(np.array([[1.0, 0.0]])).values
    assert np.quantile(found, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.05)


def test_pairs_that_no_draw_tested_do_not_matter():
    rng = np.random.default_rng(0)
    correct = (rng.random((6, 30)) < 0.7).astype(float)
    correct[:, 10:] = np.nan
    found = interval(correct)
    assert np.isfinite([found.low, found.high]).all()
    assert found.low <= accuracy_of(correct[:, :10]) <= found.high


def test_a_single_tested_pair_is_the_accuracy_of_every_resample():
    correct = np.full((1, 30), np.nan)
    correct[0, 3] = 1.0
    assert Resampler(1, 30, 300, 0, "target").accuracies(correct).values.tolist() == [1.0] * 300


def test_fewer_draws_use_the_same_pairs():
    """Methods that ask in turn have fewer draws; the resampler is that of the others."""
    correct = (np.random.default_rng(0).random((20, 50)) < 0.7).astype(float)
    found = Resampler(20, 50, 400, 0, "target").accuracies(correct[:5]).values
    assert found.shape == (400,)
    assert found.mean() == pytest.approx(accuracy_of(correct[:5]), abs=0.02)


def test_methods_are_resampled_alike():
    """A method that is right on one pair more is never worse on any resample."""
    rng = np.random.default_rng(0)
    worse = (rng.random((8, 40)) < 0.6).astype(float)
    better = worse.copy()
    better[:, 0] = 1.0
    resampler = Resampler(8, 40, 400, 0, "target")
    difference = (resampler.accuracies(better) - resampler.accuracies(worse)).values
    assert (difference >= -1e-12).all()
    assert difference.std() < 0.3 * resampler.accuracies(worse).values.std()


def test_resamples_follow_from_the_seed_and_the_target():
    correct = (np.random.default_rng(0).random((8, 40)) < 0.6).astype(float)
    first = interval(correct)
    assert first == interval(correct)
    assert first != interval(correct, seed=1)
    assert first != interval(correct, name="other")


def test_both_kinds_of_luck_are_in_the_interval():
    """Draws that differ, or pairs that differ: either makes the interval wide."""
    by_draw = np.repeat(np.array([[1.0], [0.0]] * 5), 400, axis=1)
    by_pair = by_draw.reshape(10, -1)[:, :1].T.repeat(400, axis=0)
    for correct in (by_draw, by_pair):
        found = interval(correct)
        assert found.high - found.low > 0.4


def test_the_mean_over_targets_is_narrower():
    rng = np.random.default_rng(0)
    targets = [(rng.random((10, 60)) < 0.7).astype(float) for _ in range(9)]
    resampled = [
        Resampler(10, 60, 400, 0, str(name)).accuracies(correct) for name, correct in enumerate(targets)
    ]
    values = [accuracy_of(correct) for correct in targets]
    one, all_of_them = over_targets(values[:1], resampled[:1], 60), over_targets(values, resampled, 540)
    assert all_of_them.value == pytest.approx(np.mean(values))
    assert all_of_them.high - all_of_them.low < 0.6 * (one.high - one.low)


def test_coverage():
    """Pairs that are harder than others, and luckier draws: 95 % intervals hold the truth about so often."""
    rng = np.random.default_rng(0)
    inside = 0
    for trial in range(150):
        chance = 0.6 + 0.08 * rng.normal(size=(12, 1)) + 0.1 * rng.normal(size=(1, 40))
        correct = (rng.random((12, 40)) < chance).astype(float)
        correct[rng.random((12, 40)) < 0.5] = np.nan
        found = interval(correct, seed=trial, resamples=200)
        inside += found.low <= 0.6 <= found.high
    assert inside / 150 > 0.9
