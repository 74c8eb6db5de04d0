"""The weights that a few labelled examples give to the heads of an ensemble: after them, and on the way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.text import short
from lmtools.metrics.preference import Floats
from lmtools.report.head_shares import Area, Group, areas, groups, heard
from lmtools.report.svg import BLUE, GREY, VERMILION, draw

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
