"""Weights over heads: what labels made of an ensemble, from `weights.json` and `steps.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.errors import DataError
from lmtools.core.strings import short
from lmtools.metrics.preference import Floats, effective_heads
from lmtools.report.charts import said
from lmtools.report.elements import Bars, Facts, Grid, Line, Lines, Part, Prose
from lmtools.report.run_files import FIX, number, records, texts
from lmtools.report.svg import BLUE, GREY, VERMILION, draw

# How the weight of an ensemble is shared among its heads and the sources they come from.

NAMED = 5
"""How many of the heaviest heads are named beside the shares."""


@dataclass(frozen=True)
class Group:
    """The heads of one source: their places in the ensemble; ``turn`` is the source's number."""

    name: str
    places: tuple[int, ...]
    turn: int


@dataclass(frozen=True)
class Area:
    """Part of all weight, ``share`` (N + 1,): of one head, ``alone``, or of the others of its group."""

    name: str
    share: Floats
    group: Group
    alone: bool


def groups(sources: Sequence[str]) -> list[Group]:
    """Heads by source (K,), in order of first appearance."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(sources):
        places.setdefault(name, []).append(place)
    return [Group(name, tuple(own), turn) for turn, (name, own) in enumerate(places.items())]


def areas(history: ArrayLike, sources: Sequence[str]) -> list[Area]:
    """Source by source, the heads that are heaviest at the end, then the source's others; all sum to 1.

    Args:
        history: (N + 1, K), the weights before any label, after the first, ... after the last. Of weights
            that may be negative the size counts; where no head is heard, all are alike.
        sources: (K,).
    """
    size = np.abs(np.asarray(history, dtype=np.float64))
    size[~size.any(axis=1)] = 1.0
    share = size / size.sum(axis=1, keepdims=True)
    top = set(np.argsort(-share[-1], kind="stable")[:NAMED].tolist())
    found = []
    for group in groups(sources):
        own = sorted(top & set(group.places), key=lambda place: -share[-1, place])
        found += [Area(f"{group.name}/{place}", share[:, place], group, True) for place in own]
        if rest := [place for place in group.places if place not in top]:
            name = f"{group.name}, other" if own else group.name
            found.append(Area(name, share[:, rest].sum(axis=1), group, False))
    return found


def heard(weights: Floats) -> float:
    """Effective heads; all of them where none is heard."""
    return effective_heads(weights) if weights.any() else float(len(weights))


MOST_HEADS = 1000
"""Bars of a chart: about as many as a screen has points."""
MOST_STEPS, FEW = 200, 12
"""Numbers of labels of a chart, and as many as can each stand under it."""
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
        """How many heads speak."""
        return heard(self.weights)


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
        value = json.loads(path.read_text(encoding="utf-8"))
        weights = np.array([number(one) for one in value["weights"]])
        sources = texts(value["sources"])
        if not 0 < len(sources) == len(weights):
            raise ValueError("not a source of each weight")
        settings = {name: str(value[name]) for name in SETTINGS if name in value}
        return Weights(weights, sources, texts(value["examples"]), settings)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}: no weights of `lmtools hyre adapt`: {error}", fix=FIX) from error


def read_steps(path: Path, count: int) -> list[Step]:
    """The weights of ``count`` heads label by label; none where the file is absent.

    Raises:
        DataError: it is damaged.
    """

    def step(line: dict[str, Any]) -> Step:
        weights = np.array([number(one) for one in line["weights"]])
        if weights.shape != (count,):
            raise ValueError(f"not a weight of each of {count} heads")
        accuracy = line.get("accuracy")
        return Step(int(number(line["labels"])), weights, None if accuracy is None else number(accuracy))

    return list(records(path, step))


def weight_parts(own: Weights, steps: Sequence[Step]) -> list[Part]:
    """One adaptation: the weights after all labels, how they came about, and the rule that made them."""
    heads = len(own.weights)
    told = f"After {len(own.examples)} labels {own.effective:.1f} of {heads} heads are heard."
    heavy = np.argsort(-np.abs(own.weights), kind="stable")[:3]
    most = ", ".join(f"{own.sources[k]}/{k} ({said(float(own.weights[k]), 'number')})" for k in heavy)
    parts: list[Part] = [Prose(f"{told} Most weight: {most}."), weight_bars(own, "Weight of each head")]
    if len(steps) > 1:
        parts.append(Grid(_moves(steps, own.sources)))
    else:
        parts.append(Prose("How the weights moved from label to label is not in this run.", "note"))
    return [*parts, Facts(own.settings, "How labels become weights", folded=True)]


def weight_bars(own: Weights, title: str) -> Bars:
    """A bar for each head, source by source; of very many the heaviest."""
    heads = len(own.weights)
    kept = set(np.argsort(-np.abs(own.weights), kind="stable")[:MOST_HEADS].tolist())
    order = [place for group in groups(own.sources) for place in group.places if place in kept]
    if len(order) < heads:
        title = f"{title}, the {MOST_HEADS} heaviest of {heads:,}"
    rows = [(f"{own.sources[place]}/{place}", float(own.weights[place])) for place in order]
    sources = [own.sources[place] for place in order]
    return Bars(title, rows, groups=sources, mark=(1 / heads, "equal weights"), upright=True, y="weight")


def _moves(steps: Sequence[Step], sources: Sequence[str]) -> list[Lines]:
    """Shares and effective heads over the number of labels, and the accuracy if it is known."""
    every = -(-len(steps) // MOST_STEPS)
    some = [*steps[:-1:every], steps[-1]]
    found = areas([step.weights for step in some], sources)
    labels = [float(step.labels) for step in some]
    shares = [_line(area.name, labels, area.share.tolist()) for area in found]
    effective = [_line("effective heads", labels, [heard(step.weights) for step in some])]
    known = [step for step in some if step.accuracy is not None]
    right = _line("accuracy", [step.labels for step in known], [step.accuracy or 0.0 for step in known])
    x, even = "number of labels", len(some) <= FEW
    worth = [Lines("Accuracy on the pairs without a label", [right], x, "accuracy", "rate", even)]
    return [
        *(worth if len(known) > 1 else []),
        Lines("Share of all weight", shares, x, "share", "rate", even),
        Lines("Heads that are heard", effective, x, "heads", even=even),
    ]


def _line(name: str, x: Sequence[float], y: Sequence[float]) -> Line:
    return Line(name, [(float(at), value) for at, value in zip(x, y, strict=True)])


# The weights that a few labelled examples give to the heads of an ensemble: after them, and on the way.

COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9", VERMILION, "#222222", "#A89B00")
"""Of Okabe and Ito's palette, its yellow darkened, by source."""
WIDTH, LEFT, RIGHT, TOP = 7.2, 0.66, 0.15, 0.56
PLOT, NAMES = 1.9, 0.15
"""Inches: the height of the bars, and of a row of sources' names under them."""
CHARACTER = 0.063
"""Inches of one character of a source's name."""
SAID = 3
"""How many of the heaviest heads are named over the bars."""


