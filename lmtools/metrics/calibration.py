"""How far confidences are from the share of right answers: pure functions on graded answers.

Everywhere ``confidence`` (n,) in [0, 1] is the probability that an answer is right and ``correct`` (n,)
whether it is, bool or 0 and 1; the order of rows never matters. No answers, lengths that differ, NaN, and
values out of range are a ValueError. How well confidences *rank* answers is ``lmtools.metrics.selection``;
intervals are ``lmtools.metrics.calibration_intervals``.

Two kinds of bins. *Equal width*: bin k of B is ((k-1)/B, k/B], as in Guo et al. 2017, and the first holds 0
as well, so that every confidence counts exactly once. *Equal mass*: every bin holds exactly n/B answers, in
order of confidence. An answer that an edge cuts counts in both bins in proportion, and answers of one
confidence are interchangeable: each counts as their average.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtools.metrics.tally import Floats, Metric, Tally, answers, lowest, summed

BINS = 15
CLIP = 1e-7
"""The least probability that NLL reckons with: about float32's step below 1."""
PER_BIN = 100


@Metric
def accuracy(tally: Tally) -> Floats:
    """The share of right answers."""
    return summed(tally.right) / tally.total


@Metric
def brier(tally: Tally) -> Floats:
    """Top-label Brier score: ``mean((confidence - correct)^2)`` (Brier 1950, one class against the rest).

    >>> brier([0.5, 1.0], [False, True])
    0.125
    """
    c = tally.confidence
    return (tally.mass @ c**2 + tally.right @ (1 - 2 * c)) / tally.total


@Metric
def nll(tally: Tally) -> Floats:
    """Mean negative log-likelihood in nats of whether the answer is right: ``-log c``, or ``-log(1 - c)``.

    Either probability counts as at least ``CLIP``: a wrong answer of confidence 1 costs 16.1 nats.
    """
    if_right = -np.log(np.maximum(tally.confidence, CLIP))
    if_wrong = -np.log(np.maximum(1 - tally.confidence, CLIP))
    return (tally.right @ if_right + (tally.mass - tally.right) @ if_wrong) / tally.total


@Metric
def ece(tally: Tally, bins: int = BINS, mass: bool = False) -> Floats:
    """Expected calibration error (Naeini et al. 2015): ``sum_b n_b/n |mean confidence_b - accuracy_b|``.

    ``mass`` takes equal-mass bins in place of equal-width ones.

    >>> ece([0.75, 0.75, 0.75, 0.75], [True, True, False, False])
    0.25
    """
    _, gap = _binned(tally, tally.gap, bins, mass)
    return summed(np.abs(gap)) / tally.total


@Metric
def rms_ce(tally: Tally, bins: int | None = None, mass: bool = True) -> Floats:
    """RMS calibration error (Hendrycks et al. 2019), ``sqrt(sum_b n_b/n (confidence_b - accuracy_b)^2)``.

    Confidence and accuracy are the means of bin b. Without ``bins`` each equal-mass bin holds ``PER_BIN``
    answers or a few more, as published; fewer than twice as many answers are a single bin. The published code
    leaves out the bin of the highest confidences; here every answer counts.
    """
    size, gap = _binned(tally, tally.gap, max(1, tally.n // PER_BIN) if bins is None else bins, mass)
    squares = np.divide(gap**2, size, out=np.zeros_like(gap), where=size > 0)
    return np.sqrt(summed(squares) / tally.total)


@Metric
def mce(tally: Tally, bins: int = BINS, mass: bool = False) -> Floats:
    """Maximum calibration error (Naeini et al. 2015): ``max_b |mean confidence_b - accuracy_b|``.

    Over the bins that hold an answer, however few: a bin of one answer counts as much as any other.
    """
    size, gap = _binned(tally, tally.gap, bins, mass)
    errors = np.divide(np.abs(gap), size, out=np.zeros_like(gap), where=size > 0)
    return np.asarray(errors.max(axis=1))


@dataclass(frozen=True)
class Reliability:
    """The bins of a reliability diagram.

    ``edges`` (B + 1,) in confidence; ``counts`` (B,), fractions in equal-mass bins; ``confidence`` and
    ``accuracy`` (B,), the means of each bin, NaN where it is empty.
    """

    edges: Floats
    counts: Floats
    confidence: Floats
    accuracy: Floats


def bins(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, mass: bool = False) -> Reliability:
    """The bins that ``ece`` with the same settings is the error of."""
    tally = answers(confidence, correct).tally()
    size, right = _binned(tally, tally.right, bins, mass)
    _, said = _binned(tally, tally.mass * tally.confidence, bins, mass)
    edges = np.arange(bins + 1) / bins
    if mass:
        # The confidence of the answer at each edge: the first one whose count from below reaches it.
        reached = np.searchsorted(np.cumsum(tally.mass[0]), edges * tally.n)
        edges = tally.confidence[np.minimum(reached, len(tally.confidence) - 1)]
    means = [np.divide(x[0], size[0], out=np.full(bins, np.nan), where=size[0] > 0) for x in (said, right)]
    return Reliability(edges=edges, counts=size[0], confidence=means[0], accuracy=means[1])


def bin_of(confidence: Floats, bins: int = BINS) -> NDArray[np.intp]:
    """The equal-width bin of every confidence, numbered from 0; of the same shape."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def _binned(tally: Tally, values: Floats, bins: int, mass: bool) -> tuple[Floats, Floats]:
    """The number of answers and the sum of ``values`` (r, g) in every bin: two arrays (r, bins)."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if mass:
        edges = tally.total[:, None] * np.arange(bins + 1) / bins
        return np.diff(edges, axis=1), np.diff(lowest(tally, values, edges), axis=1)
    member = np.eye(bins)[bin_of(tally.confidence, bins)]
    return tally.mass @ member, values @ member
