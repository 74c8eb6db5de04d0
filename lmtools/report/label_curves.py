"""A HyRe evaluation against the number of labels: its charts, for the page and as the SVG files in `plots/`.

The rows of an evaluation are named ``METHOD @N``. ``label_charts`` makes curves over N of them: over all
targets and target by target, of the main method beside the plain ones and beside the other ensembles.
``label_curves_svg`` draws such charts as the panels of one figure, and ``headline`` picks the few rows that a
terminal has room for.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lmtools.core.files import write_text
from lmtools.core.results import Interval, Results, Row
from lmtools.core.strings import short
from lmtools.report.elements import Line, Lines
from lmtools.report.sentences import unit
from lmtools.report.svg import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    draw,
    panel_columns,
)

# From rows to charts.

PLAIN = ("uniform/", "single-head", "mean-difference", "logistic", "best-head/", "simplex/", "ridge")
"""What the main method is drawn beside."""
MEASURED = {"preference": "accuracy", "classification": "accuracy", "regression": "rmse"}
"""Task -> the metric of a single target."""
X = "number of labels"

Curves = dict[str, dict[str, tuple[tuple[int, Interval], ...]]]
"""Method -> metric -> (N, value), by rising N."""


@dataclass(frozen=True)
class LabelCharts:
    """What is drawn of an evaluation.

    ``ensembles``: every ensemble, over all targets; ``baselines``: the main method and the plain ones;
    ``targets``: the latter for each target by name.
    """

    ensembles: Lines
    baselines: Lines
    targets: Mapping[str, Lines]


def label_charts(results: Results, main: str, task: str) -> LabelCharts:
    """The charts of a result file, the main method's curve first, then those that learn from labels.

    Args:
        main: the method that all is about, such as ``hyre/pca``.
        task: of the recipe.
    """
    methods = label_curves(results)
    target_metric = MEASURED.get(task, "accuracy")
    metric = "rmse-ratio" if target_metric == "rmse" else "accuracy"
    # Plain methods over the heads of the main one, or over no heads at all.
    source = main.removeprefix("hyre/")
    plain = {
        method: metrics
        for method, metrics in methods.items()
        if method == main or (method.startswith(PLAIN) and method.rpartition("/")[2] in (method, source))
    }
    ensembles = {
        method: metrics
        for method, metrics in methods.items()
        if method.startswith("hyre/") or method in plain
    }
    ending = f"/{target_metric}"
    targets = sorted({name for metrics in methods.values() for name in metrics if name.endswith(ending)})

    def chart(title: str, curves: Curves, key: str, y: str) -> Lines:
        lines = label_lines(curves, key)
        lines.sort(key=lambda line: (line.name != main, line.flat))
        return label_chart(title, lines, y, main)

    return LabelCharts(
        chart("Every ensemble, mean over targets", ensembles, metric, metric),
        chart("Against the baselines, mean over targets", plain, metric, metric),
        {
            name: chart(name, plain, f"{name}{ending}", target_metric)
            for name in (target.removesuffix(ending) for target in targets)
        },
    )


def label_curves(results: Results) -> Curves:
    """Every method's values; rows that are not of so many labels are left out."""
    curves: dict[str, dict[str, list[tuple[int, Interval]]]] = {}
    for row in results.rows:
        method, _, count = row.name.rpartition(" @")
        if method and count.isdecimal():
            for name, value in row.metrics.items():
                curves.setdefault(method, {}).setdefault(name, []).append((int(count), value))
    return {
        method: {name: tuple(sorted(points, key=lambda point: point[0])) for name, points in metrics.items()}
        for method, metrics in curves.items()
    }


def label_lines(curves: Curves, key: str) -> list[Line]:
    """The curve of every method that has the metric."""
    return [label_line(method, metrics[key]) for method, metrics in curves.items() if key in metrics]


def label_line(method: str, points: Sequence[tuple[int, Interval]]) -> Line:
    """A method's values (N, value) by rising N; a method that was measured without labels only is flat."""
    values = [(float(n), value.value, value.low, value.high) for n, value in points]
    return Line(method, values, flat=bool(points) and points[-1][0] == 0)


def label_chart(title: str, lines: Sequence[Line], metric: str, main: str) -> Lines:
    """Curves over the number of labels; these stand evenly spaced, since the first few matter most."""
    return Lines(title, lines, X, metric, unit(metric), even=True, strong=main)


