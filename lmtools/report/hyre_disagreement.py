"""How much the heads of an ensemble disagree on single pairs, and what that says about its accuracy."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from lmtools.metrics.preference import Floats
from lmtools.report.chart_data import said
from lmtools.report.parts import Bars, Chart, Grid, Line, Lines, Part, Prose

BINS, FEWEST = 20, 5
"""Bins of disagreement; with fewer pairs than this one has no accuracy worth a point."""


def disagreement_charts(values: Mapping[str, ArrayLike], right: Mapping[str, ArrayLike]) -> list[Part]:
    """How often heads disagree on a pair, and how often the ensemble is right on such pairs.

    Args:
        values: when -> (n,), how often two heads disagree on each pair.
        right: what -> (n,) 1, 0 or between, NaN where a pair was not tested; over the first of ``values``.
    """
    charts: list[Chart] = []
    told: list[Part] = []
    for name, own in values.items():
        every = np.asarray(own, dtype=np.float64)
        if not every.size:
            continue
        if np.ptp(every) < 1e-6:
            share = said(float(every[0]), "rate")
            told.append(Prose(f"Two heads disagree on every pair in {share} of cases, {name}."))
            continue
        edges = _edges(every)
        counts = np.bincount(_bin(every, edges), minlength=BINS)
        rows = [(f"{100 * low:.0f} %", float(count)) for low, count in zip(edges, counts, strict=False)]
        charts.append(Bars(f"How often two heads disagree on a pair, {name}", rows, upright=True, y="pairs"))
        if name == next(iter(values)):
            charts += _accuracy(every, edges, right)
    return [*told, *([Grid(charts)] if charts else [])]


def _accuracy(values: Floats, edges: Floats, right: Mapping[str, ArrayLike]) -> list[Chart]:
    """How often what was right, by disagreement."""
    lines = []
    middles, spot = (edges[:-1] + edges[1:]) / 2, _bin(values, edges)
    for name, each in right.items():
        found = np.asarray(each, dtype=np.float64)
        tested = np.isfinite(found)
        times = np.bincount(spot[tested], minlength=BINS)
        total = np.bincount(spot[tested], weights=found[tested], minlength=BINS)
        points = [(float(middles[k]), float(total[k] / times[k])) for k in np.flatnonzero(times >= FEWEST)]
        if len(points) > 1:
            lines.append(Line(name, points))
    title = "How often the order is right, by how much heads disagree"
    return [Lines(title, lines, "how often two heads disagree", "right", "rate")] if lines else []


def _edges(values: Floats) -> Floats:
    return np.linspace(0.0, max(0.5, float(values.max())), BINS + 1)


def _bin(values: Floats, edges: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
