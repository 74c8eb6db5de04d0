"""Reliability diagrams: is what was said with confidence .8 right in 80 % of cases?

One small panel per method. Bars are the accuracy of each bin; the coloured part is the gap to the bin's mean
confidence, vermilion where the bin is overconfident, blue where it is underconfident. A dot marks the two
means: on the diagonal there is no gap. Below stands how many answers each bin holds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lmtools.core.statistics import Interval
from lmtools.core.text import short
from lmtools.metrics.calibration import Reliability
from lmtools.report.markdown import cell
from lmtools.report.svg import GREY, draw

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