# The charts as SVG: one small panel per chart, one line per method, in every panel alike.
#
# A method that was measured without labels only is a dashed horizontal line. Every line ends in its name, or
# in small panels in a letter, which the legend explains. With many methods only the highlighted one has its
# band of 95 %.

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, BLACK)
"""Without the highlighted method's vermilion."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (1, 1.3)), (0, (5, 1.2, 1, 1.2)))
FLAT: tuple[Any, ...] = ((0, (4, 2)), (0, (7, 2)), (0, (2, 2)))
ACROSS = 5
"""Panels side by side at most."""
BANDS = 6
"""As many methods as can have a band each; of more, they would be a fog."""
PLOTS, WIDEST, TALLEST = 9.2, 4.42, 2.7
"""Inches: all panels of a row with the gaps between them, and the most for one panel."""
GAP, LEFT, TITLE = 0.36, 0.52, 0.27
TICKS, AXIS = 0.24, 0.2
"""Inches under a panel: its numbers, and the name of the axis under the last one of a column."""
NAMED, NAME, LEADER = 2, 0.11, 0.12
"""Most panels side by side whose lines end in names; inches between names, and from a line to its name."""
ENTRY, CHARACTER, LINE = 0.5, 0.066, 0.15
"""Inches of the legend: a line's sample with the gap after it, a character, and a row."""
LONGEST = 34
"""Characters of a method's name."""
BAND = "95 % interval"
AXES = {"rmse": "RMSE", "rmse-ratio": "RMSE / RMSE of uniform"}
"""What an axis is called where the metric's name is not enough."""


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
        dots = {"marker": self.marker, "markersize": 0 if self.flat else 1.1 * self.width + 2}
        return {"color": self.colour, "linestyle": self.dash, "linewidth": self.width, **dots}


def label_curves_svg(charts: Sequence[Lines]) -> str:
    """The SVG element of a figure with a titled panel per chart of one metric, at most five side by side.

    Panels of accuracies reach over the same range, each where its lines are, so that slopes compare; a dashed
    grey line is at .5, where it is in view. Other measures have a range of their own in each panel. The
    ``strong`` method is drawn thick, with its intervals.

    Args:
        charts: of ``label_chart``, all of the same metric and main method.

    Raises:
        ValueError: no charts, no points, or a value that is not finite.
    """
    drawn = [(chart.title, [line for line in chart.lines if line.points]) for chart in charts]
    panels = [(title, lines) for title, lines in drawn if lines]
    lines = [line for _, panel_lines in panels for line in panel_lines]
    if not lines:
        raise ValueError("a figure of label curves needs at least one curve with a point")
    if not np.isfinite([point[1:] for line in lines for point in line.points]).all():
        raise ValueError("the values of a curve must be finite")
    # Ticks, looks and ranges are worked out over all panels, so that these can be compared.
    ylabel, highlight = AXES.get(charts[0].y, charts[0].y), charts[0].strong
    counts = sorted({point[0] for line in lines for point in line.points})
    looks = _looks(lines, highlight)
    banded = [_banded(lines, looks, highlight) for _, lines in panels]
    views = _views([lines for _, lines in panels], banded, ylabel)
    # The size of a panel follows from how many stand in a row, the figure's from all panels and the legend.
    columns = panel_columns(len(panels), ACROSS)
    rows = math.ceil(len(panels) / columns)
    named = columns <= NAMED
    tags = {name: short(name, LONGEST) if named else _letter(turn) for turn, name in enumerate(looks)}
    room = 2 * LEADER + CHARACTER * max(map(len, tags.values()))
    side = min(WIDEST, (PLOTS - (columns - 1) * GAP) / columns - room)
    tall = max(min(TALLEST, side * (0.7 if side > 2 else 0.85)), NAME * max(len(ls) for _, ls in panels))
    width = LEFT + columns * (side + room) + (columns - 1) * GAP
    entries = [*([] if named else looks), *([BAND] if any(banded) else [])]
    legend_columns, legend_rows = _legend_grid(entries, width)
    bottom = AXIS + (legend_rows + 0.6) * LINE
    height = rows * (TITLE + tall + TICKS) + bottom

    def plot(figure: Any) -> None:
        for index, ((title, lines), view) in enumerate(zip(panels, views, strict=True)):
            row, column = divmod(index, columns)
            left, base = (
                LEFT + column * (side + room + GAP),
                height - row * (TITLE + tall + TICKS) - TITLE - tall,
            )
            axes = figure.add_axes((left / width, base / height, side / width, tall / height))
            _frame(axes, counts, view, chance=ylabel == "accuracy")
            _lines(axes, lines, counts, looks, banded[index])
            _end_names(axes, lines, counts, looks, tags, side, tall)
            # The axes are named once: the vertical one at the left, the other under the last of a column.
            axes.set_title(short(title, int((side + 0.25) / 0.075)), size=8, weight="bold", loc="left", pad=5)
            if column == 0:
                axes.set_ylabel(ylabel)
                axes.yaxis.set_label_coords(-0.37 / side, 0.5)
            if index + columns >= len(panels):
                axes.set_xlabel(X, labelpad=2)
        if entries:
            _legend(figure, entries, looks, tags, legend_columns)

    names = ", ".join(looks)
    titles = ", ".join(title for title, _ in panels)
    return draw(width, height, plot, f"{ylabel} against the {X} of {names}; panels: {titles}")


