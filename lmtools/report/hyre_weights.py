"""Weights over heads: what labels made of an ensemble, on the page and as the SVG files in `plots/`.

A page reads `weights.json`, the weights after all labels, and `steps.jsonl`, those after each. Two charts
say it: ``weight_bars``, the weight of every head, and ``weight_moves``, how the shares of all weight and
the number of effective heads change from label to label. The page's script draws them, and so do
``head_weights_svg`` and ``weights_over_labels_svg``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError
from lmtools.core.files import write_text
from lmtools.core.stored import MALFORMED, describe, read_json
from lmtools.core.strings import short
from lmtools.metrics.preference import effective_heads
from lmtools.report.charts import format_value
from lmtools.report.elements import Bars, Facts, Grid, Line, Lines, Part, Prose
from lmtools.report.run_files import FIX, number, records, texts
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
)

# The files of a run.

SETTINGS = ("rule", "loss", "reduction", "temperature", "standardise", "scale", "prior")


@dataclass(frozen=True)
class Weights:
    """The weights (K,) of heads, the sources (K,) they come from, the ids of the labelled pairs."""

    weights: Floats
    sources: tuple[str, ...]
    examples: tuple[str, ...]
    settings: Mapping[str, str]

    @property
    def effective(self) -> float:
        """Effective heads."""
        return heads_heard(self.weights)


@dataclass(frozen=True)
class Step:
    """What so many ``labels`` gave: weights (K,), and the accuracy on pairs that are not among them."""

    labels: int
    weights: Floats
    accuracy: float | None


def read_weights(path: Path) -> Weights | None:
    """The weights in a file; None where it is absent.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        value = read_json(path)
        weights = np.array([number(weight) for weight in value["weights"]])
        sources = texts(value["sources"])
        if not 0 < len(sources) == len(weights):
            raise ValueError("not a source of each weight")
        settings = {name: str(value[name]) for name in SETTINGS if name in value}
        return Weights(weights, sources, texts(value["examples"]), settings)
    except MALFORMED as error:
        raise DataError(f"{path}: no weights of `lmtools hyre adapt`: {describe(error)}", fix=FIX) from error


def read_steps(path: Path, count: int) -> list[Step]:
    """The weights of ``count`` heads label by label; none where the file is absent.

    Raises:
        DataError: it is damaged.
    """

    def step(line: dict[str, Any]) -> Step:
        weights = np.array([number(weight) for weight in line["weights"]])
        if weights.shape != (count,):
            raise ValueError(f"not a weight of each of {count} heads")
        accuracy = line.get("accuracy")
        return Step(int(number(line["labels"])), weights, None if accuracy is None else number(accuracy))

    return list(records(path, step))


# The charts: how the weight of an ensemble is shared among its heads and the sources they come from.

NAMED = 5
"""How many of the heaviest heads are named beside the shares."""
FEW = 12
"""As many numbers of labels as can each stand under a chart."""


def heads_heard(weights: Floats) -> float:
    """Effective heads of weights (K,); all K where every weight is 0."""
    return effective_heads(weights) if weights.any() else float(len(weights))


