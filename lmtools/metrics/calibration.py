"""Calibration: how far confidences are from the share of right answers, and how well they rank the answers.

Pure functions on graded answers. First the counts that all of them are computed from, then the errors of
calibration with their bins, then AUROC and selective accuracy, which look at the order alone.

Everywhere ``confidence`` (n,) in [0, 1] is the probability that an answer is right and ``correct`` (n,)
whether it is, bool or 0 and 1; the order of rows never matters. No answers, lengths that differ, NaN, and
values out of range are a ValueError. Intervals: ``lmtools.metrics.calibration_intervals``.

Two kinds of bins. *Equal width*: bin k of B is ((k-1)/B, k/B], as in Guo et al. 2017, and the first holds 0
as well, so that every confidence counts exactly once. *Equal mass*: every bin holds exactly n/B answers, in
order of confidence. An answer that an edge cuts counts in both bins in proportion, and answers of one
confidence are interchangeable: each counts as their average.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import Concatenate, Generic, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtools.core.arrays import Floats

P = ParamSpec("P")
BINS = 15
CLIP = 1e-7
"""The least probability that NLL reckons with: about float32's step below 1."""
PER_BIN = 100
"""Answers in an equal-mass bin of ``rms_ce``, as published."""

# Graded answers, counted at each distinct confidence: all that a calibration metric may depend on.
#
# Answers of the same confidence are one entry, so no metric can depend on the order of rows. The counts of
# many resamples stand side by side, and every metric is computed for all of them at once.


@dataclass(frozen=True)
class GradedCounts:
    """Counts of answers for r resamples at g distinct confidences.

    ``confidence`` (g,) rises strictly and lies in [0, 1]. ``mass`` (r, g) is the number of answers with that
    confidence and ``right`` (r, g) how many of them are right, as weighted. ``n`` is the number of answers in
    the data that was resampled.
    """

    confidence: Floats
    mass: Floats
    right: Floats
    n: int

    @property
    def total(self) -> Floats:
        """The number of answers in each resample: (r,)."""
        return summed(self.mass)

    @property
    def gap(self) -> Floats:
        """Sum of confidence minus correctness at each confidence: (r, g), above 0 where overconfident."""
        return self.mass * self.confidence - self.right


@dataclass(frozen=True)
class Answers:
    """Checked answers, sorted by confidence: counted by ``tally`` under any weights.

    ``order`` (n,) sorts the rows as given, ``correct`` (n,) is sorted, ``starts`` (g,) is where each distinct
    confidence begins.
    """

    confidence: Floats
    correct: Floats
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    def tally(self, weights: Floats | None = None) -> GradedCounts:
        """The counts, each answer once or ``weights`` (r, n) times, rows as they were given."""
        ordered = np.ones((1, len(self.order))) if weights is None else weights[:, self.order]
        mass, right = ordered, ordered * self.correct
        if len(self.starts) < len(self.order):
            mass = np.add.reduceat(mass, self.starts, axis=1)
            right = np.add.reduceat(right, self.starts, axis=1)
        return GradedCounts(self.confidence, mass, right, len(self.order))


def answers(confidence: ArrayLike, correct: ArrayLike) -> Answers:
    """Check and sort graded answers.

    Args:
        confidence: (n,), the probability that the answer is right, in [0, 1].
        correct: (n,), whether it is: bool, or 0 and 1.

    Raises:
        ValueError: no answers, lengths that differ, a confidence that is NaN or outside [0, 1], or a
            correctness other than 0 and 1.
    """
    confidences, truth = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if confidences.ndim != 1 or confidences.shape != truth.shape:
        shapes = f"{confidences.shape} and {truth.shape}"
        raise ValueError(f"confidence and correct must be two lists of one length, not of shapes {shapes}")
    if confidences.size == 0:
        raise ValueError("a calibration metric needs at least one answer")
    bad = np.flatnonzero(~((confidences >= 0) & (confidences <= 1)))
    if bad.size:
        raise ValueError(f"confidence must lie in [0, 1]: row {bad[0]} is {confidences[bad[0]]}")
    bad = np.flatnonzero((truth != 0) & (truth != 1))
    if bad.size:
        raise ValueError(f"correct must be 0 or 1: row {bad[0]} is {truth[bad[0]]}")
    order = np.argsort(confidences, kind="stable")
    levels, starts = np.unique(confidences[order], return_index=True)
    return Answers(levels, truth[order], order, starts)