def _looks(lines: Iterable[Line], highlight: str) -> dict[str, Look]:
    """Every method's look by its name: the highlighted one, those that learn from labels, the flat ones."""
    most: dict[str, float] = {}
    for line in lines:
        most[line.name] = max(most.get(line.name, 0), line.points[-1][0])
    order = sorted(most, key=lambda name: (name != highlight, most[name] == 0))
    looks: dict[str, Look] = {}
    for name in order:
        flat = most[name] == 0
        if name == highlight:
            looks[name] = Look(VERMILION, "o", FLAT[0] if flat else "-", 2.2, flat)
            continue
        # Colour, marker and dash change from one to the next, so that lines over each other are told apart.
        turn = len(looks) - (highlight in looks)
        dash = (FLAT if flat else DASHES)[turn % 3]
        looks[name] = Look(COLOURS[turn % len(COLOURS)], MARKERS[(turn + 1) % len(MARKERS)], dash, 1.1, flat)
    return looks


def _banded(lines: Sequence[Line], looks: Mapping[str, Look], highlight: str) -> set[str]:
    """Names of the curves that show their intervals."""
    learning = {line.name for line in lines if not looks[line.name].flat}
    return learning if len(learning) <= BANDS else learning & {highlight}


def _views(
    panels: Sequence[Sequence[Line]], banded: Sequence[set[str]], ylabel: str
) -> list[tuple[float, float]]:
    """The range of each panel's vertical axis."""
    views = []
    for lines, names in zip(panels, banded, strict=True):
        values = [point[1] for line in lines for point in line.points]
        bands = [point[2:] for line in lines if line.name in names for point in line.points]
        low, high = min(values + [low for low, _ in bands]), max(values + [high for _, high in bands])
        if ylabel == "accuracy":
            low, high = (min(low, 0.48), max(high, 0.52)) if low < 0.65 else (low, high)
        else:
            high = min(high, max(2 * float(np.median(values)), low))  # a line may leave the panel
        views.append((low, high))
    if ylabel == "accuracy":
        # The widest range for all, centred on each panel's own and kept inside [0, 1].
        span = max(0.1, *(high - low for low, high in views))
        starts = [np.clip((low + high - span) / 2, 0, max(0, 1 - span)) for low, high in views]
        views = [(float(start), float(start) + span) for start in starts]
    margins = [0.05 * (high - low) or 0.05 * abs(high) or 0.05 for low, high in views]
    return [(low - margin, high + margin) for (low, high), margin in zip(views, margins, strict=True)]


def _frame(axes: Any, counts: Sequence[float], view: tuple[float, float], chance: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set(xlim=(-0.3, len(counts) - 0.7), ylim=view, xticks=range(len(counts)))
    axes.set_xticklabels([f"{count:.0f}" for count in counts])
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
    axes: Any, lines: Sequence[Line], counts: Sequence[float], looks: Mapping[str, Look], banded: set[str]
) -> None:
    for line in lines:
        look = looks[line.name]
        if look.flat:
            axes.axhline(line.points[0][1], **look.line, zorder=3)
            continue
        x = [counts.index(point[0]) for point in line.points]
        values = [point[1] for point in line.points]
        axes.plot(x, values, **look.line, markeredgewidth=0, zorder=3 + look.width)
        if line.name in banded:
            low, high = ([point[end] for point in line.points] for end in (2, 3))
            alpha = 0.2 if look.width > 2 or len(banded) < 3 else 0.1
            axes.fill_between(x, low, high, color=look.colour, alpha=alpha, linewidth=0, zorder=2)
            if len(x) == 1:  # a band of no width
                axes.vlines(x, low, high, color=look.colour, alpha=0.4, linewidth=4, zorder=2)