def heads_by_source(sources: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Source -> the numbers of its heads, in order of first appearance in ``sources`` (K,)."""
    heads: dict[str, list[int]] = {}
    for head, name in enumerate(sources):
        heads.setdefault(name, []).append(head)
    return {name: tuple(numbers) for name, numbers in heads.items()}


def weight_bars(
    weights: ArrayLike, sources: Sequence[str], title: str, before: ArrayLike | None = None
) -> Bars:
    """A bar for each head, named ``SOURCE/NUMBER``, source by source; a mark at 1/K, equal weights.

    Args:
        weights: (K,), which may be negative.
        sources: (K,), where each head comes from.
        before: (K,), the weights before any label.

    Raises:
        ValueError: no heads, lengths that differ, or a weight that is not finite.
    """
    values = _checked(weights, sources)
    prior = None if before is None else _checked(before, sources)
    order = [head for heads in heads_by_source(sources).values() for head in heads]
    return Bars(
        title,
        [(f"{sources[head]}/{head}", float(values[head])) for head in order],
        groups=[sources[head] for head in order],
        mark=(1 / len(values), "equal weights"),
        upright=True,
        y="weight",
        before=() if prior is None else prior[order].tolist(),
    )


def weight_moves(
    labels: Sequence[int], history: Sequence[ArrayLike], sources: Sequence[str]
) -> tuple[Lines, Lines]:
    """Shares of all weight, and effective heads, over the number of labels.

    Args:
        labels: (N,), rising.
        history: N weights (K,), after so many labels. Of weights that may be negative the size counts; where
            all are 0, all heads are alike.
        sources: (K,), where each head comes from.

    Raises:
        ValueError: lengths that differ, or a weight that is not finite.
    """
    steps = np.array([_checked(weights, sources) for weights in history])
    x, even = "number of labels", len(steps) <= FEW
    effective = _line("effective heads", labels, [heads_heard(weights) for weights in steps])
    return (
        Lines("Share of all weight", share_lines(labels, steps, sources), x, "share", "rate", even),
        Lines("Heads that are heard", [effective], x, "heads", even=even),
    )


def share_lines(labels: Sequence[int], history: Floats, sources: Sequence[str]) -> list[Line]:
    """Source by source, the heads that are heaviest at the end, then the source's others; all sum to 1."""
    size = np.abs(history)
    size[~size.any(axis=1)] = 1.0
    share = size / size.sum(axis=1, keepdims=True)
    heaviest = set(np.argsort(-share[-1], kind="stable")[:NAMED].tolist())
    lines = []
    for source, heads in heads_by_source(sources).items():
        named = sorted(heaviest & set(heads), key=lambda head: -share[-1, head])
        for head in named:
            lines.append(_line(f"{source}/{head}", labels, share[:, head].tolist(), group=source))
        if rest := [head for head in heads if head not in heaviest]:
            name = f"{source}, other" if named else source
            total = share[:, rest].sum(axis=1).tolist()
            lines.append(_line(name, labels, total, group=source, rest=True))
    return lines


def _line(name: str, x: Sequence[int], y: Sequence[float], group: str = "", rest: bool = False) -> Line:
    points = [(float(at), value) for at, value in zip(x, y, strict=True)]
    return Line(name, points, group=group, rest=rest)


def _checked(weights: ArrayLike, sources: Sequence[str]) -> Floats:
    """The weights as an array; ValueError where there is not one finite weight per source."""
    values: Floats = np.asarray(weights, dtype=np.float64)
    if not len(sources) or values.shape != (len(sources),):
        raise ValueError(f"weights of shape {values.shape} are not those of {len(sources)} heads")
    if not np.isfinite(values).all():
        raise ValueError("a weight is not finite")
    return values


def _heaviest(chart: Bars) -> list[int]:
    """The rows of ``weight_bars`` by falling size; of equal ones the head of the lower number first."""
    rows = [(-abs(value), int(name.rpartition("/")[2])) for name, value in chart.rows]
    return sorted(range(len(rows)), key=rows.__getitem__)


# On the page.

MOST_HEADS = 1000
"""Bars of a chart: about as many as a screen has points."""
MOST_STEPS = 200
"""Numbers of labels of a chart."""


def weight_parts(fit: Weights, steps: Sequence[Step]) -> list[Part]:
    """One adaptation: the weights after all labels, how they came about, and the rule that made them."""
    chart = weight_bars(fit.weights, fit.sources, "Weight of each head")
    heard = f"After {len(fit.examples)} labels {fit.effective:.1f} of {len(fit.weights)} heads are heard."
    heavy = [chart.rows[row] for row in _heaviest(chart)[:3]]
    most = ", ".join(f"{name} ({format_value(value, 'number')})" for name, value in heavy)
    parts: list[Part] = [Prose(f"{heard} Most weight: {most}."), heaviest_bars(chart)]
    if len(steps) > 1:
        parts.append(Grid(_moves(steps, fit.sources)))
    else:
        parts.append(Prose("How the weights moved from label to label is not in this run.", "note"))
    return [*parts, Facts(fit.settings, "How labels become weights", folded=True)]


def heaviest_bars(chart: Bars) -> Bars:
    """``weight_bars`` of at most ``MOST_HEADS`` heads, the heaviest; the title says so."""
    heads = len(chart.rows)
    if heads <= MOST_HEADS:
        return chart
    kept = sorted(_heaviest(chart)[:MOST_HEADS])
    return replace(
        chart,
        title=f"{chart.title}, the {MOST_HEADS} heaviest of {heads:,}",
        rows=[chart.rows[row] for row in kept],
        groups=[chart.groups[row] for row in kept],
    )


def _moves(steps: Sequence[Step], sources: Sequence[str]) -> list[Lines]:
    """``weight_moves``, and before them the accuracy where a run has it."""
    stride = -(-len(steps) // MOST_STEPS)
    thinned = [*steps[:-1:stride], steps[-1]]
    shares, effective = weight_moves(
        [step.labels for step in thinned], [step.weights for step in thinned], sources
    )
    measured = [(step.labels, step.accuracy) for step in thinned if step.accuracy is not None]
    if len(measured) < 2:
        return [shares, effective]
    right = Line("accuracy", [(float(labels), accuracy) for labels, accuracy in measured])
    title = "Accuracy on the pairs without a label"
    return [Lines(title, [right], shares.x, "accuracy", "rate", shares.even), shares, effective]


# As SVG.

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION, BLACK, "#A89B00")
"""By source, from the first on; the last is Okabe and Ito's yellow, darkened."""
WIDTH, LEFT, RIGHT, TOP = 7.2, 0.66, 0.15, 0.56
PLOT, NAMES = 1.9, 0.15
"""Inches: the height of the bars, and of a row of sources' names under them."""
CHARACTER = 0.063
"""Inches of one character of a source's name."""
LISTED = 3
"""How many of the heaviest heads are named over the bars."""


def write_weight_plots(
    folder: Path, weights: ArrayLike, sources: Sequence[str], history: Sequence[Floats], examples: int
) -> list[Path]:
    """``weights.svg``, and of a history with several steps ``answers.svg``.

    Args:
        weights: (K,), after all labels.
        sources: (K,), where each head comes from.
        history: N + 1 weights (K,): before any label, after the first, ... after the last; may be empty.
        examples: how many pairs are labelled.

    Raises:
        ValueError: lengths that differ, or a weight that is not finite.
        MachineError: the folder cannot be written to.
    """
    before = history[0] if len(history) and history[0].any() else None
    figures = {
        "weights.svg": head_weights_svg(
            weight_bars(weights, sources, f"{examples} labelled pairs", before),
        )
    }
    if len(history) > 1:
        moves = weight_moves(range(len(history)), history, sources)
        figures["answers.svg"] = weights_over_labels_svg(*moves, len(sources))
    for file, svg in figures.items():
        write_text(folder / file, svg)
    return [folder / file for file in figures]


def head_weights_svg(chart: Bars) -> str:
    """The SVG element of ``weight_bars``, each source in a colour of its own and named under its bars.

    The chart's title stands before the effective number of heads. A dark outline shows the weights before
    any label, if they are not all alike.
    """
    weights, before = np.array([value for _, value in chart.rows]), np.array(chart.before)
    colours = _colours(chart.groups)
    # Names stand in as many rows as they need under the bars, and the figure grows with the rows.
    spans = [(source, len(list(heads))) for source, heads in groupby(chart.groups)]
    inches = WIDTH - LEFT - RIGHT
    spots = _spots(spans, inches / len(weights))
    bottom = 0.08 + NAMES * (1 + max(row for _, row in spots))
    height = TOP + PLOT + bottom
    heading = f"{heads_heard(weights):.1f} effective heads of {len(weights)}"
    heading = f"{short(chart.title, 52)}: {heading}" if chart.title else heading

    def plot(figure: Any) -> None:
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, inches / WIDTH, PLOT / height))
        x = np.arange(len(weights))
        bars = [colours[source] for source in chart.groups]
        axes.bar(x, weights, 1.0 if len(weights) > 60 else 0.8, color=bars, linewidth=0)
        if chart.mark is not None:
            at, text = chart.mark
            dashes = {"linewidth": 0.9, "linestyle": (0, (4, 3))}
            axes.axhline(at, color=GREY, label=f"{text}, 1/K", **dashes)
        if len(before) and not np.allclose(before, before[0]):
            edges = np.arange(len(weights) + 1) - 0.5
            axes.stairs(before, edges, color=BLACK, linewidth=0.8, label="before any example")
        if weights.min() < 0:
            axes.axhline(0, color=GREY, linewidth=0.6)
        # A head needs no tick: its source is named below, and the heaviest heads above.
        axes.set(xlim=(-0.5, len(weights) - 0.5), xticks=())
        axes.set_ylabel(chart.y, labelpad=4)
        axes.grid(True, axis="y")
        _names(axes, spans, spots, colours)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=7, borderpad=0)
        figure.text(LEFT / WIDTH, 1 - 0.08 / height, heading, size=9, va="top", weight="bold")
        heavy = [chart.rows[row] for row in _heaviest(chart)[:LISTED]]
        line = short("most weight: " + ", ".join(f"{name} {value:.3f}" for name, value in heavy), 110)
        figure.text(LEFT / WIDTH, 1 - 0.27 / height, line, size=7, va="top", color="#333333")

    return draw(WIDTH, height, plot, f"Weights of heads. {heading}")


