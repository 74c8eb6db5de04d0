"""The figures of a calibration run: of each task reliability diagrams, and risk over coverage."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.files import write_text
from lmtools.core.results import Interval, Results
from lmtools.core.strings import short
from lmtools.data.predictions import columns, grouped, read_predictions
from lmtools.metrics.calibration import Floats, Reliability, bins, risk_coverage
from lmtools.report.markdown import cell
from lmtools.report.svg import BLUE, GREY, VERMILION, draw

# Reliability diagrams: is what was said with confidence .8 right in 80 % of cases?
#
# One small panel per method. Bars are the accuracy of each bin; the coloured part is the gap to the bin's
# mean confidence, vermilion where the bin is overconfident, blue where it is underconfident. A dot marks
# the two means: on the diagonal there is no gap. Below stands how many answers each bin holds.

BAR, OVER, UNDER = "#C9D3DC", "#E8A371", "#6FB0D8"
"""Accuracy, and tints of the palette's vermilion and blue for the gaps; opaque, so that no seams show."""
SIDE, COUNTS, TITLE, GAP = 1.75, 0.38, 0.46, 0.42
"""Inches: a diagram's side, the height of its counts, of its title, and the room between panels."""
LEFT, RIGHT, BOTTOM, HEADING = 0.55, 0.35, 0.72, 0.34
"""Inches around the panels: the axes' labels, the legend and the figure's heading."""
NARROWEST = 3.6
"""Inches that heading and legend need, even over one panel."""
ACROSS = 4


@dataclass(frozen=True)
class Panel:
    """One diagram: a method's bins, and its ECE for the title where it is known."""

    name: str
    bins: Reliability
    ece: Interval | None = None


def reliability_svg(panels: Sequence[Panel], heading: str = "") -> str:
    """The SVG element of a figure with a panel per method, at most four side by side.

    Raises:
        ValueError: no panels.
    """
    if not panels:
        raise ValueError("a reliability figure needs at least one panel")
    columns = across(len(panels))
    rows = math.ceil(len(panels) / columns)
    top = HEADING if heading else 0.06
    width = max(NARROWEST, LEFT + columns * SIDE + (columns - 1) * GAP + RIGHT)
    height = top + rows * (TITLE + SIDE + COUNTS) + (rows - 1) * GAP + BOTTOM

    def plot(figure: Any) -> None:
        if heading:
            line = short(heading, int((width - LEFT) / 0.1))
            figure.text(LEFT / width, 1 - 0.1 / height, line, size=9, va="top", weight="bold")
        for place, panel in enumerate(panels):
            row, column = divmod(place, columns)
            left = LEFT + column * (SIDE + GAP)
            base = height - top - row * (TITLE + SIDE + COUNTS + GAP) - TITLE - SIDE
            main = figure.add_axes((left / width, base / height, SIDE / width, SIDE / height))
            below = figure.add_axes(
                (left / width, (base - COUNTS) / height, SIDE / width, COUNTS * 0.86 / height)
            )
            _diagram(main, panel)
            _counts(below, panel.bins)
            if column == 0:
                main.set_ylabel("accuracy", labelpad=2)
                below.set_ylabel("n", rotation=0, labelpad=8, va="center")
            if place + columns >= len(panels):
                below.set_xlabel("confidence", labelpad=2)
        _legend(figure)

    names = "; ".join(f"{panel.name}: ECE {cell(panel.ece)}" for panel in panels)
    return draw(width, height, plot, f"{heading or 'Reliability diagrams'}. {names}")


def across(panels: int) -> int:
    """How many panels stand side by side: few rows, and no row nearly empty."""
    rows = math.ceil(panels / ACROSS)
    return math.ceil(panels / rows)


def _diagram(axes: Any, panel: Panel) -> None:
    bins = panel.bins
    held = bins.counts > 0
    left, width = bins.edges[:-1][held], np.diff(bins.edges)[held]
    said, right = bins.confidence[held], bins.accuracy[held]
    axes.bar(left, right, width, align="edge", color=BAR, edgecolor="white", linewidth=0.4)
    gaps = [OVER if over else UNDER for over in said > right]
    axes.bar(left, said - right, width, right, align="edge", color=gaps, edgecolor="white", linewidth=0.4)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(said, right, "o", color="#222222", markersize=2.6, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xticklabels=())
    axes.set_yticklabels(("0", ".5", "1"))
    axes.grid(True)
    axes.text(0, 1.135, short(panel.name, 28), transform=axes.transAxes, size=8, weight="bold")
    figures = f"n = {round(bins.counts.sum())}"
    if panel.ece is not None:
        figures = f"ECE {cell(panel.ece)}, {figures}"
    axes.text(0, 1.04, figures, transform=axes.transAxes, size=7, color="#333333")


