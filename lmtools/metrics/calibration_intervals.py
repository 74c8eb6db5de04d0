"""Every calibration metric with its 95 % interval, and differences between two methods, paired.

Whole clusters (questions) are weighted, alike for every metric and for both methods: ``core.intervals`` has
the methods. Means of answers have the intervals of means. AUROC and selective accuracy lie between 0 and 1
and rest on as much as they see: the rarer of right and wrong answers, the answers that are kept. Resamples
of binned errors are moved: the noise within bins makes the error of a resample larger on average than that of
the data (Kumar et al. 2019), so the mean excess is taken off before the upper end is read, and ``BIAS`` times
as much before the lower end: the error of the data is itself too large, most so where the truth is near 0.
The lower end is 0 where noise may be all: the error is not above 97.5 % of those that come out when each
question's deviations get a sign at random.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats
from lmtools.core.intervals import (
    BOUNDED,
    RATE,
    TAIL,
    Bounds,
    bounded_interval,
    cluster_index,
    cluster_size,
    difference_bounds,
    mean_interval,
    named,
    resample_weights,
)
from lmtools.core.results import Interval
from lmtools.metrics.calibration import (
    BINS,
    CLIP,
    Answers,
    GradedCounts,
    accuracy,
    answers,
    auroc_each,
    bin_of,
    brier,
    ece,
    mce,
    nll,
    rms_ce,
    selective_accuracy,
)

METRICS: Mapping[str, Callable[[GradedCounts], Floats]] = {
    "accuracy": accuracy.each,
    "ece": ece.each,
    "ece-mass": partial(ece.each, mass=True),
    "rms-ce": rms_ce.each,
    "mce": mce.each,
    "brier": brier.each,
    "nll": nll.each,
    "auroc": auroc_each,
    "selective@50": partial(selective_accuracy.each, coverage=0.5),
    "selective@80": partial(selective_accuracy.each, coverage=0.8),
}
"""Name in result files -> the metric of every resample, NaN where it is undefined."""
BINNED = frozenset({"ece", "ece-mass", "rms-ce", "mce"})
MEANS: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "accuracy": lambda confidence, correct: correct,
    "brier": lambda confidence, correct: (confidence - correct) ** 2,
    "nll": lambda confidence, correct: (
        -np.log(np.maximum(np.where(correct > 0, confidence, 1 - confidence), CLIP))
    ),
}
"""The metrics that are means, of what each answer adds; all but NLL lie between 0 and 1."""
ROUNDING = 1e-9
"""Errors that are equal but for the order of their sums."""
MOVED = f"{BOUNDED}, less the noise of bins"
BIAS = 1 / (np.sqrt(2) - 1)
"""Of a bin without error, the error of the data over what resampling adds: E|x| / (E|x + x'| - E|x|)."""


def measure(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: Sequence[Any] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """All ``METRICS`` of graded answers with 95 % intervals; ``clusters`` (n,) names each answer's question.

    A metric that is undefined (AUROC where all or none are right) is left out; a resample where it is
    undefined does not count for its interval.

    Raises:
        ValueError: as the metrics do, or a number of ``clusters`` other than n.
    """
    return _measured([_Method.of(confidence, correct)], clusters, resamples, seed)


def differences(
    a_confidence: ArrayLike,
    a_correct: ArrayLike,
    b_confidence: ArrayLike,
    b_correct: ArrayLike,
    clusters: Sequence[Any] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """All ``METRICS`` of method a minus those of method b, where row i of both answers the same question.

    A metric that is undefined for either is left out.

    Raises:
        ValueError: as ``measure``, or methods with different numbers of answers.
    """
    methods = [_Method.of(a_confidence, a_correct), _Method.of(b_confidence, b_correct)]
    lengths = [len(method.confidence) for method in methods]
    if lengths[0] != lengths[1]:
        raise ValueError(f"paired answers must be of one length, not {lengths[0]} and {lengths[1]}")
    return _measured(methods, clusters, resamples, seed)


def clustered_ece(
    confidence: ArrayLike,
    correct: ArrayLike,
    clusters: Sequence[Any],
    resamples: int = 2000,
    seed: int = 0,
    by: str = "question",
) -> Interval:
    """``measure(...)["ece"]`` at a cost that grows with the clusters: for tokens, of which there are many.

    ``by`` is what clusters are, for the name of the method.

    Raises:
        ValueError: as ``measure``.
    """
    return _clustered([_gaps(confidence, correct, clusters)], clusters, resamples, seed, by)


def clustered_ece_difference(
    a_confidence: ArrayLike,
    a_correct: ArrayLike,
    b_confidence: ArrayLike,
    b_correct: ArrayLike,
    clusters: Sequence[Any],
    resamples: int = 2000,
    seed: int = 0,
    by: str = "question",
) -> Interval:
    """``differences(...)["ece"]``, as ``clustered_ece``.

    Raises:
        ValueError: as ``differences``.
    """
    gaps = [_gaps(a_confidence, a_correct, clusters), _gaps(b_confidence, b_correct, clusters)]
    return _clustered(gaps, clusters, resamples, seed, by)


def _gaps(confidence: ArrayLike, correct: ArrayLike, clusters: Sequence[Any]) -> Floats:
    """Sum of confidence minus correctness, by cluster and bin of the confidence: (clusters, BINS)."""
    answers(confidence, correct)  # checks them
    p, truth = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64)
    if len(clusters) != len(p):
        raise ValueError(f"{len(p)} values need {len(p)} cluster names, not {len(clusters)}")
    # Clusters in order of appearance, as everywhere: the same seed then draws the same ones.
    number = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    rows = np.array([number[name] for name in clusters])
    cells = np.bincount(rows * BINS + bin_of(p), weights=p - truth, minlength=len(number) * BINS)
    return np.asarray(cells.reshape(-1, BINS), dtype=np.float64)


def _clustered(
    gaps: Sequence[Floats], clusters: Sequence[Any], resamples: int, seed: int, by: str
) -> Interval:
    """The error of one method's gaps (clusters, BINS), or the first one's minus the second's."""
    sizes = np.array(list(Counter(clusters).values()), dtype=np.float64)

    def error(weights: Floats) -> Floats:
        errors = [np.abs(weights @ gap).sum(axis=1) / (weights @ sizes) for gap in gaps]
        return np.asarray(errors[0] - errors[1] if len(errors) > 1 else errors[0])

    value = float(error(np.ones((1, len(sizes))))[0])
    drawn = [
        (
            error(block),
            block @ sizes,
            prior * cluster_size(sizes),
            np.abs(_signs(block) @ gaps[0]).sum(axis=1) / sizes.sum(),
        )
        for block, prior in resample_weights(len(sizes), None, resamples, seed)
    ]
    resampled, mass, prior, noise = map(np.concatenate, zip(*drawn, strict=True))
    bounds = RATE if len(gaps) == 1 else difference_bounds(RATE)
    counts = int(sizes.sum()), len(sizes)
    interval = _moved(value, resampled, mass, prior, bounds, *counts, named(MOVED, clusters, by))
    return interval if len(gaps) > 1 else _or_none(interval, noise)


def _signs(weights: Floats) -> Floats:
    """A fair sign for each cluster, of its exponential weight: above or below the median."""
    return np.where(weights > np.log(2), 1.0, -1.0)


def _or_none(interval: Interval, noise: Floats) -> Interval:
    """The interval of a binned error; down to 0 where ``noise`` (r,) alone makes such errors."""
    return (
        replace(interval, low=0.0) if interval.value <= np.quantile(noise, 1 - TAIL) + ROUNDING else interval
    )


@dataclass(frozen=True)
class _Method:
    """A method's answers as they were given, (n,) each, and counted."""

    confidence: Floats
    correct: Floats
    counted: Answers

    @classmethod
    def of(cls, confidence: ArrayLike, correct: ArrayLike) -> "_Method":
        counted = answers(confidence, correct)
        return cls(np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.float64), counted)


def _measured(
    methods: Sequence[_Method], clusters: Sequence[Any] | None, resamples: int, seed: int
) -> dict[str, Interval]:
    """All metrics of one method, or the first one's minus the second's, as far as they are defined."""
    n = len(methods[0].confidence)
    count = len(np.unique(cluster_index(clusters, n)))
    bounds = RATE if len(methods) == 1 else difference_bounds(RATE)
    ranked = {name: each for name, each in METRICS.items() if name not in MEANS}
    whole = _statistics(methods, ranked, None)
    drawn = [
        (_statistics(methods, ranked, weights), prior, _noise(methods, weights))
        for weights, prior in resample_weights(n, clusters, resamples, seed)
    ]
    prior = np.concatenate([weights for _, weights, _ in drawn])
    intervals = {}
    for name in METRICS:
        if name in MEANS:
            added = [MEANS[name](method.confidence, method.correct) for method in methods]
            values = added[0] - added[1] if len(added) > 1 else added[0]
            within = None if name == "nll" else bounds
            intervals[name] = mean_interval(values, clusters, resamples, seed, bounds=within)
            continue
        value = float(whole[name][0][0])
        if np.isnan(value):
            continue
        resampled, mass = (np.concatenate([block[name][part] for block, _, _ in drawn]) for part in (0, 1))
        interval = _moved if name in BINNED else bounded_interval
        method = named(MOVED if name in BINNED else BOUNDED, clusters, "question")
        intervals[name] = interval(value, resampled, mass, prior, bounds, n, count, method)
        if name in BINNED and len(methods) == 1:
            noise = np.concatenate([block[name] for _, _, block in drawn])
            intervals[name] = _or_none(intervals[name], noise)
    return intervals


Statistic = tuple[Floats, Floats]
"""A metric of each resample, (r,), and how much the answers that it rests on weigh there."""


def _statistics(
    methods: Sequence[_Method],
    metrics: Mapping[str, Callable[[GradedCounts], Floats]],
    weights: Floats | None,
) -> dict[str, Statistic]:
    tallies = [method.counted.tally(weights) for method in methods]
    values = {name: [each(tally) for tally in tallies] for name, each in metrics.items()}
    return {
        name: (
            each[0] - each[1] if len(each) > 1 else each[0],
            np.min([_mass(name, tally) for tally in tallies], axis=0),
        )
        for name, each in values.items()
    }


def _noise(methods: Sequence[_Method], weights: Floats) -> dict[str, Floats]:
    """The binned errors of one method's answers whose deviations have signs at random; of two nothing."""
    if len(methods) > 1:
        return {}
    counted = methods[0].counted
    plain, gap = counted.tally(), counted.tally(_signs(weights)).gap
    mass = np.broadcast_to(plain.mass, gap.shape)
    tally = replace(plain, mass=mass, right=mass * plain.confidence - gap)
    return {name: METRICS[name](tally) for name in BINNED}


def _mass(name: str, tally: GradedCounts) -> Floats:
    """How much the answers weigh that a metric rests on."""
    if name == "auroc":
        right = tally.right.sum(axis=1)
        return np.asarray(np.minimum(right, tally.total - right))
    kind, _, coverage = name.partition("@")
    return tally.total * (int(coverage) / 100 if kind == "selective" else 1.0)


def _moved(
    value: float,
    resampled: Floats,
    mass: Floats,
    prior: Floats,
    bounds: Bounds,
    n: int,
    clusters: int,
    method: str,
) -> Interval:
    """``bounded_interval`` of resamples without their mean excess over the value, and ``BIAS`` times that."""
    excess = resampled.mean() - value
    ends = [
        bounded_interval(
            value, np.clip(resampled - times * excess, *bounds), mass, prior, bounds, n, clusters
        )
        for times in (1.0, BIAS)
    ]
    low, high = min(end.low for end in ends), max(end.high for end in ends)
    return Interval(value, low, high, n, method, clusters)