class Metric(Generic[P]):
    """A metric written on tallies, called on answers: ``ece(confidence, correct, bins=10)`` is a float.

    ``ece.each(tally, bins=10)`` is the metric of every resample, (r,). A call raises what ``answers`` raises.
    """

    def __init__(self, each: Callable[Concatenate[GradedCounts, P], Floats]) -> None:
        self.each = each
        update_wrapper(self, each)

    def __call__(self, confidence: ArrayLike, correct: ArrayLike, *args: P.args, **kwargs: P.kwargs) -> float:
        return float(self.each(answers(confidence, correct).tally(), *args, **kwargs)[0])


def summed(values: Floats) -> Floats:
    """Sums of ``values`` (r, g) over all confidences: (r,)."""
    return np.asarray(values.sum(axis=1))


def lowest(tally: GradedCounts, values: Floats, points: Floats) -> Floats:
    """Sums of ``values`` (r, g) over the ``points`` (r, k) answers of lowest confidence: (r, k).

    A point may cut through answers of one confidence, or through one answer: these are shared in proportion.
    """
    none = np.zeros((len(values), 1))
    mass = np.concatenate([none, np.cumsum(tally.mass, axis=1)], axis=1)
    sums = np.concatenate([none, np.cumsum(values, axis=1)], axis=1)
    return np.stack([np.interp(*row) for row in zip(points, mass, sums, strict=True)])


# The share of right answers and errors of calibration.


@Metric
def accuracy(tally: GradedCounts) -> Floats:
    """The share of right answers."""
    return summed(tally.right) / tally.total


@Metric
def brier(tally: GradedCounts) -> Floats:
    """Top-label Brier score: ``mean((confidence - correct)^2)`` (Brier 1950, one class against the rest).

    >>> brier([0.5, 1.0], [False, True])
    0.125
    """
    c = tally.confidence
    return (tally.mass @ c**2 + tally.right @ (1 - 2 * c)) / tally.total


@Metric
def nll(tally: GradedCounts) -> Floats:
    """Mean negative log-likelihood in nats of whether the answer is right: ``-log c``, or ``-log(1 - c)``.

    Either probability counts as at least ``CLIP``: a wrong answer of confidence 1 costs 16.1 nats.
    """
    if_right = -np.log(np.maximum(tally.confidence, CLIP))
    if_wrong = -np.log(np.maximum(1 - tally.confidence, CLIP))
    return (tally.right @ if_right + (tally.mass - tally.right) @ if_wrong) / tally.total


@Metric
def ece(tally: GradedCounts, bins: int = BINS, mass: bool = False) -> Floats:
    """Expected calibration error (Naeini et al. 2015): ``sum_b n_b/n |mean confidence_b - accuracy_b|``.

    ``mass`` takes equal-mass bins in place of equal-width ones.

    >>> ece([0.75, 0.75, 0.75, 0.75], [True, True, False, False])
    0.25
    """
    _, gap = _binned(tally, tally.gap, bins, mass)
    return summed(np.abs(gap)) / tally.total


