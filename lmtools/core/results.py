"""What a run measured: the result file, with the intervals that `core.intervals` finds.

    {"recipe", "command", "seed", "versions", "machine",
     "rows": [{"name", "metrics": {NAME: {"value", "low", "high", "n", "method", "clusters"}}}],
     "differences": [{"a", "b", "metric", "value", "low", "high", "n", "method", "clusters"}]}

is the one form that README tables and comparisons are made from. Rates lie in [0, 1]; a difference is ``a``
minus ``b``, paired by question; intervals are 95 %, with the number of values behind them. Files of before
intervals named their method have none but percentile intervals.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lmtools.core.errors import DataError
from lmtools.core.files import write_text
from lmtools.core.stored import MALFORMED, describe, parse_json

LESS_IS_BETTER = frozenset(
    ("brier", "ece", "ece-mass", "loss", "mce", "nll", "rms-ce", "rmse", "rmse-ratio", "token-ece")
)
"""The metrics that are errors or losses, without ``TASK/`` before their names."""
PERCENTILE = "bootstrap-percentile"
"""The method of intervals that do not name one."""
HEAD = {"recipe": str, "command": str, "seed": int, "versions": dict, "machine": dict}
"""The fields of a result file beside its figures."""


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
        """The difference whose interval ``intervals.paired_difference`` gave."""
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


def from_json(text: str | bytes, source: str = "result file") -> Results:
    """The results in ``text``; ``source`` names the file in an error.

    Raises:
        DataError: not a result file.
    """
    try:
        value = parse_json(text)
        rows = tuple(
            Row(
                row["name"],
                {name: Interval(**_checked_types(metric)) for name, metric in row["metrics"].items()},
            )
            for row in value["rows"]
        )
        differences = tuple(
            Difference(**_checked_types(difference)) for difference in value.get("differences", ())
        )
        head = {key: value[key] for key in ("recipe", "command", "seed", "versions", "machine")}
        for key, kind in HEAD.items():
            if not isinstance(head[key], kind):
                raise TypeError(f"{key}: {kind.__name__} expected")
        if not all(isinstance(row.name, str) for row in rows):
            raise TypeError("a name that is no text")
        return Results(**head, rows=rows, differences=differences)
    except MALFORMED as error:
        raise DataError(
            f"{source}: not a result file ({describe(error)})", fix="make it again with its recipe"
        ) from error


def _checked_types(metric: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of an interval or a difference, if names are texts and all others numbers."""
    for name, value in metric.items():
        if not isinstance(value, str if name in ("a", "b", "metric", "method") else int | float):
            raise TypeError(f"{name}: {value!r:.40} is of another type")
    return metric


def read_results(path: Path) -> Results:
    """The results in a file.

    Raises:
        DataError: the file is absent or not a result file.
    """
    try:
        return from_json(path.read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}", fix="check the path") from error