def weights_over_labels_svg(shares: Lines, effective: Lines, heads: int) -> str:
    """The SVG element of ``weight_moves``: how weight and effective heads move with each label.

    Above, each source's share of all weight, stacked; the heads that are heaviest at the end are set off
    within their source and named. Below, the effective number of heads.

    Args:
        heads: K.

    Raises:
        ValueError: fewer than two steps.
    """
    x, counts = np.array(effective.lines[0].points).reshape(-1, 2).T
    if len(x) < 2:
        raise ValueError("a figure of weights over labels needs the weights of two or more steps")
    colours = _colours([line.group for line in shares.lines])
    # The labels beside the areas decide how much room is left for both plots.
    height = 0.45 + PLOT + 0.2 + 1.0 + 0.42
    right = 0.25 + CHARACTER * max(len(_label(line)) for line in shares.lines)

    def plot(figure: Any) -> None:
        inside = (WIDTH - LEFT - right) / WIDTH
        above = figure.add_axes((LEFT / WIDTH, (0.42 + 1.0 + 0.2) / height, inside, PLOT / height))
        below = figure.add_axes((LEFT / WIDTH, 0.42 / height, inside, 1.0 / height))
        _stack(above, x, shares.lines, colours)
        dot = 3 if len(x) < 40 else 0
        below.plot(x, counts, color=BLACK, linewidth=1.4, marker="o", markersize=dot, clip_on=False)
        # One axis of labels for both plots, named under the lower one.
        for axes in (above, below):
            axes.set(xlim=(x[0], x[-1]))
            axes.xaxis.get_major_locator().set_params(integer=True)
        above.set(ylim=(0, 1), yticks=(0, 0.5, 1), xticklabels=())
        above.set_ylabel("share of weight", labelpad=2)
        below.set(ylim=(0, 1.08 * counts.max()))
        below.set_ylabel("effective heads", labelpad=2)
        below.set_xlabel(effective.x, labelpad=2)
        below.grid(True)
        last, beside = f"{counts[-1]:.1f} of {heads}", below.get_yaxis_transform()
        below.text(1.01, counts[-1], last, transform=beside, size=7, va="center")
        line = "share of weight by source, and how many heads carry it"
        figure.text(LEFT / WIDTH, 1 - 0.08 / height, line, size=9, va="top", weight="bold")

    label = f"Weight of {', '.join(colours)} over {len(x) - 1} labels"
    return draw(WIDTH, height, plot, f"{label}: effective heads from {counts[0]:.1f} to {counts[-1]:.1f}")


