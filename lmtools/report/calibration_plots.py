"""The charts of a calibration run, for its page and, drawn here, as the SVG files in `plots/`.

Of each task a reliability diagram of every method: are 80 % of the answers right that were given with
confidence .8? And the methods' risk over coverage: how many of the answers that are given are wrong, if the
least sure ones are held back. ``task_charts`` builds both from a run's predictions.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats
from lmtools.core.files import write_text
from lmtools.core.results import Interval, Results
from lmtools.core.strings import short
from lmtools.data.predictions import Prediction, columns, grouped, read_predictions
from lmtools.metrics.calibration import BINS, bins, risk_coverage
from lmtools.metrics.calibration import Reliability as ReliabilityBins
from lmtools.report.elements import Line, Lines, Reliability
from lmtools.report.markdown import short_interval
from lmtools.report.svg import BLACK, BLUE, GREEN, GREY, PURPLE, VERMILION, draw, panel_columns

# The charts, each for the page and for an SVG file.

ANSWERS, BIN = "answers", "bin"
"""The page's list of answers, which a click on a bin filters, and the filter."""
RISK = "Risk and coverage: how many are wrong among the answers that are given"


def task_charts(
    task: str, methods: Mapping[str, Sequence[Prediction]], results: Results | None, strong: str = ""
) -> tuple[list[Reliability], Lines]:
    """A reliability diagram of each method, and the risk-coverage curves of all.

    Args:
        methods: method -> its predictions for the task.
        results: where the methods' ECE is; None where the run is not finished.
        strong: the method whose curve the page draws thick.
    """
    metrics = {row.name: row.metrics for row in results.rows} if results else {}
    diagrams, curves = [], []
    for method, predictions in methods.items():
        confidence, correct, _ = columns(predictions)
        ece = metrics.get(method, {}).get(f"{task}/ece")
        diagrams.append(reliability_chart(task, method, bins(confidence, correct), ece))
        curves.append(risk_curve(method, confidence, correct))
    return diagrams, risk_chart(curves, strong)


def reliability_chart(
    task: str, method: str, bins: ReliabilityBins, ece: Interval | None = None
) -> Reliability:
    """The diagram of one method; a click on bin k opens its answers on the page."""
    return Reliability(
        method,
        bins.edges.tolist(),
        bins.counts.tolist(),
        _none_if_empty(bins.confidence),
        _none_if_empty(bins.accuracy),
        ANSWERS,
        [{BIN: bin_name(task, method, k)} for k in range(len(bins.counts))],
        ece,
    )


def bin_name(task: str, method: str, k: int) -> str:
    """The option of bin k in the list of answers; the page says it above the list."""
    return f"{task}, {method}, confidence {100 * k / BINS:.0f} to {100 * (k + 1) / BINS:.0f} %"


def _none_if_empty(means: Floats) -> list[float | None]:
    return [None if np.isnan(mean) else float(mean) for mean in means]


def risk_curve(method: str, confidence: ArrayLike, correct: ArrayLike) -> Line:
    """Risk, the share of wrong answers, over coverage from 0 to 1; raises what ``risk_coverage`` raises."""
    coverage, risk = risk_coverage(confidence, correct)
    # Among answers of the highest confidence the risk of any part is that of all: so it is at coverage 0.
    return Line(method, [(0.0, float(risk[0])), *zip(coverage.tolist(), risk.tolist(), strict=True)])


def risk_chart(curves: Sequence[Line], strong: str = "") -> Lines:
    """The curves of all methods on one task."""
    return Lines(
        RISK, curves, "coverage: share of answers given", "share of wrong ones", "rate", strong=strong
    )


# Reliability diagrams as SVG: one small panel per method.
#
# Bars are the accuracy of each bin; the coloured part is the gap to the bin's mean confidence, vermilion
# where the bin is overconfident, blue where it is underconfident. A dot marks the two means: on the diagonal
# there is no gap. Below stands how many answers each bin holds.

BAR, OVER, UNDER = "#C9D3DC", "#E8A371", "#6FB0D8"
"""Accuracy, and tints of the palette's vermilion and blue for the gaps; opaque, so that no seams show."""
SIDE, COUNTS, TITLE, GAP = 1.75, 0.38, 0.46, 0.42
"""Inches: a diagram's side, the height of its counts, of its title, and the room between panels."""
LEFT, RIGHT, BOTTOM, HEADING = 0.55, 0.35, 0.72, 0.34
"""Inches around the panels: the axes' labels, the legend and the figure's heading."""
NARROWEST = 3.6
"""Inches that heading and legend need, even over one panel."""
ACROSS = 4
"""Panels side by side at most."""


