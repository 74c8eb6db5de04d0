"""The figures of a HyRe evaluation: accuracy against the number of labels, and its headline in a few rows."""

from dataclasses import replace
from pathlib import Path

from lmtools.core.files import write_text
from lmtools.core.results import Results, Row
from lmtools.report.label_curve import label_curves_svg
from lmtools.report.label_rows import shown

SHOWN = (0, 5, 16)
"""Numbers of labels of the printed table."""
AXES = {"rmse": "RMSE", "rmse-ratio": "RMSE / RMSE of uniform"}
"""What an axis is called where the metric's name is not enough."""


def write_label_curves(results: Results, folder: Path, main: str, task: str) -> list[Path]:
    """``labels.svg`` with the mean over targets, and ``targets.svg`` with a panel for each target.

    Args:
        main: the method that is drawn thick.

    Raises:
        MachineError: the folder cannot be written to.
    """
    found = shown(results, main, task)
    named = ("mean over targets, every ensemble", found.ensembles), ("against the baselines", found.baselines)
    panels = {
        "labels.svg": [(title, curves) for title, curves in named if curves],
        "targets.svg": list(found.targets.items()),
    }
    whole, single = AXES.get(found.metric, found.metric), AXES.get(found.of_target, found.of_target)
    written = []
    for file, own in panels.items():
        if own:
            label = single if file == "targets.svg" else whole
            write_text(folder / file, label_curves_svg(own, label, main))
            written.append(folder / file)
    return written


def headline(results: Results, main: str) -> Results:
    """The rows and metrics for a terminal: no target by itself, few numbers of labels."""
    wanted = ("accuracy", "rmse-ratio", "spread", "effective-heads", "disagreement")
    rows = tuple(
        Row(row.name, {name: row.metrics[name] for name in wanted if name in row.metrics})
        for row in results.rows
        if int(row.name.rpartition(" @")[2]) in SHOWN
    )
    differences = tuple(
        one for one in results.differences if one.a == f"hyre/{main} @5" and one.metric == "accuracy"
    )
    return replace(results, rows=rows, differences=differences)
