"""95 % intervals that hold at any number of questions, and the draws that they rest on.

Values of one question are not independent, so whole clusters (questions) are weighted, never single values.
Every interval says in its ``method`` which of these it is:

``clopper-pearson``     a share of independent ones and zeros: exact (Clopper & Pearson 1934)
``bootstrap-gaffke``    any other mean of values that lie within bounds. A Bayesian bootstrap (Rubin 1981)
                        weights the clusters by exponential draws; for the lower end one cluster more lies at
                        the lower bound, for the upper end at the upper one (Gaffke 2005; Learned-Miller &
                        Thomas 2019). Of ones and zeros it is Clopper and Pearson's. Three equal values do not
                        pass for certainty, and with many values it is the bootstrap's interval.
``student-hall``        a mean of values without bounds: the wider end of Student's interval and of Hall's
                        (1992), which mends its error for skewed values; clusters by linearisation
``bootstrap-percentile``  Bayesian bootstrap of any statistic, with quantiles moved out as far as Student's
                        are from the normal ones (Hesterberg 2015). Files that name no method have those of
                        the plain bootstrap, not moved.

How often they hold the truth: ``benchmarks/coverage.py``. Everything is a pure function of its arguments,
seed included.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtools.core.arrays import Floats
from lmtools.core.results import PERCENTILE, Interval

EXACT, BOUNDED, UNBOUNDED, NONE = "clopper-pearson", "bootstrap-gaffke", "student-hall", "none"
TAIL = 0.025
"""What is left out on either side."""
WEIGHTS = 100_000
"""Weights held at once: few enough that a statistic's arrays of this size stay in a processor's cache."""

Bounds = tuple[float, float]
"""The least and the greatest value that can occur, whether or not it did."""
RATE: Bounds = (0.0, 1.0)


def mean_interval(
    values: ArrayLike,
    clusters: Sequence[Any] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    *,
    bounds: Bounds | None = None,
    by: str = "question",
) -> Interval:
    """The mean of ``values`` (n,) with its interval; ``clusters`` (n,) names each value's question.

    Every value weighs the same, so a cluster with more values counts for more, as it does in the plain mean.
    Without ``clusters`` every value is a cluster of its own.

    Args:
        bounds: between which every possible value lies, ``RATE`` of shares and scores; None: nobody knows.
        by: what clusters are, for the name of the method.

    Raises:
        ValueError: no values, a value that is not finite or out of bounds, or lengths that differ.
    """
    array = _checked(values)
    members = cluster_index(clusters, len(array))
    # The mean of equal values is that value to the last bit; so are their resamples, around it.
    value = float(np.clip(array.mean(), array.min(), array.max()))
    sums: Floats = np.bincount(members, weights=array - value).astype(np.float64)
    sizes: Floats = np.bincount(members).astype(np.float64)
    if bounds is None:
        return _unbounded(value, sums, sizes, named(UNBOUNDED, clusters, by))
    low, high = bounds
    if array.min() < low or array.max() > high:
        raise ValueError(f"values must lie between {low} and {high}")
    if len(sizes) == len(array) and np.isin(array, bounds).all():
        return exact_share(int((array == high).sum()), len(array), bounds)
    means, mass, prior = _weighted_means(sums, sizes, resamples, seed)
    method = named(BOUNDED, clusters, by)
    return bounded_interval(value, value + means, mass, prior, bounds, len(array), len(sizes), method)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    clusters: Sequence[Any] | None = None,
    resamples: int = 2000,
    seed: int = 0,
    *,
    bounds: Bounds | None = None,
    by: str = "question",
) -> Interval:
    """The mean of ``a - b`` with its interval, where ``a[i]`` and ``b[i]`` belong to the same question.

    ``bounds`` are those of ``a`` and of ``b``.

    Raises:
        ValueError: as ``mean_interval``, or ``a`` and ``b`` of different lengths.
    """
    left, right = _checked(a), _checked(b)
    if left.shape != right.shape:
        raise ValueError(f"paired values must be of one length, not {len(left)} and {len(right)}")
    return mean_interval(
        left - right, clusters, resamples, seed, bounds=difference_bounds(bounds) if bounds else None, by=by
    )


def difference_bounds(bounds: Bounds) -> Bounds:
    """The bounds of the difference of two values that lie within ``bounds``.

    >>> difference_bounds((0.0, 1.0))
    (-1.0, 1.0)
    """
    return bounds[0] - bounds[1], bounds[1] - bounds[0]


def rate_bounds(*values: ArrayLike) -> Bounds | None:
    """``RATE`` where all values, read from anybody's file, lie within it; else None."""
    arrays = [np.asarray(array, dtype=np.float64) for array in values]
    return RATE if all(((array >= RATE[0]) & (array <= RATE[1])).all() for array in arrays) else None


