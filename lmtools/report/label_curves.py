"""The figures of a HyRe evaluation: accuracy against the number of labels, and its headline in a few rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmtools.core.files import write_text
from lmtools.core.results import Interval, Results, Row
from lmtools.core.strings import short
from lmtools.report.svg import BLUE, GREY, VERMILION, draw

# Accuracy against the number of labelled examples: one small panel per target, one line per method.
#
# The numbers of labels stand evenly spaced, since the first few matter most. A method that was measured
# without labels only is a dashed horizontal line. With many methods only the highlighted one has its band
# of 95 %.

COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#222222")
"""Of Okabe and Ito's palette, without the highlighted method's vermilion and the yellow, too light here."""
MARKERS = ("o", "s", "^")
DASHES: tuple[Any, ...] = ("-", (0, (1, 1.3)), (0, (5, 1.2, 1, 1.2)))
FLAT: tuple[Any, ...] = ((0, (4, 2)), (0, (7, 2)), (0, (2, 2)))
ACROSS = 5
BANDS = 3
"""As many methods as can have a band each; of more, they would be a fog."""
PLOTS, WIDEST, TALLEST = 9.2, 4.42, 2.7
"""Inches: all panels of a row with the gaps between them, and the most for one panel."""
GAP, LEFT, RIGHT, TITLE = 0.36, 0.52, 0.12, 0.27
TICKS, AXIS = 0.24, 0.2
"""Inches under a panel: its numbers, and the name of the axis under the last one of a column."""
ENTRY, CHARACTER, LINE = 0.5, 0.066, 0.15
"""Inches of the legend: a line's sample with the gap after it, a character, and a row."""
LONGEST = 34
"""Characters of a method's name."""
BAND = "95 % interval"


@dataclass(frozen=True)
class Curve:
    """One method on one target: N, its number of labels -> what was measured, by rising N."""

    name: str
    points: tuple[tuple[int, Interval], ...]


@dataclass(frozen=True)
class Look:
    """How one method is drawn, in every panel alike. A ``flat`` one was measured without labels only."""

    colour: str
    marker: str
    dash: Any
    width: float
    flat: bool

    @property
    def line(self) -> dict[str, Any]:
        """Its line, and that in the legend."""
        dots = {"marker": self.marker, "markersize": 0 if self.flat else 1.4 * self.width + 1}
        return {"color": self.colour, "linestyle": self.dash, "linewidth": self.width, **dots}


def label_curves_svg(
    panels: Sequence[tuple[str, Sequence[Curve]]], ylabel: str = "accuracy", highlight: str | None = None
) -> str:
    """The SVG element of a figure with a titled panel per target, at most five side by side.

    Panels of accuracies reach over the same range, each where its lines are, so that slopes compare; a dashed
    grey line is at .5, where it is in view. Other measures have a range of their own in each panel.

    Args:
        ylabel: what was measured.
        highlight: the name of the method that is drawn thick, with its intervals.

    Raises:
        ValueError: no panels, no points, or a value that is not finite.
    """
    drawn = [(title, [curve for curve in curves if curve.points]) for title, curves in panels]
    panels = [(title, curves) for title, curves in drawn if curves]
    every = [curve for _, curves in panels for curve in curves]
    if not every:
        raise ValueError("a figure of label curves needs at least one curve with a point")
    if not np.isfinite([[one.value, one.low, one.high] for curve in every for _, one in curve.points]).all():
        raise ValueError("the values of a curve must be finite")
    counts = sorted({count for curve in every for count, _ in curve.points})
    looks = _looks(every, highlight)
    banded = [_banded(curves, looks, highlight) for _, curves in panels]
    views = _views([curves for _, curves in panels], banded, ylabel)
    columns = across(len(panels))
    rows = math.ceil(len(panels) / columns)
    side = min(WIDEST, (PLOTS - (columns - 1) * GAP) / columns)
    tall = min(TALLEST, side * (0.7 if side > 2 else 0.85))
    width = LEFT + columns * side + (columns - 1) * GAP + RIGHT
    entries = [*looks, BAND] if any(banded) else list(looks)
    legend_columns, legend_rows = _legend_grid(entries, width)
    bottom = AXIS + (legend_rows + 0.6) * LINE
    height = rows * (TITLE + tall + TICKS) + bottom

    def plot(figure: Any) -> None:
        for place, ((title, curves), view) in enumerate(zip(panels, views, strict=True)):
            row, column = divmod(place, columns)
            left, base = LEFT + column * (side + GAP), height - row * (TITLE + tall + TICKS) - TITLE - tall
            axes = figure.add_axes((left / width, base / height, side / width, tall / height))
            _frame(axes, counts, view, chance=ylabel == "accuracy")
            _lines(axes, curves, counts, looks, banded[place])
            axes.set_title(short(title, int((side + 0.25) / 0.075)), size=8, weight="bold", loc="left", pad=5)
            if column == 0:
                axes.set_ylabel(ylabel)
                axes.yaxis.set_label_coords(-0.37 / side, 0.5)
            if place + columns >= len(panels):
                axes.set_xlabel("number of labels", labelpad=2)
        _legend(figure, entries, looks, legend_columns)

    names = ", ".join(looks)
    titles = ", ".join(title for title, _ in panels)
    return draw(width, height, plot, f"{ylabel} against the number of labels of {names}; panels: {titles}")