def head_weights_svg(
    weights: ArrayLike, sources: Sequence[str], before: ArrayLike | None = None, title: str = ""
) -> str:
    """The SVG element of a figure with a bar per head, grouped by source.

    A dashed line is at 1/K, what every head has if all are heard alike.

    Args:
        weights: (K,), which may be negative.
        sources: (K,), where each head comes from.
        before: (K,), the weights before any example, drawn as a dark outline if they are not all alike.
        title: what comes before the effective number of heads.

    Raises:
        ValueError: no heads, lengths that differ, or a weight that is not finite.
    """
    found = _checked(weights, sources)
    prior = None if before is None else _checked(before, sources)
    by_source = groups(sources)
    order = [place for group in by_source for place in group.places]
    inches = WIDTH - LEFT - RIGHT
    spots = _spots(by_source, inches / len(found))
    bottom = 0.08 + NAMES * (1 + max(row for _, row in spots))
    height = TOP + PLOT + bottom
    heading = f"{heard(found):.1f} effective heads of {len(found)}"
    heading = f"{short(title, 52)}: {heading}" if title else heading

    def plot(figure: Any) -> None:
        axes = figure.add_axes((LEFT / WIDTH, bottom / height, inches / WIDTH, PLOT / height))
        x = np.arange(len(found))
        colours = [_colour(group) for group in by_source for _ in group.places]
        axes.bar(x, found[order], 1.0 if len(found) > 60 else 0.8, color=colours, linewidth=0)
        dashes = {"linewidth": 0.9, "linestyle": (0, (4, 3))}
        axes.axhline(1 / len(found), color=GREY, label="equal weights, 1/K", **dashes)
        if prior is not None and not np.allclose(prior, prior[0]):
            edges = np.arange(len(found) + 1) - 0.5
            axes.stairs(prior[order], edges, color="#222222", linewidth=0.8, label="before any example")
        if found.min() < 0:
            axes.axhline(0, color=GREY, linewidth=0.6)
        axes.set(xlim=(-0.5, len(found) - 0.5), xticks=())
        axes.set_ylabel("weight", labelpad=4)
        axes.grid(True, axis="y")
        _names(axes, by_source, spots)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=7, borderpad=0)
        figure.text(LEFT / WIDTH, 1 - 0.08 / height, heading, size=9, va="top", weight="bold")
        most = np.argsort(-np.abs(found), kind="stable")[:SAID]
        line = ", ".join(f"{sources[place]}/{place} {found[place]:.3f}" for place in most)
        line = short(f"most weight: {line}", 110)
        figure.text(LEFT / WIDTH, 1 - 0.27 / height, line, size=7, va="top", color="#333333")

    return draw(WIDTH, height, plot, f"Weights of heads. {heading}")