def named(method: str, clusters: Sequence[Any] | None, by: str) -> str:
    """``bootstrap-gaffke, clustered by question``; without clusters the method alone."""
    return method if clusters is None else f"{method}, clustered by {by}"


def exact_share(successes: int, n: int, bounds: Bounds = RATE) -> Interval:
    """``successes`` of ``n`` independent trials as a share, or as the mean of values that are at a bound.

    >>> round(exact_share(7, 7).low, 3)  # at a rate of 59 % one sample in forty is as good
    0.59
    """
    from scipy.special import betaincinv

    low = float(betaincinv(successes, n - successes + 1, TAIL)) if successes else 0.0
    high = float(betaincinv(successes + 1, n - successes, 1 - TAIL)) if successes < n else 1.0
    least, width = bounds[0], bounds[1] - bounds[0]
    value, low, high = (least + width * share for share in (successes / n, low, high))
    return Interval(value, low, high, n, EXACT, n)


def _unbounded(value: float, sums: Floats, sizes: Floats, method: str) -> Interval:
    """Student's interval joined with Hall's, of a mean whose clusters have these sums about any centre."""
    from scipy.special import stdtrit

    count, n = len(sizes), sizes.sum()
    if count == 1:
        return Interval(value, value, value, int(n), NONE, 1)
    # What each cluster adds to the mean, and its spread and skewness.
    x = count * (sums - sums.sum() / n * sizes) / n
    spread = float(np.sqrt(x @ x / (count - 1)))
    if spread <= 1e-12 * (1 + abs(value)):
        return Interval(value, value, value, int(n), method, count)
    skew = float(np.mean(x**3) / np.mean(x**2) ** 1.5)
    # Of clusters of unequal sizes as many count as of equal ones would (Kish 1965).
    effective = n**2 / (sizes @ sizes)
    t = float(stdtrit(max(effective - 1, 1), 1 - TAIL) / np.sqrt(count))

    def hall(quantile: float) -> float:
        """The inverse of T + g T^2 / 3 + g^2 T^3 / 27 + g / 6n, T the studentised mean over sqrt(n)."""
        third = skew / 3
        if abs(third) < 1e-9:
            return quantile
        return float(np.cbrt(1 + 3 * third * (quantile - skew / (6 * count))) - 1) / third

    low, high = value - spread * max(t, hall(t)), value + spread * max(t, -hall(-t))
    return Interval(value, low, high, int(n), method, count)


# Weights of a Bayesian bootstrap, and what becomes an interval of them.