def across(panels: int) -> int:
    """How many panels stand side by side: few rows, and no row nearly empty."""
    rows = math.ceil(panels / ACROSS)
    return math.ceil(panels / rows)


def _looks(curves: Iterable[Curve], highlight: str | None) -> dict[str, Look]:
    """Every method's look by its name: the highlighted one, those that learn from labels, the flat ones."""
    most: dict[str, int] = {}
    for curve in curves:
        most[curve.name] = max(most.get(curve.name, 0), curve.points[-1][0])
    order = sorted(most, key=lambda name: (name != highlight, most[name] == 0))
    found: dict[str, Look] = {}
    others = 0
    for name in order:
        flat = most[name] == 0
        if name == highlight:
            found[name] = Look(VERMILION, "o", FLAT[0] if flat else "-", 2.2, flat)
            continue
        turn, place = divmod(others, len(COLOURS))
        turn %= len(MARKERS)
        found[name] = Look(COLOURS[place], MARKERS[turn], (FLAT if flat else DASHES)[turn], 1.1, flat)
        others += 1
    return found


def _banded(curves: Sequence[Curve], looks: Mapping[str, Look], highlight: str | None) -> set[str]:
    """Names of the curves that show their intervals."""
    learning = {curve.name for curve in curves if not looks[curve.name].flat}
    return learning if len(learning) <= BANDS else learning & {highlight}


def _views(
    panels: Sequence[Sequence[Curve]], banded: Sequence[set[str]], ylabel: str
) -> list[tuple[float, float]]:
    """The range of each panel's vertical axis."""
    found = []
    for curves, shown in zip(panels, banded, strict=True):
        values = [one.value for curve in curves for _, one in curve.points]
        bands = [one for curve in curves if curve.name in shown for _, one in curve.points]
        low, high = min(values + [one.low for one in bands]), max(values + [one.high for one in bands])
        if ylabel == "accuracy":
            low, high = (min(low, 0.48), max(high, 0.52)) if low < 0.65 else (low, high)
        else:
            high = min(high, max(2 * float(np.median(values)), low))  # a line may leave the panel
        found.append((low, high))
    if ylabel == "accuracy":
        span = max(0.1, *(high - low for low, high in found))
        starts = [np.clip((low + high - span) / 2, 0, max(0, 1 - span)) for low, high in found]
        found = [(float(start), float(start) + span) for start in starts]
    room = [0.05 * (high - low) or 0.05 * abs(high) or 0.05 for low, high in found]
    return [(low - more, high + more) for (low, high), more in zip(found, room, strict=True)]


def _frame(axes: Any, counts: Sequence[int], view: tuple[float, float], chance: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set(xlim=(-0.3, len(counts) - 0.7), ylim=view, xticks=range(len(counts)))
    axes.set_xticklabels([str(count) for count in counts])
    axes.yaxis.set_major_locator(MaxNLocator(7, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short_number(value)))
    axes.tick_params(labelsize=6.5, pad=2)
    axes.grid(True, axis="y")
    if chance:
        axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (3, 3)), zorder=1)


def _short_number(value: float) -> str:
    """In few characters.

    >>> [_short_number(value) for value in (0.55, 0.0, 1.0, 10.5, 0.00025, 120000)]
    ['.55', '0', '1', '10.5', '2.5e-4', '1.2e5']
    """
    if value and not 1e-3 <= abs(value) < 1e5:
        digits, power = f"{value:.2e}".split("e")
        return f"{float(digits):g}e{int(power)}"
    text = f"{value:g}"
    return text.removeprefix("0") or "0"