def _colours(groups: Sequence[str]) -> dict[str, str]:
    """Source -> its colour, in order of first appearance."""
    return {name: COLOURS[turn % len(COLOURS)] for turn, name in enumerate(dict.fromkeys(groups))}


def _label(line: Line) -> str:
    """Its name and last share."""
    return f"{short(line.name, 24)} {line.points[-1][1]:.2f}"


def _stack(axes: Any, x: Floats, lines: Sequence[Line], colours: Mapping[str, str]) -> None:
    """Areas on each other, each named beside its end."""
    shares = np.array([[share for _, share in line.points] for line in lines])
    ends = np.cumsum(shares, axis=0)
    middles = [float(end[-1] - share[-1] / 2) for share, end in zip(shares, ends, strict=True)]
    spots = _apart(middles, 0.075)
    for line, share, end, spot in zip(lines, shares, ends, spots, strict=True):
        look = {"color": colours[line.group], "alpha": 0.45 if line.rest else 0.9}
        axes.fill_between(x, end - share, end, linewidth=0, **look)
        axes.plot(x, end, color="white", linewidth=0.8)
        beyond = {"transform": axes.transAxes, "va": "center"}
        axes.text(1.012, spot, "■", size=6, **look, **beyond)
        axes.text(1.035, spot, _label(line), size=7, **beyond)


