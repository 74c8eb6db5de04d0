"""An evaluation of few labels on the page: accuracy against their number, weights, pairs, disagreement.

The curves are those of ``label_curves``, which also draws them in `plots/`; the pairs and what became of
them are those of ``hyre_pairs``. ``disagreement_charts``, at the end, serves adaptations too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats
from lmtools.core.intervals import RATE, mean_interval
from lmtools.core.results import Results
from lmtools.report.charts import format_point, format_value
from lmtools.report.elements import Bars, Chart, Dots, Grid, Line, Lines, Part, Prose, Section, Table
from lmtools.report.hyre_pairs import (
    MeasuredTarget,
    Pair,
    left_out,
    measured_browser,
    read_measured,
    share_right,
)
from lmtools.report.label_curves import (
    Curves,
    LabelCharts,
    label_chart,
    label_charts,
    label_curves,
    label_lines,
)
from lmtools.report.run_files import Source

MOST_TARGETS = 24
"""Charts of single targets; a table has all of them."""
FEW = ("uniform/", "single-head", "logistic", "ridge")
"""What a single target's chart shows beside the main method."""
LABELS = 5
"""As many as a user is asked for: the page compares pairs without a label and with so many."""
RESAMPLES = 400


def sections(run: Source, results: Results) -> list[Section]:
    """The sections of `lmtools hyre eval`."""
    main, task = main_method(run, results), str(run.settings.get("task", "preference"))
    charts = label_charts(results, main, task)
    curves = label_curves(results)
    pairs, targets = read_measured(run)
    kind = "Accuracy" if charts.baselines.y == "accuracy" else "Error"
    titled = {
        f"{kind} against number of labels": [*_overall(charts), *_by_target(charts)],
        "Weights over heads": _effective(curves, main),
        "The pairs": _pairs(pairs, targets, main),
        "Disagreement between heads": _disagreement(curves, pairs, targets, main),
    }
    if not pairs and task == "preference":
        note = "The texts of the pairs are not in this run; `lmtools hyre eval` writes them (pairs.jsonl)."
        titled["The pairs"] = [Prose(note, "note")]
    return [Section(title, parts) for title, parts in titled.items() if parts]


def main_method(run: Source, results: Results) -> str:
    """The method that a run is about: the weights over its own ensemble."""
    heads = run.settings.get("heads")
    listed = heads if isinstance(heads, list) else []
    names = [head.get("source") if isinstance(head, dict) else head for head in listed]
    main = "hyre/" + "+".join(dict.fromkeys(map(str, names)))
    methods = [row.name.rpartition(" @")[0] for row in results.rows]
    return main if main in methods else next((name for name in methods if name.startswith("hyre/")), main)


# Curves over the number of labels.


def _overall(charts: LabelCharts) -> list[Part]:
    """The means over targets; every ensemble only where there are more than among the baselines."""
    names = {line.name for line in charts.baselines.lines}
    more = {line.name for line in charts.ensembles.lines} != names
    return [
        *([charts.baselines] if charts.baselines.lines else []),
        *([charts.ensembles] if charts.ensembles.lines and more else []),
    ]


def _by_target(charts: LabelCharts) -> list[Part]:
    """A small chart for each target, and the main method's figures as a table."""
    small = []
    for chart in list(charts.targets.values())[:MOST_TARGETS]:
        few = [line for line in chart.lines if line.name == chart.strong or line.name.startswith(FEW)]
        small.append(replace(chart, lines=few or chart.lines))
    parts: list[Part] = [Grid(small, "Target by target")] if small else []
    if len(charts.targets) > MOST_TARGETS:
        parts.append(Prose(f"{MOST_TARGETS} of {len(charts.targets)} targets; the table has all.", "note"))
    points = {
        name: {point[0]: point for line in chart.lines if line.name == chart.strong for point in line.points}
        for name, chart in charts.targets.items()
    }
    counts = sorted({count for by_count in points.values() for count in by_count})
    rows = [
        (name, *(format_point(points[name].get(count), chart.unit) for count in counts))
        for name, chart in charts.targets.items()
    ]
    if not rows:
        return parts
    title = f"{charts.baselines.strong} on every target, by number of labels"
    columns = ["", *(f"@{count:.0f}" for count in counts)]
    return [*parts, Table(columns, rows, title, folded=True)]


def _effective(curves: Curves, main: str) -> list[Part]:
    """How few heads the labels leave; the weights themselves are of single draws, and not kept."""
    metric = "effective-heads"
    lines = label_lines(curves, metric)
    if not lines:
        return []
    note = "Each draw of labels gives weights of its own; `lmtools hyre adapt` shows those of one user."
    return [label_chart("Heads that are heard, mean over targets", lines, metric, main), Prose(note, "note")]


# The pairs, and the disagreement of heads on them.


def _pairs(pairs: Sequence[Pair], targets: Sequence[MeasuredTarget], main: str) -> list[Part]:
    rows = _compared_rows(targets, main)
    if rows is None:
        return []
    before, after = (share_right(targets, row, len(pairs)) for row in rows)
    better, worse = (int(np.nansum(changed)) for changed in (after > before, after < before))
    text = f"Over the draws, {rows[1]} has {better:,} pairs more often in the right order than {rows[0]}"
    return [
        Prose(f"{text}, and {worse:,} less often; {len(pairs):,} in all."),
        *left_out(pairs),
        measured_browser(pairs, before, after, rows),
    ]


