"""Training logs as curves: the records of a loop, and one figure of them over its steps."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
MOST_POINTS = 300
"""Of a curve."""


def by_part(found: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each loop of a run, in order of appearance."""
    parts: dict[str, list[Record]] = {}
    for record in found:
        parts.setdefault(str(record.get("part", "")), []).append(record)
    return parts


def curve(log: Sequence[Record], figure: str) -> list[tuple[float, ...]]:
    """(step, value) of one figure, thinned where there are very many; what is not finite is left out."""
    found = [
        (step, value)
        for line in log
        if (step := finite(line.get("step"))) is not None and (value := finite(line.get(figure))) is not None
    ]
    points: list[tuple[float, ...]] = sorted(dict(found).items())
    thin = math.ceil(len(points) / MOST_POINTS)
    return points if thin <= 1 else [*points[:-1:thin], points[-1]]


def finite(value: Any) -> float | None:
    """A finite number, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
