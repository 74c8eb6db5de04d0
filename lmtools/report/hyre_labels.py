"""An evaluation of few labels: accuracy against their number, effective heads, pairs, disagreement."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.results import Results, bootstrap_mean
from lmtools.metrics.preference import Floats
from lmtools.report.charts import cell, said
from lmtools.report.elements import Bars, Chart, Dots, Grid, Line, Lines, Part, Prose, Section, Table
from lmtools.report.hyre_pairs import MeasuredTarget, Pair, left_out, measured, measured_browser, of_all
from lmtools.report.label_curves import Curve, Curves, Shown, curves, shown
from lmtools.report.run_files import Source
from lmtools.report.sentences import unit

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


MOST_TARGETS = 24
"""Charts of single targets; a table has all of them."""
FEW = ("uniform/", "single-head", "logistic", "ridge")
"""What a single target's chart shows beside the main method."""
LABELS = 5
"""What a user is asked for: pairs are shown without a label and with so many."""
X = "number of labels"
RESAMPLES = 400


def sections(run: Source, results: Results) -> list[Section]:
    """The sections of `lmtools hyre eval`."""
    main, task = main_method(run, results), str(run.settings.get("task", "preference"))
    found = shown(results, main, task)
    every = curves(results)
    pairs, targets = measured(run)
    kind = "Accuracy" if found.metric == "accuracy" else "Error"
    parts = {
        f"{kind} against number of labels": [*_overall(found), *_by_target(found)],
        "Weights over heads": _effective(every, main),
        "The pairs": _pairs(pairs, targets, main),
        "Disagreement between heads": _disagreement(every, pairs, targets, main),
    }
    if not pairs and task == "preference":
        note = "The texts of the pairs are not in this run; `lmtools hyre eval` writes them (pairs.jsonl)."
        parts["The pairs"] = [Prose(note, "note")]
    return [Section(title, own) for title, own in parts.items() if own]


def main_method(run: Source, results: Results) -> str:
    """The method that a run is about: the weights over its own ensemble."""
    heads = run.settings.get("heads")
    listed = heads if isinstance(heads, list) else []
    names = [one.get("source") if isinstance(one, dict) else one for one in listed]
    main = "hyre/" + "+".join(dict.fromkeys(map(str, names)))
    methods = [row.name.rpartition(" @")[0] for row in results.rows]
    return main if main in methods else next((name for name in methods if name.startswith("hyre/")), main)


def _overall(found: Shown) -> list[Part]:
    charts: list[Part] = []
    for title, own in (("Against the baselines", found.baselines), ("Every ensemble", found.ensembles)):
        if own and (title != "Every ensemble" or {c.name for c in own} != {c.name for c in found.baselines}):
            charts.append(_lines(f"{title}, mean over targets", own, found.metric, found.main))
    return charts


def _by_target(found: Shown) -> list[Part]:
    """A small chart for each target, and the main method's figures as a table."""
    charts = []
    for name, own in list(found.targets.items())[:MOST_TARGETS]:
        some = [curve for curve in own if curve.name == found.main or curve.name.startswith(FEW)]
        charts.append(_lines(name, some or own, found.of_target, found.main))
    parts: list[Part] = [Grid(charts, "Target by target")] if charts else []
    if len(found.targets) > MOST_TARGETS:
        parts.append(Prose(f"{MOST_TARGETS} of {len(found.targets)} targets; the table has all.", "note"))
    main = {
        name: {count: value for curve in own if curve.name == found.main for count, value in curve.points}
        for name, own in found.targets.items()
    }
    counts = sorted({count for own in main.values() for count in own})
    kind = unit(found.of_target)
    rows = [(name, *(cell(own.get(count), kind) for count in counts)) for name, own in main.items()]
    title = f"{found.main} on every target, by number of labels"
    return (
        [*parts, Table(["", *(f"@{count}" for count in counts)], rows, title, folded=True)] if rows else parts
    )


def _lines(title: str, own: Sequence[Curve], metric: str, main: str) -> Lines:
    return Lines(title, [_line(curve) for curve in own], X, metric, unit(metric), even=True, strong=main)


def _line(curve: Curve) -> Line:
    """One value without labels holds for every number of them."""
    points = [(float(count), one.value, one.low, one.high) for count, one in curve.points]
    return Line(curve.name, points, flat=curve.points[-1][0] == 0)


def _effective(every: Curves, main: str) -> list[Part]:
    """How few heads the labels leave; the weights themselves are of single draws, and not kept."""
    metric = "effective-heads"
    own = [Curve(name, found[metric]) for name, found in every.items() if metric in found]
    if not own:
        return []
    note = "Each draw of labels gives weights of its own; `lmtools hyre adapt` shows those of one user."
    return [_lines("Heads that are heard, mean over targets", own, metric, main), Prose(note, "note")]


def _pairs(pairs: Sequence[Pair], targets: Sequence[MeasuredTarget], main: str) -> list[Part]:
    rows = _rows(targets, main)
    if rows is None:
        return []
    before, after = (of_all(targets, row, len(pairs)) for row in rows)
    better, worse = (int(np.nansum(way)) for way in (after > before, after < before))
    told = f"Over the draws, {rows[1]} has {better:,} pairs more often in the right order than {rows[0]}"
    return [
        Prose(f"{told}, and {worse:,} less often; {len(pairs):,} in all."),
        *left_out(pairs),
        measured_browser(pairs, before, after, rows),
    ]


def _rows(targets: Sequence[MeasuredTarget], main: str) -> tuple[str, str] | None:
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
    if before is None or not (some := [count for count in counts if count]):
        return None
    return before, f"{main} @{min(some, key=lambda count: (abs(count - LABELS), count))}"


def _disagreement(
    every: Curves, pairs: Sequence[Pair], targets: Sequence[MeasuredTarget], main: str
) -> list[Part]:
    """Of each ensemble, of each target, and of single pairs with what it means for accuracy."""
    own = [
        (name, found["disagreement"][0][1])
        for name, found in every.items()
        if "disagreement" in found and "(" not in name  # the same heads, asked in another order
    ]
    charts: list[Dots] = []
    if own:
        charts.append(Dots("How often two heads disagree, mean over targets", own, strong=main))
    known = [pair.disagreement for pair in pairs if pair.disagreement is not None]
    if len(known) < len(pairs) or not pairs:
        return [*charts]
    values = np.array(known)
    if len(targets) > 1 and np.ptp(values) > 1e-6:
        rows = [
            (target.name, bootstrap_mean(values[list(target.places)], None, RESAMPLES))
            for target in targets[:MOST_TARGETS]
        ]
        charts.append(Dots(f"The heads of {main.removeprefix('hyre/')} on each target", rows))
    rows_of = _rows(targets, main)
    right = {row: of_all(targets, row, len(pairs)) for row in rows_of or ()}
    source = main.removeprefix("hyre/")
    return [*([Grid(charts)] if charts else []), *disagreement_charts({f"heads of {source}": values}, right)]