def _end_names(
    axes: Any,
    lines: Sequence[Line],
    counts: Sequence[float],
    looks: Mapping[str, Look],
    tags: Mapping[str, str],
    side: float,
    tall: float,
) -> None:
    """The name of each line at its end, or as near as the others let it."""
    low, high = axes.get_ylim()
    ends = [min(max((line.points[-1][1] - low) / (high - low), 0), 1) for line in lines]
    for line, end, height in zip(lines, ends, spread(ends, NAME / tall), strict=True):
        look = looks[line.name]
        last = len(counts) - 1 if look.flat else counts.index(line.points[-1][0])
        axes.annotate(
            tags[line.name],
            (1 if look.flat else (last + 0.3) / (len(counts) - 0.4), end),
            (1 + LEADER / side, height),
            xycoords="axes fraction",
            textcoords="axes fraction",
            va="center",
            size=6.5,
            weight="bold" if look.width > 2 else "normal",
            color=look.colour,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": look.colour,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 1,
            },
        )


def spread(ideal: Sequence[float], gap: float) -> list[float]:
    """Heights from 0 to 1, near the ideal ones, any two at least ``gap`` apart where there is room.

    >>> spread([1.0, 0.5, 1.0], 0.25)
    [0.75, 0.5, 1.0]
    """
    order = sorted(range(len(ideal)), key=lambda index: ideal[index])
    heights, least, most = list(ideal), 0.0, 1.0
    for index in order:
        heights[index] = max(heights[index], least)
        least = heights[index] + gap
    for index in reversed(order):
        heights[index] = min(heights[index], most)
        most = heights[index] - gap
    return heights


def _letter(turn: int) -> str:
    """A, B ... Z, AA, AB ..."""
    return (_letter(turn // 26 - 1) if turn >= 26 else "") + chr(ord("A") + turn % 26)


def _legend_grid(names: Sequence[str], width: float) -> tuple[int, int]:
    """Columns and rows of the legend in a figure of this width."""
    if not names:
        return 0, 0
    longest = max(min(len(name), LONGEST) for name in names)
    columns = max(1, min(len(names), int(width / (ENTRY + CHARACTER * longest))))
    rows = math.ceil(len(names) / columns)
    return math.ceil(len(names) / rows), rows


def _legend(
    figure: Any, entries: Sequence[str], looks: Mapping[str, Look], tags: Mapping[str, str], columns: int
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], **looks[name].line, markeredgewidth=0, label=f"{tags[name]}: {short(name, LONGEST)}")
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


def write_label_curves(results: Results, folder: Path, main: str, task: str) -> list[Path]:
    """``labels.svg`` with the mean over targets, and ``targets.svg`` with a panel for each target.

    Args:
        main: the method that is drawn thick.

    Raises:
        MachineError: the folder cannot be written to.
    """
    charts = label_charts(results, main, task)
    means = [
        replace(charts.ensembles, title="mean over targets, every ensemble"),
        replace(charts.baselines, title="against the baselines"),
    ]
    figures = {
        "labels.svg": [chart for chart in means if chart.lines],
        "targets.svg": list(charts.targets.values()),
    }
    written = []
    for file, panels in figures.items():
        if panels:
            write_text(folder / file, label_curves_svg(panels))
            written.append(folder / file)
    return written


# The headline, for a terminal.

PRINTED_LABELS = (0, 5, 16)
"""Numbers of labels of the printed table."""
PRINTED_METRICS = ("accuracy", "rmse-ratio", "spread", "effective-heads", "disagreement")


def headline(results: Results, main: str) -> Results:
    """The rows and metrics to print: no target by itself, few numbers of labels."""
    rows = tuple(
        Row(row.name, {name: row.metrics[name] for name in PRINTED_METRICS if name in row.metrics})
        for row in results.rows
        if int(row.name.rpartition(" @")[2]) in PRINTED_LABELS
    )
    differences = tuple(
        difference
        for difference in results.differences
        if difference.a == f"hyre/{main} @5" and difference.metric == "accuracy"
    )
    return replace(results, rows=rows, differences=differences)