def _lines(
    axes: Any, curves: Sequence[Curve], counts: Sequence[int], looks: Mapping[str, Look], banded: set[str]
) -> None:
    for curve in curves:
        look = looks[curve.name]
        if look.flat:
            axes.axhline(curve.points[0][1].value, **look.line, zorder=3)
            continue
        x = [counts.index(count) for count, _ in curve.points]
        values = [one.value for _, one in curve.points]
        axes.plot(x, values, **look.line, markeredgewidth=0, zorder=3 + look.width)
        if curve.name in banded:
            low, high = ([getattr(one, end) for _, one in curve.points] for end in ("low", "high"))
            axes.fill_between(x, low, high, color=look.colour, alpha=0.18, linewidth=0, zorder=2)
            if len(x) == 1:  # a band of no width
                axes.vlines(x, low, high, color=look.colour, alpha=0.4, linewidth=4, zorder=2)


def _legend_grid(names: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of the legend in a figure of this width."""
    longest = max(min(len(name), LONGEST) for name in names)
    columns = max(1, min(len(names), int(width / (ENTRY + CHARACTER * longest))))
    rows = math.ceil(len(names) / columns)
    return math.ceil(len(names) / rows), rows


def _legend(figure: Any, entries: Sequence[str], looks: Mapping[str, Look], columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], **looks[name].line, markeredgewidth=0, label=short(name, LONGEST))
        if name in looks
        else Patch(color=GREY, alpha=0.25, linewidth=0, label=name)
        for name in entries
    ]
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 0),
        ncols=columns,
        frameon=False,
        fontsize=7.5,
        handlelength=2.6,
        columnspacing=1.2,
        labelspacing=0.35,
        borderaxespad=0.2,
    )


# What an evaluation of few labels shows: its rows are named ``METHOD @N``, and a curve goes over N.
#
# The figures (``labels``) and the page (``hyre``) show the same methods.

PLAIN = ("uniform/", "single-head", "mean-difference", "logistic", "best-head/", "simplex/", "ridge")
"""What the main method is drawn beside."""
MEASURED = {"preference": "accuracy", "classification": "accuracy", "regression": "rmse"}
"""Task -> the metric of a single target."""

Curves = dict[str, dict[str, tuple[tuple[int, Interval], ...]]]
"""Method -> metric -> (N, value), by rising N."""


@dataclass(frozen=True)
class Shown:
    """What is drawn.

    ``ensembles``: every ensemble, over all targets; ``baselines``: the main method and the plain ones;
    ``targets``: the latter for each target by name. ``metric`` is that over all targets, ``of_target`` that
    of one of them.
    """

    main: str
    metric: str
    of_target: str
    ensembles: Sequence[Curve]
    baselines: Sequence[Curve]
    targets: Mapping[str, Sequence[Curve]]


def shown(results: Results, main: str, task: str) -> Shown:
    """The curves of a result file, the main method's first, then those that learn from labels.

    Args:
        main: the method that all is about, such as ``hyre/pca``.
        task: of the recipe.
    """
    every = curves(results)
    of_target = MEASURED.get(task, "accuracy")
    whole = "rmse-ratio" if of_target == "rmse" else "accuracy"
    source = main.removeprefix("hyre/")
    close = {
        method: own
        for method, own in every.items()
        if method == main or (method.startswith(PLAIN) and method.rpartition("/")[2] in (method, source))
    }
    ensembles = {
        method: own for method, own in every.items() if method.startswith("hyre/") or method in close
    }
    ending = f"/{of_target}"
    targets = sorted({name for own in every.values() for name in own if name.endswith(ending)})
    return Shown(
        main,
        whole,
        of_target,
        _drawn(ensembles, whole, main),
        _drawn(close, whole, main),
        {name.removesuffix(ending): _drawn(close, name, main) for name in targets},
    )


def curves(results: Results) -> Curves:
    """Every method's values; rows that are not of so many labels are left out."""
    found: dict[str, dict[str, list[tuple[int, Interval]]]] = {}
    for row in results.rows:
        method, _, count = row.name.rpartition(" @")
        if method and count.isdecimal():
            for name, value in row.metrics.items():
                found.setdefault(method, {}).setdefault(name, []).append((int(count), value))
    return {
        method: {name: tuple(sorted(points, key=lambda point: point[0])) for name, points in metrics.items()}
        for method, metrics in found.items()
    }


def _drawn(every: Curves, metric: str, main: str) -> list[Curve]:
    found = [Curve(name, metrics[metric]) for name, metrics in every.items() if metric in metrics]
    return sorted(found, key=lambda curve: (curve.name != main, curve.points[-1][0] == 0))


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
