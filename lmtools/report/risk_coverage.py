"""Risk-coverage curves: how many answers are wrong among those given, if the unsure ones are held back."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.text import short
from lmtools.metrics.selection import risk_coverage
from lmtools.metrics.tally import Floats
from lmtools.report.svg import BLUE, VERMILION, draw

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
