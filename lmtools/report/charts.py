"""A chart twice: as data for the page's script, and as the table that says the same in figures.

Also how figures are written for a reader, here and in all tables and sentences, and the points of a curve
from the records of a training log.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmtools.core.results import Interval
from lmtools.report.elements import Bars, Chart, Dots, Lines, Reliability, Unit

Rows = list[tuple[str, ...]]
MOST_ROWS = 24
"""Of a table under a chart of lines: of longer ones it has every so many points."""
MOST_POINTS = 300
"""Of a curve."""


def caption(chart: Chart) -> str:
    """The title, of a reliability diagram with its ECE."""
    if isinstance(chart, Reliability) and chart.ece is not None:
        return f"{chart.title}: ECE {format_interval(chart.ece, 'rate')}"
    return chart.title


def chart_json(chart: Chart, prefix: str = "") -> dict[str, Any]:
    """What the script draws from; ``prefix`` goes before the name of the list that its bins open."""
    if isinstance(chart, Dots):
        rows = [(name, *_ends(interval)) for name, interval in chart.rows]
        return {
            "kind": "dots", "rows": rows, "unit": chart.unit, "zero": chart.zero, "strong": chart.strong,
        }  # fmt: skip
    if isinstance(chart, Lines):
        lines = [
            {
                "name": line.name,
                "flat": line.flat,
                "points": [[_short(v) for v in point] for point in line.points],
            }
            for line in chart.lines
        ]
        bands = any(len(point) == 4 for line in chart.lines for point in line.points)
        return {
            "kind": "lines", "lines": lines, "x": chart.x, "y": chart.y, "unit": chart.unit,
            "even": chart.even, "strong": chart.strong, "bands": bands,
        }  # fmt: skip
    if isinstance(chart, Bars):
        return {
            "kind": "bars", "rows": [(name, _short(value)) for name, value in chart.rows], "unit": chart.unit,
            "groups": list(chart.groups), "mark": chart.mark, "upright": chart.upright, "y": chart.y,
        }  # fmt: skip
    return {
        "kind": "reliability", "title": caption(chart),
        "browser": prefix + chart.browser if chart.browser else "",
        "edges": [_short(v) for v in chart.edges], "counts": [_short(v) for v in chart.counts],
        "confidence": [_short(v) for v in chart.confidence], "accuracy": [_short(v) for v in chart.accuracy],
        "picks": [dict(pick) for pick in chart.picks],
    }  # fmt: skip


def chart_table(chart: Chart) -> tuple[Sequence[str], Rows]:
    """Columns and rows that say what the chart shows."""
    if isinstance(chart, Dots):
        value = "points" if chart.unit == "points" else "value"
        return ("", value, "95 % interval", "n"), [
            (name, format_value(i.value, chart.unit), format_range(i, chart.unit), f"{i.n:,}")
            for name, i in chart.rows
        ]
    if isinstance(chart, Lines):
        return _lines_table(chart)
    if isinstance(chart, Bars):
        groups = chart.groups or [""] * len(chart.rows)
        return ("", "value", *(("of",) if chart.groups else ())), [
            (name, format_value(value, chart.unit), *((group,) if chart.groups else ()))
            for (name, value), group in zip(chart.rows, groups, strict=True)
        ]
    return ("confidence", "answers", "mean confidence", "accuracy"), [
        (
            f"{low:.3g} to {high:.3g}",
            f"{count:,.0f}",
            format_value(confidence, "rate"),
            format_value(accuracy, "rate"),
        )
        for low, high, count, confidence, accuracy in zip(
            chart.edges, chart.edges[1:], chart.counts, chart.confidence, chart.accuracy, strict=False
        )
        if count
    ]


def _lines_table(chart: Lines) -> tuple[Sequence[str], Rows]:
    # A row for each x that any line has; flat lines have the same value in all rows.
    xs = sorted({point[0] for line in chart.lines if not line.flat for point in line.points})
    step = math.ceil(len(xs) / MOST_ROWS) if xs else 1
    xs = xs[:: step or 1] or [0.0]
    by_x = [{point[0]: point for point in line.points} for line in chart.lines]
    rows: Rows = []
    for x in xs:
        cells = []
        for line, points in zip(chart.lines, by_x, strict=True):
            point = line.points[0] if line.flat else points.get(x)
            cells.append(format_point(point, chart.unit))
        rows.append((format_value(x, "number"), *cells))
    return (chart.x, *(line.name for line in chart.lines)), rows


# Numbers as text.


def format_value(value: float | None, unit: Unit) -> str:
    """A figure for a reader: a rate in percent, a difference of rates in points, a number in three digits.

    A dash where there is none.
    """
    if value is None or not math.isfinite(value):
        return "–"
    if unit == "rate":
        return f"{100 * value:.1f} %"
    if unit == "points":
        return f"{100 * value:+.1f}"
    return f"{value:,.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:.3g}"


def format_interval(interval: Interval | None, unit: Unit) -> str:
    """A figure with its interval, for a table; a dash where nothing was measured."""
    if interval is None:
        return "–"
    return _with_ends(interval.value, interval.low, interval.high, unit)


def format_point(point: Sequence[float] | None, unit: Unit) -> str:
    """The value of a point of a line, with its interval if it has one; a dash where there is none."""
    if point is None:
        return "–"
    if len(point) < 4:
        return format_value(point[1], unit)
    return _with_ends(point[1], point[2], point[3], unit)


def _with_ends(value: float, low: float, high: float, unit: Unit) -> str:
    return f"{format_value(value, unit)} [{format_value(low, unit)}, {format_value(high, unit)}]"


def format_range(interval: Interval, unit: Unit) -> str:
    """The two ends of an interval."""
    return f"{format_value(interval.low, unit)} to {format_value(interval.high, unit)}"


def _ends(interval: Interval) -> tuple[float | None, float | None, float | None]:
    return _short(interval.value), _short(interval.low), _short(interval.high)


def _short(value: float | None) -> float | None:
    """Five digits are more than a screen shows; NaN and infinity are nothing."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


# Training logs: the records of a loop, and one figure of them over its steps.

Record = Mapping[str, Any]


def by_part(log: Iterable[Record]) -> dict[str, list[Record]]:
    """The records of each loop of a run, in order of appearance."""
    parts: dict[str, list[Record]] = {}
    for record in log:
        parts.setdefault(str(record.get("part", "")), []).append(record)
    return parts


def curve(log: Sequence[Record], figure: str) -> list[tuple[float, ...]]:
    """(step, value) of one figure, thinned where there are very many; what is not finite is left out."""
    values = [
        (step, value)
        for record in log
        if (step := finite(record.get("step"))) is not None
        and (value := finite(record.get(figure))) is not None
    ]
    points: list[tuple[float, ...]] = sorted(dict(values).items())
    thin = math.ceil(len(points) / MOST_POINTS)
    return points if thin <= 1 else [*points[:-1:thin], points[-1]]


def finite(value: Any) -> float | None:
    """A finite number, or nothing."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
