"""What a run measured: the result file, and the bootstrap intervals of the metrics in it.

    {"recipe", "command", "seed", "versions", "machine",
     "rows": [{"name", "metrics": {NAME: {"value", "low", "high", "n", "method", "clusters"}}}],
     "differences": [{"a", "b", "metric", "value", "low", "high", "n", "method", "clusters"}]}

is the one form that README tables and comparisons are made from. Rates lie in [0, 1]; a difference is ``a``
minus ``b``, paired by question; intervals are 95 %, with the number of values behind them. Files of before
intervals named their method have none but percentile intervals.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError
from lmtools.core.files import write_text

LESS_IS_BETTER = frozenset(
    ("brier", "ece", "ece-mass", "loss", "mce", "nll", "rms-ce", "rmse", "rmse-ratio", "token-ece")
)
"""The metrics that are errors or losses, without ``TASK/`` before their names."""
PERCENTILE = "bootstrap-percentile"
"""The method of intervals that do not name one."""
BLOCK = 2_000_000
"""Cluster draws held in memory at once; larger bootstraps go block by block."""
WEIGHTS = 100_000
"""Weights held at once: few enough that a statistic's arrays of this size stay in a processor's cache."""


@dataclass(frozen=True)
class Interval:
    """A statistic with its 95 % interval.

    ``n`` is the number of values that went in, ``clusters`` that of independent groups of them (questions,
    mostly), 0 where a file does not say; ``method`` is how the interval was found, in words.
    """

    value: float
    low: float
    high: float
    n: int
    method: str = PERCENTILE
    clusters: int = 0


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured (``zero-shot``, ``SFT + preference``), by metric name."""

    name: str
    metrics: Mapping[str, Interval]


@dataclass(frozen=True)
class Difference:
    """Row ``a`` minus row ``b`` in one metric, paired by question."""

    a: str
    b: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    method: str = PERCENTILE
    clusters: int = 0

    @classmethod
    def of(cls, a: str, b: str, metric: str, interval: Interval) -> "Difference":
        """The difference whose interval ``paired_difference`` gave."""
        return cls(a=a, b=b, metric=metric, **asdict(interval))