def weights_over_answers_svg(history: Sequence[ArrayLike], sources: Sequence[str]) -> str:
    """The SVG element of a figure of how weight and effective heads move with each labelled example.

    Above, each source's share of all weight (of its size, where weights may be negative), stacked; the heads
    that are heaviest at the end are set off within their source and named. Below, the effective number of
    heads.

    Args:
        history: N + 1 weights (K,): before any example, after the first, ... after the last.
        sources: (K,), where each head comes from.

    Raises:
        ValueError: fewer than two steps, lengths that differ, or a weight that is not finite.
    """
    steps = np.array([_checked(weights, sources) for weights in history])
    if len(steps) < 2:
        raise ValueError("a figure of weights over answers needs the weights of two or more steps")
    effective = np.array([heard(weights) for weights in steps])
    by_source = groups(sources)
    height = 0.45 + PLOT + 0.2 + 1.0 + 0.42
    stacked = areas(steps, sources)
    right = 0.25 + CHARACTER * max(len(_label(area)) for area in stacked)

    def plot(figure: Any) -> None:
        inside = (WIDTH - LEFT - right) / WIDTH
        above = figure.add_axes((LEFT / WIDTH, (0.42 + 1.0 + 0.2) / height, inside, PLOT / height))
        below = figure.add_axes((LEFT / WIDTH, 0.42 / height, inside, 1.0 / height))
        _stack(above, stacked)
        dot = 3 if len(effective) < 40 else 0
        below.plot(effective, color="#222222", linewidth=1.4, marker="o", markersize=dot, clip_on=False)
        for axes in (above, below):
            axes.set(xlim=(0, len(steps) - 1))
            axes.xaxis.get_major_locator().set_params(integer=True)
        above.set(ylim=(0, 1), yticks=(0, 0.5, 1), xticklabels=())
        above.set_ylabel("share of weight", labelpad=2)
        below.set(ylim=(0, 1.08 * effective.max()))
        below.set_ylabel("effective heads", labelpad=2)
        below.set_xlabel("number of labels", labelpad=2)
        below.grid(True)
        last, beside = f"{effective[-1]:.1f} of {len(sources)}", below.get_yaxis_transform()
        below.text(1.01, effective[-1], last, transform=beside, size=7, va="center")
        line = "share of weight by source, and how many heads carry it"
        figure.text(LEFT / WIDTH, 1 - 0.08 / height, line, size=9, va="top", weight="bold")

    said = f"Weight of {', '.join(group.name for group in by_source)} over {len(steps) - 1} labels"
    return draw(
        WIDTH, height, plot, f"{said}: effective heads from {effective[0]:.1f} to {effective[-1]:.1f}"
    )