def _counts(axes: Any, bins: Reliability) -> None:
    most = bins.counts.max()
    axes.bar(bins.edges[:-1], bins.counts, np.diff(bins.edges), align="edge", color=GREY, edgecolor="white")
    axes.set(xlim=(0, 1), ylim=(most * 1.08, 0), xticks=(0, 0.5, 1), yticks=(most,))
    axes.set_xticklabels(("0", ".5", "1"))
    axes.set_yticklabels((f"{round(most)}",))
    axes.spines["top"].set_visible(False)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries = [
        Patch(color=BAR, label="accuracy"),
        Patch(color=OVER, label="overconfident"),
        Patch(color=UNDER, label="underconfident"),
        Line2D([], [], marker="o", markersize=2.6, color="#222222", linestyle="", label="means of a bin"),
    ]
    figure.legend(
        handles=entries,
        loc="lower center",
        ncols=2 if figure.get_figwidth() < 5 else 4,
        frameon=False,
        fontsize=7,
        handlelength=1.2,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


# Risk-coverage curves: how many answers are wrong among those given, if the unsure ones are held back.

COLOURS = ("#222222", BLUE, VERMILION, "#009E73", "#CC79A7")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
STYLES = tuple((colour, dash) for dash, colour in product(DASHES, COLOURS))
"""Fifteen lines that can be told apart: colours solid first, then dashed, then dotted."""
STEADY = 0.05
"""Coverage from which on the risk must be in view: before it, single answers throw it from 0 to 1."""


@dataclass(frozen=True)
class Curve:
    """One method's curve: ``coverage`` (g,) rises to 1, ``risk`` (g,) is the share of wrong answers there."""

    name: str
    coverage: Floats
    risk: Floats

    @classmethod
    def of(cls, name: str, confidence: ArrayLike, correct: ArrayLike) -> "Curve":
        """The curve of graded answers; errors are those of ``risk_coverage``."""
        return cls(name, *risk_coverage(confidence, correct))


def risk_coverage_svg(curves: Sequence[Curve], heading: str = "") -> str:
    """The SVG element of a figure with one line per method.

    Raises:
        ValueError: no curves.
    """
    if not curves:
        raise ValueError("a risk-coverage figure needs at least one curve")
    width, height = 5.8, max(2.7, 0.6 + 0.17 * len(curves))

    def plot(figure: Any) -> None:
        axes = figure.add_axes((0.5 / width, 0.42 / height, 2.9 / width, (height - 0.8) / height))
        for place, curve in enumerate(curves):
            colour, dash = STYLES[place % len(STYLES)]
            # Among answers of the highest confidence the risk of any part is that of all.
            coverage, risk = np.append(0, curve.coverage), np.append(curve.risk[0], curve.risk)
            name = short(curve.name, 28)
            axes.plot(coverage, risk, color=colour, linestyle=dash, linewidth=1.1, label=name)
        highest = max(curve.risk[curve.coverage >= STEADY].max() for curve in curves)
        axes.set(xlim=(0, 1), ylim=(0, 1.08 * highest or 1), xticks=np.arange(0, 1.1, 0.25))
        axes.set_xlabel("coverage: share of questions answered", labelpad=2)
        axes.set_ylabel("risk: share of wrong answers", labelpad=2)
        axes.grid(True)
        figure.text(0.5 / width, 1 - 0.12 / height, short(heading, 60), size=9, va="top", weight="bold")
        corner = ((3.5 / width), 1 - 0.36 / height)
        figure.legend(loc="upper left", bbox_to_anchor=corner, frameon=False, fontsize=7.5, handlelength=2.6)

    names = ", ".join(curve.name for curve in curves)
    return draw(width, height, plot, f"{heading or 'Risk and coverage'}: {names}")


def write_plots(predictions: Path, results: Results, folder: Path) -> list[Path]:
    """`TASK-reliability.svg` and `TASK-risk.svg` in ``folder``, from a run's `predictions.jsonl`.

    Raises:
        DataError: the file is no predictions file.
        MachineError: the folder cannot be written to.
    """
    rows = {row.name: row.metrics for row in results.rows}
    written = []
    for task, methods in grouped(read_predictions(predictions)).items():
        panels, curves = [], []
        for method, own in methods.items():
            confidence, correct, _ = columns(own)
            ece = rows.get(method, {}).get(f"{task}/ece")
            panels.append(Panel(method, bins(confidence, correct), ece))
            curves.append(Curve.of(method, confidence, correct))
        figures = {"reliability": reliability_svg(panels, task), "risk": risk_coverage_svg(curves, task)}
        for name, svg in figures.items():
            path = folder / f"{task}-{name}.svg"
            write_text(path, svg)
            written.append(path)
    return written
