"""The figures of a HyRe evaluation: accuracy against the number of labels, and its headline in a few rows."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lmtools.core.files import write_text
from lmtools.core.results import Results, Row
from lmtools.core.statistics import Interval
from lmtools.report.label_curve import Curve, label_curves_svg

PLAIN = ("uniform/", "single-head", "mean-difference", "logistic", "best-head/", "simplex/", "ridge")
"""What the main method is drawn beside."""
SHOWN = (0, 5, 16)
"""Numbers of labels of the printed table."""


def write_label_curves(results: Results, folder: Path, main: str, task: str) -> list[Path]:
    """``labels.svg`` with the mean over targets, and ``targets.svg`` with a panel for each target.

    Args:
        main: the method that is drawn thick.

    Raises:
        MachineError: the folder cannot be written to.
    """
    source = main.removeprefix("hyre/")
    measured = {"preference": "accuracy", "classification": "accuracy", "regression": "rmse"}[task]
    every = _curves(results)
    targets = sorted({name for curves in every.values() for name in curves if name.endswith(f"/{measured}")})
    whole = "accuracy" if task == "preference" else "rmse-ratio"
    ylabel = {"rmse": "RMSE"}.get(measured, measured)
    close = {
        method: curves
        for method, curves in every.items()
        if method == main or (method.startswith(PLAIN) and method.rpartition("/")[2] in (method, source))
    }
    written = []
    ensembles = {
        method: curves for method, curves in every.items() if method.startswith("hyre/") or method in close
    }
    overall = [
        (title, _drawn(of, whole))
        for title, of in (("mean over targets, every ensemble", ensembles), ("against the baselines", close))
    ]
    panels = {
        "labels.svg": [(title, curves) for title, curves in overall if curves],
        "targets.svg": [(name.rpartition("/")[0], _drawn(close, name)) for name in targets],
    }
    for file, shown in panels.items():
        if shown:
            label = ylabel if file == "targets.svg" or task == "preference" else "RMSE / RMSE of uniform"
            write_text(folder / file, label_curves_svg(shown, label, main))
            written.append(folder / file)
    return written


def _curves(results: Results) -> dict[str, dict[str, list[tuple[int, Interval]]]]:
    """Method -> metric -> (N, value), by N; rows are named ``METHOD @N``."""
    found: dict[str, dict[str, list[tuple[int, Interval]]]] = {}
    for row in results.rows:
        method, _, count = row.name.rpartition(" @")
        for name, value in row.metrics.items():
            found.setdefault(method, {}).setdefault(name, []).append((int(count), value))
    return {
        method: {name: sorted(points, key=lambda point: point[0]) for name, points in metrics.items()}
        for method, metrics in found.items()
    }


def _drawn(curves: Mapping[str, Mapping[str, list[tuple[int, Interval]]]], metric: str) -> list[Curve]:
    return [Curve(name, tuple(metrics[metric])) for name, metrics in curves.items() if metric in metrics]


def headline(results: Results, main: str) -> Results:
    """The rows and metrics for a terminal: no target by itself, few numbers of labels."""
    shown = ("accuracy", "rmse-ratio", "spread", "effective-heads", "disagreement")
    rows = tuple(
        Row(row.name, {name: row.metrics[name] for name in shown if name in row.metrics})
        for row in results.rows
        if int(row.name.rpartition(" @")[2]) in SHOWN
    )
    differences = tuple(
        one for one in results.differences if one.a == f"hyre/{main} @5" and one.metric == "accuracy"
    )
    return replace(results, rows=rows, differences=differences)
