"""Intervals of an accuracy that is a mean over draws of examples and over test pairs: both are resampled.

For every target the draws and the pairs are drawn with replacement, independently of each other (the
pigeonhole bootstrap, Owen 2007), so that an interval holds both the luck of the five examples and that of the
test set. The mean over targets averages the targets' resamples. With the same seed two methods are resampled
alike, so that the difference of their resamples is paired.
"""

from collections.abc import Sequence

import numpy as np

from lmtools.core.seeds import derive
from lmtools.core.statistics import Interval, percentile_interval, resample_weights
from lmtools.hyre.reweighting import Floats


class Resampler:
    """Resamples of one target: ``draws`` rows and ``pairs`` columns."""

    def __init__(self, draws: int, pairs: int, resamples: int, seed: int, name: str) -> None:
        weights = (
            np.concatenate(list(resample_weights(count, None, resamples, derive(seed, axis, name) % 2**32)))
            for axis, count in (("draws", draws), ("pairs", pairs))
        )
        self._rows, self._columns = weights

    def accuracies(self, correct: Floats) -> Floats:
        """The accuracy of each resample, (resamples,), of ``correct`` (draws, n) with NaN where not tested.

        A resample without a single tested pair has the plain accuracy.
        """
        tested = np.isfinite(correct)
        right = self._rows[:, : len(correct)] @ np.where(tested, correct, 0.0)
        number = self._rows[:, : len(correct)] @ tested.astype(np.float64)
        right, number = (np.einsum("rn,rn->r", part, self._columns) for part in (right, number))
        return np.where(number > 0, right / np.maximum(number, 1e-12), accuracy_of(correct))


def accuracy_of(correct: Floats) -> float:
    """The share of right orders, over all draws and tested pairs."""
    return float(np.nanmean(correct))


def over_targets(values: Sequence[float], resampled: Sequence[Floats], n: int) -> Interval:
    """The mean over targets with its interval, from each target's value and resamples; ``n`` test pairs."""
    return percentile_interval(float(np.mean(values)), np.mean(np.stack(list(resampled)), axis=0), n)