def reliability_svg(diagrams: Sequence[Reliability], heading: str = "") -> str:
    """The SVG element of a figure with a panel per diagram, at most four side by side.

    Raises:
        ValueError: no diagrams.
    """
    if not diagrams:
        raise ValueError("a reliability figure needs at least one panel")
    columns = panel_columns(len(diagrams), ACROSS)
    rows = math.ceil(len(diagrams) / columns)
    top = HEADING if heading else 0.06
    width = max(NARROWEST, LEFT + columns * SIDE + (columns - 1) * GAP + RIGHT)
    height = top + rows * (TITLE + SIDE + COUNTS) + (rows - 1) * GAP + BOTTOM

    def plot(figure: Any) -> None:
        if heading:
            line = short(heading, int((width - LEFT) / 0.1))
            figure.text(LEFT / width, 1 - 0.1 / height, line, size=9, va="top", weight="bold")
        for index, diagram in enumerate(diagrams):
            # Two axes that touch: the diagram, and below it the counts on the same scale of confidence.
            row, column = divmod(index, columns)
            left = LEFT + column * (SIDE + GAP)
            base = height - top - row * (TITLE + SIDE + COUNTS + GAP) - TITLE - SIDE
            main = figure.add_axes((left / width, base / height, SIDE / width, SIDE / height))
            below = figure.add_axes(
                (left / width, (base - COUNTS) / height, SIDE / width, COUNTS * 0.86 / height)
            )
            _diagram(main, diagram)
            _counts(below, diagram)
            # Axes are named once: the vertical ones at the left, the horizontal ones under each column.
            if column == 0:
                main.set_ylabel("accuracy", labelpad=2)
                below.set_ylabel("n", rotation=0, labelpad=8, va="center")
            if index + columns >= len(diagrams):
                below.set_xlabel("confidence", labelpad=2)
        _legend(figure)

    names = "; ".join(f"{diagram.title}: ECE {short_interval(diagram.ece)}" for diagram in diagrams)
    return draw(width, height, plot, f"{heading or 'Reliability diagrams'}. {names}")


def _diagram(axes: Any, diagram: Reliability) -> None:
    counts, edges = np.asarray(diagram.counts), np.asarray(diagram.edges)
    filled = counts > 0
    left, width = edges[:-1][filled], np.diff(edges)[filled]
    confidence = np.array(diagram.confidence, dtype=np.float64)[filled]
    accuracy = np.array(diagram.accuracy, dtype=np.float64)[filled]
    axes.bar(left, accuracy, width, align="edge", color=BAR, edgecolor="white", linewidth=0.4)
    gap = confidence - accuracy
    colours = [OVER if over else UNDER for over in confidence > accuracy]
    axes.bar(left, gap, width, accuracy, align="edge", color=colours, edgecolor="white", linewidth=0.4)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.plot(confidence, accuracy, "o", color=BLACK, markersize=2.6, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1), xticklabels=())
    axes.set_yticklabels(("0", ".5", "1"))
    axes.grid(True)
    axes.text(0, 1.135, short(diagram.title, 28), transform=axes.transAxes, size=8, weight="bold")
    figures = f"n = {round(counts.sum())}"
    if diagram.ece is not None:
        figures = f"ECE {short_interval(diagram.ece)}, {figures}"
    axes.text(0, 1.04, figures, transform=axes.transAxes, size=7, color="#333333")


def _counts(axes: Any, diagram: Reliability) -> None:
    counts, edges = np.asarray(diagram.counts), np.asarray(diagram.edges)
    most = counts.max()
    axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=GREY, edgecolor="white")
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
        Line2D([], [], marker="o", markersize=2.6, color=BLACK, linestyle="", label="means of a bin"),
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


# Risk-coverage curves as SVG: one line per method.

COLOURS = (BLACK, BLUE, VERMILION, GREEN, PURPLE)
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
STYLES = tuple((colour, dash) for dash, colour in product(DASHES, COLOURS))
"""Fifteen lines that look different: colours solid first, then dashed, then dotted."""
STEADY = 0.05
"""Coverage from which on the risk must be in view: before it, single answers throw it from 0 to 1."""


def risk_coverage_svg(chart: Lines, heading: str = "") -> str:
    """The SVG element of a figure with the curves of ``risk_chart``.

    Raises:
        ValueError: no curves.
    """
    curves = chart.lines
    if not curves:
        raise ValueError("a risk-coverage figure needs at least one curve")
    width, height = 5.8, max(2.7, 0.6 + 0.17 * len(curves))

    def plot(figure: Any) -> None:
        axes = figure.add_axes((0.5 / width, 0.42 / height, 2.9 / width, (height - 0.8) / height))
        highest = 0.0
        for index, curve in enumerate(curves):
            colour, dash = STYLES[index % len(STYLES)]
            coverage, risk = np.array(curve.points).T
            name = short(curve.name, 28)
            axes.plot(coverage, risk, color=colour, linestyle=dash, linewidth=1.1, label=name)
            # Single sure answers that are wrong may stand far above; they may leave the figure.
            highest = max(highest, risk[coverage >= STEADY].max())
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
    written = []
    for task, methods in grouped(read_predictions(predictions)).items():
        diagrams, risk = task_charts(task, methods, results)
        figures = {"reliability": reliability_svg(diagrams, task), "risk": risk_coverage_svg(risk, task)}
        for name, svg in figures.items():
            path = folder / f"{task}-{name}.svg"
            write_text(path, svg)
            written.append(path)
    return written