@Metric
def rms_ce(tally: GradedCounts, bins: int | None = None, mass: bool = True) -> Floats:
    """RMS calibration error (Hendrycks et al. 2019), ``sqrt(sum_b n_b/n (confidence_b - accuracy_b)^2)``.

    Confidence and accuracy are the means of bin b. Without ``bins`` each equal-mass bin holds ``PER_BIN``
    answers or a few more, as published; fewer than twice as many answers are a single bin. The published code
    leaves out the bin of the highest confidences; here every answer counts.
    """
    size, gap = _binned(tally, tally.gap, max(1, tally.n // PER_BIN) if bins is None else bins, mass)
    squares = np.divide(gap**2, size, out=np.zeros_like(gap), where=size > 0)
    return np.sqrt(summed(squares) / tally.total)


@Metric
def mce(tally: GradedCounts, bins: int = BINS, mass: bool = False) -> Floats:
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
    _, sums = _binned(tally, tally.mass * tally.confidence, bins, mass)
    edges = np.arange(bins + 1) / bins
    if mass:
        # The confidence of the answer at each edge: the first one whose count from below reaches it.
        reached = np.searchsorted(np.cumsum(tally.mass[0]), edges * tally.n)
        edges = tally.confidence[np.minimum(reached, len(tally.confidence) - 1)]
    means = [np.divide(x[0], size[0], out=np.full(bins, np.nan), where=size[0] > 0) for x in (sums, right)]
    return Reliability(edges=edges, counts=size[0], confidence=means[0], accuracy=means[1])


def bin_of(confidence: Floats, bins: int = BINS) -> NDArray[np.intp]:
    """The equal-width bin of every confidence, numbered from 0; of the same shape."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def _binned(tally: GradedCounts, values: Floats, bins: int, mass: bool) -> tuple[Floats, Floats]:
    """The number of answers and the sum of ``values`` (r, g) in every bin: two arrays (r, bins)."""
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    if mass:
        edges = tally.total[:, None] * np.arange(bins + 1) / bins
        return np.diff(edges, axis=1), np.diff(lowest(tally, values, edges), axis=1)
    member = np.eye(bins)[bin_of(tally.confidence, bins)]
    return tally.mass @ member, values @ member


# How well confidences tell right answers from wrong ones, whatever their level.


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a right answer has a higher confidence than a wrong one, ties half.

    None where no answer is right or none is wrong, since there is no pair to compare.

    >>> auroc([0.9, 0.6, 0.3], [True, False, True])
    0.5
    """
    value = float(auroc_each(answers(confidence, correct).tally())[0])
    return None if np.isnan(value) else value


def auroc_each(tally: GradedCounts) -> Floats:
    """The AUROC of every resample, (r,), NaN where it is undefined."""
    wrong = tally.mass - tally.right
    below = np.cumsum(wrong, axis=1) - wrong / 2
    pairs = summed(tally.right) * summed(wrong)
    won = summed(tally.right * below)
    return np.asarray(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))


@Metric
def selective_accuracy(tally: GradedCounts, coverage: float) -> Floats:
    """Accuracy over the share ``coverage``, in (0, 1], of answers with the highest confidence.

    Where the cut falls among answers of one confidence this is the accuracy expected if those kept are drawn
    at random; where it falls within an answer, that answer counts by the part that is kept.

    Raises:
        ValueError: also where ``coverage`` is outside (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must lie in (0, 1], not {coverage}")
    left_out = tally.total[:, None] * (1 - coverage)
    kept = summed(tally.right) - lowest(tally, tally.right, left_out)[:, 0]
    return np.asarray(np.clip(kept / (tally.total * coverage), 0, 1))


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """The risk-coverage curve (El-Yaniv & Wiener 2010) of answering only above a confidence.

    Returns:
        ``coverage`` (g,), the share of answers at or above each distinct confidence, from the highest
        confidence down to all answers (1.0), and ``risk`` (g,), the share of wrong ones among these.
    """
    tally = answers(confidence, correct).tally()
    kept = np.cumsum(tally.mass[0, ::-1])
    wrong = np.cumsum((tally.mass - tally.right)[0, ::-1])
    return kept / kept[-1], wrong / kept
