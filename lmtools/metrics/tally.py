"""Graded answers, counted at each distinct confidence: all that a calibration metric may depend on.

Answers of the same confidence are one entry, so no metric can depend on the order of rows. The counts of many
resamples stand side by side, and every metric is computed for all of them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import update_wrapper
from typing import Concatenate, Generic, ParamSpec

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
P = ParamSpec("P")


@dataclass(frozen=True)
class Tally:
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
    """Checked answers, sorted by confidence: what ``tally`` makes a Tally of for any weights.

    ``order`` (n,) sorts the rows as given, ``correct`` (n,) is sorted, ``starts`` (g,) is where each distinct
    confidence begins.
    """

    confidence: Floats
    correct: Floats
    order: NDArray[np.intp]
    starts: NDArray[np.intp]

    def tally(self, weights: Floats | None = None) -> Tally:
        """The counts, each answer once or ``weights`` (r, n) times, rows as they were given."""
        ordered = np.ones((1, len(self.order))) if weights is None else weights[:, self.order]
        mass, right = ordered, ordered * self.correct
        if len(self.starts) < len(self.order):
            mass = np.add.reduceat(mass, self.starts, axis=1)
            right = np.add.reduceat(right, self.starts, axis=1)
        return Tally(self.confidence, mass, right, len(self.order))


def answers(confidence: ArrayLike, correct: ArrayLike) -> Answers:
    """Check and sort graded answers.

    Args:
        confidence: (n,), the probability that the answer is right, in [0, 1].
        correct: (n,), whether it is: bool, or 0 and 1.

    Raises:
        ValueError: no answers, lengths that differ, a confidence that is NaN or outside [0, 1], or a
            correctness other than 0 and 1.
    """
    said, truth = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if said.ndim != 1 or said.shape != truth.shape:
        shapes = f"{said.shape} and {truth.shape}"
        raise ValueError(f"confidence and correct must be two lists of one length, not of shapes {shapes}")
    if said.size == 0:
        raise ValueError("a calibration metric needs at least one answer")
    bad = np.flatnonzero(~((said >= 0) & (said <= 1)))
    if bad.size:
        raise ValueError(f"confidence must lie in [0, 1]: row {bad[0]} is {said[bad[0]]}")
    bad = np.flatnonzero((truth != 0) & (truth != 1))
    if bad.size:
        raise ValueError(f"correct must be 0 or 1: row {bad[0]} is {truth[bad[0]]}")
    order = np.argsort(said, kind="stable")
    levels, starts = np.unique(said[order], return_index=True)
    return Answers(levels, truth[order], order, starts)


class Metric(Generic[P]):
    """A metric written on tallies, called on answers: ``ece(confidence, correct, bins=10)`` is a float.

    ``ece.each(tally, bins=10)`` is the metric of every resample, (r,). A call raises what ``answers`` raises.
    """

    def __init__(self, each: Callable[Concatenate[Tally, P], Floats]) -> None:
        self.each = each
        update_wrapper(self, each)

    def __call__(self, confidence: ArrayLike, correct: ArrayLike, *args: P.args, **kwargs: P.kwargs) -> float:
        return float(self.each(answers(confidence, correct).tally(), *args, **kwargs)[0])


def summed(values: Floats) -> Floats:
    """Sums of ``values`` (r, g) over all confidences: (r,)."""
    return np.asarray(values.sum(axis=1))


def lowest(tally: Tally, values: Floats, points: Floats) -> Floats:
    """Sums of ``values`` (r, g) over the ``points`` (r, k) answers of lowest confidence: (r, k).

    A point may cut through answers of one confidence, or through one answer: these are shared in proportion.
    """
    none = np.zeros((len(values), 1))
    mass = np.concatenate([none, np.cumsum(tally.mass, axis=1)], axis=1)
    sums = np.concatenate([none, np.cumsum(values, axis=1)], axis=1)
    return np.stack([np.interp(*row) for row in zip(points, mass, sums, strict=True)])