def resample_weights(
    n: int, clusters: Sequence[Any] | None = None, resamples: int = 2000, seed: int = 0
) -> Iterator[tuple[Floats, Floats]]:
    """How much each of ``n`` values weighs in each resample, and a cluster at a bound: blocks (r, n), (r,).

    A weight is the same exponential draw for all values of a cluster; 1 is the mean. The cluster at a bound
    is as large as that of a value drawn at random.

    Raises:
        ValueError: no values, ``resamples`` below 1, or a number of ``clusters`` other than ``n``.
    """
    if n < 1:
        raise ValueError("an interval needs at least one value")
    if resamples < 1:
        raise ValueError("resamples must be at least 1")
    members = cluster_index(clusters, n)
    sizes = np.bincount(members).astype(np.float64)
    rng = np.random.default_rng(seed)
    step = max(1, WEIGHTS // n)
    for start in range(0, resamples, step):
        drawn = rng.standard_exponential((min(step, resamples - start), len(sizes) + 1))
        weights = drawn[:, :-1] if clusters is None else drawn[:, :-1][:, members]
        yield np.ascontiguousarray(weights), drawn[:, -1] * cluster_size(sizes)


def cluster_size(sizes: Floats) -> float:
    """The mean size of the cluster that a value stands in.

    >>> cluster_size(np.array([1.0, 3.0]))
    2.5
    """
    return float(sizes @ sizes / sizes.sum())


def bounded_interval(
    value: float,
    resampled: Floats,
    mass: Floats,
    prior: Floats,
    bounds: Bounds,
    n: int,
    clusters: int,
    method: str = BOUNDED,
) -> Interval:
    """The interval of a statistic within bounds, from its resamples (r,).

    Args:
        mass: (r,), how much all values that it rests on weigh in each resample.
        prior: (r,), how much the cluster at a bound does, of the same weights.
    """
    share = prior / (mass + prior)
    lows, highs = ((1 - share) * resampled + share * bound for bound in bounds)
    low = float(np.clip(np.quantile(lows, TAIL), bounds[0], value))
    high = float(np.clip(np.quantile(highs, 1 - TAIL), value, bounds[1]))
    return Interval(value, low, high, n, method, clusters)


def percentile_interval(
    value: float, resampled: Floats, n: int, clusters: int, method: str = PERCENTILE
) -> Interval:
    """The interval of a statistic without bounds, from its resamples (r,) of so many clusters."""
    from scipy.special import ndtr, stdtrit

    level = 0.0
    if clusters > 1:
        # A Bayesian bootstrap of C clusters spreads by sqrt((C - 1) / (C + 1)) of the standard error.
        level = ndtr(-np.sqrt((clusters + 1) / (clusters - 1)) * stdtrit(clusters - 1, 1 - TAIL))
    low, high = np.quantile(resampled, (level, 1 - level))
    return Interval(value, min(float(low), value), max(float(high), value), n, method, clusters)


def cluster_index(clusters: Sequence[Any] | None, n: int) -> NDArray[np.intp]:
    """Each value's cluster, numbered from 0 in order of first appearance: shape (n,).

    Raises:
        ValueError: not ``n`` clusters.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{n} values need {n} cluster names, not {len(clusters)}")
    number: dict[Any, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in clusters], dtype=np.intp)


def _weighted_means(sums: Floats, sizes: Floats, resamples: int, seed: int) -> tuple[Floats, Floats, Floats]:
    """Of each resample the mean, what all clusters weigh and what the one at a bound does: (r,) each."""
    if resamples < 1:
        raise ValueError("resamples must be at least 1")
    # Clusters that are alike are drawn at once: a sum of k exponential draws is a gamma draw.
    alike, times = np.unique(np.stack([sums, sizes]), axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    shapes = np.append(times, 1).astype(np.float64)
    step = max(1, WEIGHTS // len(shapes))
    means, mass, prior = [], [], []
    for start in range(0, resamples, step):
        drawn = rng.standard_gamma(shapes, size=(min(step, resamples - start), len(shapes)))
        totals = drawn[:, :-1] @ alike.T
        means.append(totals[:, 0] / totals[:, 1])
        mass.append(totals[:, 1])
        prior.append(drawn[:, -1] * cluster_size(sizes))
    return np.concatenate(means), np.concatenate(mass), np.concatenate(prior)


def _checked(values: ArrayLike) -> Floats:
    array: Floats = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must have one axis, not shape {array.shape}")
    if array.size == 0:
        raise ValueError("an interval needs at least one value")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    return array