@dataclass(frozen=True)
class Results:
    """A result file."""

    recipe: str
    command: str
    seed: int
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    rows: tuple[Row, ...]
    differences: tuple[Difference, ...] = field(default=())

    def row(self, name: str) -> Row:
        """The row called ``name``.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def values(self) -> dict[str, float]:
        """Every row's figures without their intervals, as ``ROW/METRIC``."""
        return {
            f"{row.name}/{name}": metric.value for row in self.rows for name, metric in row.metrics.items()
        }

    def to_json(self) -> str:
        """Indented JSON with a final newline.

        Raises:
            ValueError: a figure is NaN or infinite.
        """
        return json.dumps(asdict(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file in one step."""
        write_text(path, self.to_json())


def from_json(text: str, source: str = "result file") -> Results:
    """The results in ``text``; ``source`` names the file in an error.

    Raises:
        DataError: not a result file.
    """
    try:
        value = json.loads(text)
        rows = tuple(
            Row(row["name"], {name: _interval(metric) for name, metric in row["metrics"].items()})
            for row in value["rows"]
        )
        differences = tuple(Difference(**difference) for difference in value.get("differences", ()))
        head = {key: value[key] for key in ("recipe", "command", "seed", "versions", "machine")}
        return Results(**head, rows=rows, differences=differences)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(
            f"{source}: not a result file ({error})", fix="make it again with its recipe"
        ) from error


def _interval(metric: Mapping[str, Any]) -> Interval:
    if not all(isinstance(value, int | float) for name, value in metric.items() if name != "method"):
        raise TypeError(f"a metric that is no number: {metric}")
    return Interval(**metric)


def read_results(path: Path) -> Results:
    """The results in a file.

    Raises:
        DataError: the file is absent or not a result file.
    """
    try:
        return from_json(path.read_bytes().decode("utf-8", "replace"), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", fix="check the path") from error


# Bootstrap intervals.
#
# Values of one question are not independent, so whole clusters (questions) are drawn with replacement,
# never single values. Intervals are percentile intervals (Efron 1979): the 2.5th and 97.5th percentile over
# the resamples. Everything here is a pure function of its arguments, seed included.


def bootstrap_mean(
    values: ArrayLike, clusters: Sequence[Any] | None = None, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The mean of ``values`` (n,) with its interval; ``clusters`` (n,) names each value's question.

    A resample's mean weights every value equally, so a cluster with more values counts for more, as it does
    in the plain mean. Without ``clusters`` every value is a cluster of its own.

    Raises:
        ValueError: no values, a value that is not finite, or lengths that differ.
    """
    array = _checked(values)
    members = _cluster_index(clusters, len(array))
    sums = np.bincount(members, weights=array)
    sizes = np.bincount(members).astype(np.float64)
    means = [sums[draw].sum(axis=1) / sizes[draw].sum(axis=1) for draw in _draws(len(sums), resamples, seed)]
    return percentile_interval(float(array.mean()), np.concatenate(means), len(array))


def paired_difference(
    a: ArrayLike, b: ArrayLike, clusters: Sequence[Any] | None = None, resamples: int = 2000, seed: int = 0
) -> Interval:
    """The mean of ``a - b`` with its interval, where ``a[i]`` and ``b[i]`` belong to the same question.

    Raises:
        ValueError: as ``bootstrap_mean``, or ``a`` and ``b`` of different lengths.
    """
    left, right = _checked(a), _checked(b)
    if left.shape != right.shape:
        raise ValueError(f"paired values must be of one length, not {len(left)} and {len(right)}")
    return bootstrap_mean(left - right, clusters, resamples, seed)


def bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[NDArray[Any]],
    clusters: Sequence[Any] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Any ``statistic(*arrays)`` with its interval; the arrays share their first axis, of length n.

    The same rows are drawn from every array. For a mean, ``bootstrap_mean`` is the same and much faster.

    Raises:
        ValueError: no arrays, no rows, lengths that differ, or a resample without a finite statistic.
    """
    if not arrays or len(arrays[0]) == 0:
        raise ValueError("a bootstrap needs at least one value")
    n = len(arrays[0])
    if any(len(array) != n for array in arrays):
        raise ValueError(f"arrays must be of one length, not {[len(array) for array in arrays]}")
    members = _cluster_index(clusters, n)
    rows = np.split(np.argsort(members, kind="stable"), np.cumsum(np.bincount(members))[:-1])
    results: list[float] = []
    for block in _draws(len(rows), resamples, seed):
        for draw in block:
            chosen = np.concatenate([rows[cluster] for cluster in draw])
            results.append(float(statistic(*(array[chosen] for array in arrays))))
    if not np.isfinite(results).all():
        raise ValueError("the statistic is not finite on some resample")
    return percentile_interval(float(statistic(*arrays)), np.array(results), n)


def resample_weights(
    n: int, clusters: Sequence[Any] | None = None, resamples: int = 2000, seed: int = 0
) -> Iterator[Floats]:
    """How often each of ``n`` values occurs in each resample: blocks of shape (resamples of the block, n).

    A statistic that takes such weights needs no loop over resamples. The draws are those of the functions
    above for the same seed and clusters.

    Raises:
        ValueError: no values, ``resamples`` below 1, or a number of ``clusters`` other than ``n``.
    """
    if n < 1:
        raise ValueError("a bootstrap needs at least one value")
    members = _cluster_index(clusters, n)
    count = int(members.max()) + 1
    for draw in _draws(count, resamples, seed, max(1, WEIGHTS // n)):
        cells = draw + count * np.arange(len(draw))[:, None]
        times = np.bincount(cells.ravel(), minlength=count * len(draw)).reshape(len(draw), count)
        yield times.astype(np.float64) if clusters is None else times[:, members].astype(np.float64)


def percentile_interval(value: float, resampled: Floats, n: int) -> Interval:
    """The interval of a statistic from its resamples (r,), which must be finite and at least one."""
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(value=value, low=float(low), high=float(high), n=n)


def _checked(values: ArrayLike) -> Floats:
    array: Floats = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values must have one axis, not shape {array.shape}")
    if array.size == 0:
        raise ValueError("a bootstrap needs at least one value")
    if not np.isfinite(array).all():
        raise ValueError("values must be finite")
    return array


def _cluster_index(clusters: Sequence[Any] | None, n: int) -> NDArray[np.intp]:
    """Each value's cluster, numbered from 0 in order of first appearance: shape (n,)."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{n} values need {n} cluster names, not {len(clusters)}")
    number: dict[Any, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in clusters], dtype=np.intp)


def _draws(clusters: int, resamples: int, seed: int, block: int | None = None) -> Iterator[NDArray[np.int64]]:
    """Blocks of at most ``block`` draws of all clusters with replacement, ``resamples`` rows in all.

    The draws do not depend on the size of the blocks.
    """
    if resamples < 1:
        raise ValueError("resamples must be at least 1")
    rng = np.random.default_rng(seed)
    step = block or max(1, BLOCK // clusters)
    for start in range(0, resamples, step):
        yield rng.integers(0, clusters, size=(min(step, resamples - start), clusters))