def _apart(positions: Sequence[float], gap: float) -> list[float]:
    """Positions in [0, 1] near these rising ones and ``gap`` apart, as far as there is room."""
    gap = min(gap, 1 / max(1, len(positions) - 1))
    spread: list[float] = []
    # Upwards each is moved away from the one below it; downwards all are moved back below 1.
    for at in positions:
        spread.append(max(at, spread[-1] + gap) if spread else at)
    limit = 1.0
    for turn in reversed(range(len(spread))):
        spread[turn] = min(spread[turn], limit)
        limit = spread[turn] - gap
    return spread


def _spots(spans: Sequence[tuple[str, int]], head: float) -> list[tuple[float, int]]:
    """Where each source's name stands: its middle, in heads from the left end of the axis, and its row.

    No name runs into another or out of the figure.

    Args:
        spans: each source and the number of its heads.
        head: the width of a head in inches.
    """
    ends: list[float] = []  # of each row, in inches
    spots, start = [], 0
    heads = sum(count for _, count in spans)
    for name, count in spans:
        half = CHARACTER * len(short(name, 20)) / 2
        middle = (start + count / 2) * head
        middle = max(half - LEFT, min(middle, heads * head + RIGHT - 0.05 - half))
        row = next((row for row, end in enumerate(ends) if middle - half > end), len(ends))
        ends[row : row + 1] = [middle + half + CHARACTER]
        spots.append((middle / head, row))
        start += count
    return spots


def _names(
    axes: Any,
    spans: Sequence[tuple[str, int]],
    spots: Sequence[tuple[float, int]],
    colours: Mapping[str, str],
) -> None:
    """A coloured line under each source's bars, and its name."""
    start = -0.5
    under = axes.get_xaxis_transform()
    for (name, count), (middle, row) in zip(spans, spots, strict=True):
        end = start + count
        axes.plot((start, end), (-0.02, -0.02), color=colours[name], linewidth=2.5, transform=under,
                  clip_on=False, solid_capstyle="butt")  # fmt: skip
        down = -0.04 - row * NAMES / PLOT
        axes.text(middle - 0.5, down, short(name, 20), transform=under, size=7.5, ha="center", va="top")
        start = end
