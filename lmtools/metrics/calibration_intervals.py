"""Every calibration metric with its bootstrap interval, and differences between two methods, paired.

Whole clusters (questions) are drawn with replacement, the same ones for every metric and for both methods.
Intervals are percentile intervals. Those of binned errors are moved: the noise within bins makes the error of
a resample larger on average than that of the data (Kumar et al. 2019), so the mean excess is taken off first.
They tell how far the same measurement on other questions would be from this one; that a binned error of few
answers is itself too large, they do not mend.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats
from lmtools.core.results import Interval, percentile_interval, resample_weights
from lmtools.metrics.calibration import (
    BINS,
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
    graded = answers(confidence, correct)
    n = len(graded.order)
    blocks = [_all(graded, weights) for weights in resample_weights(n, clusters, resamples, seed)]
    return _intervals(_all(graded), _joined(blocks), n)


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
    a, b = answers(a_confidence, a_correct), answers(b_confidence, b_correct)
    n = len(a.order)
    if len(b.order) != n:
        raise ValueError(f"paired answers must be of one length, not {n} and {len(b.order)}")
    drawn = resample_weights(n, clusters, resamples, seed)
    blocks = [_minus(_all(a, weights), _all(b, weights)) for weights in drawn]
    return _intervals(_minus(_all(a), _all(b)), _joined(blocks), n, least=-1.0)


def clustered_ece(
    confidence: ArrayLike, correct: ArrayLike, clusters: Sequence[Any], resamples: int = 2000, seed: int = 0
) -> Interval:
    """``measure(...)["ece"]`` at a cost that grows with the clusters: for tokens, of which there are many.

    Raises:
        ValueError: as ``measure``.
    """
    return _clustered([_gaps(confidence, correct, clusters)], clusters, resamples, seed)


def clustered_ece_difference(
    a_confidence: ArrayLike,
    a_correct: ArrayLike,
    b_confidence: ArrayLike,
    b_correct: ArrayLike,
    clusters: Sequence[Any],
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """``differences(...)["ece"]``, as ``clustered_ece``.

    Raises:
        ValueError: as ``differences``.
    """
    gaps = [_gaps(a_confidence, a_correct, clusters), _gaps(b_confidence, b_correct, clusters)]
    return _clustered(gaps, clusters, resamples, seed)


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


def _clustered(gaps: Sequence[Floats], clusters: Sequence[Any], resamples: int, seed: int) -> Interval:
    """The error of one method's gaps (clusters, BINS), or the first one's minus the second's."""
    sizes = np.array(list(Counter(clusters).values()), dtype=np.float64)

    def error(weights: Floats) -> Floats:
        errors = [np.abs(weights @ gap).sum(axis=1) / (weights @ sizes) for gap in gaps]
        return np.asarray(errors[0] - errors[1] if len(errors) > 1 else errors[0])

    value = float(error(np.ones((1, len(sizes))))[0])
    resampled = np.concatenate(
        [error(block) for block in resample_weights(len(sizes), None, resamples, seed)]
    )
    moved = _moved(resampled, value, least=-1.0 if len(gaps) > 1 else 0.0)
    return percentile_interval(value, moved, int(sizes.sum()))


def _all(graded: Answers, weights: Floats | None = None) -> dict[str, Floats]:
    tally = graded.tally(weights)
    return {name: each(tally) for name, each in METRICS.items()}


def _minus(a: dict[str, Floats], b: dict[str, Floats]) -> dict[str, Floats]:
    return {name: a[name] - b[name] for name in a}


def _joined(blocks: Sequence[dict[str, Floats]]) -> dict[str, Floats]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in METRICS}


def _intervals(
    values: dict[str, Floats], resampled: dict[str, Floats], n: int, least: float = 0.0
) -> dict[str, Interval]:
    """The intervals of all metrics that are defined; a moved one stays between ``least`` and 1."""
    intervals = {}
    for name, (value,) in values.items():
        defined = resampled[name][~np.isnan(resampled[name])]
        if np.isnan(value) or not defined.size:
            continue
        if name in BINNED:
            defined = _moved(defined, float(value), least)
        intervals[name] = percentile_interval(float(value), defined, n)
    return intervals


def _moved(resampled: Floats, value: float, least: float) -> Floats:
    """Resamples of a binned error without their mean excess over its value, within ``least`` and 1."""
    return np.asarray(np.clip(resampled - (resampled.mean() - value), least, 1.0))