def _colour(group: Group) -> str:
    return COLOURS[group.turn % len(COLOURS)]


def _label(area: Area) -> str:
    """Its name and last share."""
    return f"{short(area.name, 24)} {area.share[-1]:.2f}"


def _stack(axes: Any, stacked: Sequence[Area]) -> None:
    """Areas on each other, each named beside its end."""
    ends = np.cumsum([area.share for area in stacked], axis=0)
    x = np.arange(ends.shape[1])
    middles = [float(end[-1] - area.share[-1] / 2) for area, end in zip(stacked, ends, strict=True)]
    beside = _apart(middles, 0.075)
    for area, end, place in zip(stacked, ends, beside, strict=True):
        look = {"color": _colour(area.group), "alpha": 0.9 if area.alone else 0.45}
        axes.fill_between(x, end - area.share, end, linewidth=0, **look)
        axes.plot(x, end, color="white", linewidth=0.8)
        beyond = {"transform": axes.transAxes, "va": "center"}
        axes.text(1.012, place, "■", size=6, **look, **beyond)
        axes.text(1.035, place, _label(area), size=7, **beyond)


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places in [0, 1] near rising ``wanted`` ones and ``gap`` apart, as far as there is room."""
    gap = min(gap, 1 / max(1, len(wanted) - 1))
    placed: list[float] = []
    for at in wanted:
        placed.append(max(at, placed[-1] + gap) if placed else at)
    limit = 1.0
    for turn in reversed(range(len(placed))):
        placed[turn] = min(placed[turn], limit)
        limit = placed[turn] - gap
    return placed


def _spots(by_source: Sequence[Group], head: float) -> list[tuple[float, int]]:
    """Where each group's name stands: its middle, in heads from the left end of the axis, and its row.

    No name runs into another or out of the figure. A head is ``head`` inches wide.
    """
    ends: list[float] = []  # of each row, in inches
    spots, start = [], 0
    heads = sum(len(group.places) for group in by_source)
    for group in by_source:
        half = CHARACTER * len(short(group.name, 20)) / 2
        middle = (start + len(group.places) / 2) * head
        middle = max(half - LEFT, min(middle, heads * head + RIGHT - 0.05 - half))
        row = next((row for row, end in enumerate(ends) if middle - half > end), len(ends))
        ends[row : row + 1] = [middle + half + CHARACTER]
        spots.append((middle / head, row))
        start += len(group.places)
    return spots


def _names(axes: Any, by_source: Sequence[Group], spots: Sequence[tuple[float, int]]) -> None:
    """A coloured line under each group, and its name."""
    start = -0.5
    under = axes.get_xaxis_transform()
    for group, (middle, row) in zip(by_source, spots, strict=True):
        end = start + len(group.places)
        axes.plot((start, end), (-0.02, -0.02), color=_colour(group), linewidth=2.5, transform=under,
                  clip_on=False, solid_capstyle="butt")  # fmt: skip
        down = -0.04 - row * NAMES / PLOT
        axes.text(middle - 0.5, down, short(group.name, 20), transform=under, size=7.5, ha="center", va="top")
        start = end


def _checked(weights: ArrayLike, sources: Sequence[str]) -> Floats:
    found: Floats = np.asarray(weights, dtype=np.float64)
    if not len(sources) or found.shape != (len(sources),):
        raise ValueError(f"weights of shape {found.shape} are not those of {len(sources)} heads")
    if not np.isfinite(found).all():
        raise ValueError("a weight is not finite")
    return found