def _compared_rows(targets: Sequence[MeasuredTarget], main: str) -> tuple[str, str] | None:
    """The rows whose pairs are compared: without labels, and with as many as a user may give."""
    names = dict.fromkeys(row for target in targets for row in target.rows)
    source = main.removeprefix("hyre/")
    # One reward for all users first: an ensemble of opposite heads prefers nothing without a label.
    plain = ("single-head @0", f"{main} @0", f"uniform/{source} @0")
    before = next((row for row in plain if row in names), None)
    counts = [
        int(row.removeprefix(f"{main} @"))
        for row in names
        if row.startswith(f"{main} @") and row.removeprefix(f"{main} @").isdecimal()
    ]
    if before is None or not (labelled := [count for count in counts if count]):
        return None
    return before, f"{main} @{min(labelled, key=lambda count: (abs(count - LABELS), count))}"


def _disagreement(
    curves: Curves, pairs: Sequence[Pair], targets: Sequence[MeasuredTarget], main: str
) -> list[Part]:
    """Of each ensemble, of each target, and of single pairs with what it means for accuracy."""
    ensembles = [
        (name, metrics["disagreement"][0][1])
        for name, metrics in curves.items()
        if "disagreement" in metrics and "(" not in name  # the same heads, asked in another order
    ]
    charts: list[Dots] = []
    if ensembles:
        charts.append(Dots("How often two heads disagree, mean over targets", ensembles, strong=main))
    disagreement = [pair.disagreement for pair in pairs if pair.disagreement is not None]
    if len(disagreement) < len(pairs) or not pairs:
        return [*charts]
    values, source = np.array(disagreement), main.removeprefix("hyre/")
    if len(targets) > 1 and np.ptp(values) > 1e-6:
        rows = [
            (target.name, mean_interval(values[list(target.indices)], None, RESAMPLES, bounds=RATE))
            for target in targets[:MOST_TARGETS]
        ]
        charts.append(Dots(f"The heads of {source} on each target", rows))
    right = {row: share_right(targets, row, len(pairs)) for row in _compared_rows(targets, main) or ()}
    return [*([Grid(charts)] if charts else []), *disagreement_charts({f"heads of {source}": values}, right)]


# How much the heads of an ensemble disagree on single pairs, and what that says about its accuracy.

BINS, FEWEST = 20, 5
"""Bins of disagreement; with fewer pairs than this one has no accuracy worth a point."""


def disagreement_charts(values: Mapping[str, ArrayLike], right: Mapping[str, ArrayLike]) -> list[Part]:
    """How often heads disagree on a pair, and how often the ensemble is right on such pairs.

    Args:
        values: when -> (n,), how often two heads disagree on each pair.
        right: what -> (n,) 1, 0 or between, NaN where a pair was not tested; over the first of ``values``.
    """
    charts: list[Chart] = []
    sentences: list[Part] = []
    for name, disagreement in values.items():
        shares = np.asarray(disagreement, dtype=np.float64)
        if not shares.size:
            continue
        if np.ptp(shares) < 1e-6:
            share = format_value(float(shares[0]), "rate")
            sentences.append(Prose(f"Two heads disagree on every pair in {share} of cases, {name}."))
            continue
        edges = np.linspace(0.0, max(0.5, float(shares.max())), BINS + 1)
        counts = np.bincount(_bin(shares, edges), minlength=BINS)
        rows = [(f"{100 * low:.0f} %", float(count)) for low, count in zip(edges, counts, strict=False)]
        charts.append(Bars(f"How often two heads disagree on a pair, {name}", rows, upright=True, y="pairs"))
        if name == next(iter(values)):
            charts += _accuracy(shares, edges, right)
    return [*sentences, *([Grid(charts)] if charts else [])]


def _accuracy(disagreement: Floats, edges: Floats, right: Mapping[str, ArrayLike]) -> list[Chart]:
    """How often what was right, by disagreement."""
    lines = []
    middles, bins = (edges[:-1] + edges[1:]) / 2, _bin(disagreement, edges)
    for name, values in right.items():
        shares = np.asarray(values, dtype=np.float64)
        tested = np.isfinite(shares)
        times = np.bincount(bins[tested], minlength=BINS)
        total = np.bincount(bins[tested], weights=shares[tested], minlength=BINS)
        points = [(float(middles[k]), float(total[k] / times[k])) for k in np.flatnonzero(times >= FEWEST)]
        if len(points) > 1:
            lines.append(Line(name, points))
    title = "How often the order is right, by how much heads disagree"
    return [Lines(title, lines, "how often two heads disagree", "right", "rate")] if lines else []


def _bin(values: Floats, edges: Floats) -> np.ndarray[tuple[int, ...], np.dtype[np.intp]]:
    return np.clip(np.digitize(values, edges) - 1, 0, BINS - 1)
