"""Figures as SVG: the same bytes for the same data, readable in shades, in the dark and to the colour-blind.

No figure touches matplotlib's global state: no pyplot, and settings hold only while one figure is drawn.
What a figure shows is a chart of ``elements``; ``calibration_plots``, ``label_curves`` and ``hyre_weights``
draw theirs with ``draw``.
"""

import html
import io
import math
import re
from collections.abc import Callable
from typing import Any

BLUE, VERMILION, ORANGE, GREEN = "#0072B2", "#D55E00", "#E69F00", "#009E73"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#222222"
"""Okabe and Ito's palette, distinct with any colour vision; without its yellow, too light on white."""
GREY = "#6B6B6B"
"""For what frames the data."""
STYLE = {
    "svg.hashsalt": "lmtools",  # names of clip paths and markers from their content, not from chance
    "svg.fonttype": "none",  # text stays text: it can be searched, read aloud and is a tenth of the size
    "font.size": 7.5,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica", "sans-serif"],
    "text.parse_math": False,  # a name with dollar signs is a name
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.5,
}


DARK = (
    "<style>@media (prefers-color-scheme: dark) "
    "{ svg:root { filter: invert(0.92) hue-rotate(180deg); } }</style>"
)
"""A figure that stands by itself, as a file or in a README, follows the reader's scheme; hues stay."""


def draw(width: float, height: float, plot: Callable[[Any], None], label: str) -> str:
    """The SVG element of a figure of this size in inches, which ``plot(figure)`` draws.

    Args:
        label: what a screen reader says in place of the figure; any text.
    """
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(width, height), dpi=72, facecolor="white")
        plot(figure)
        # Without date and version of the library, which would differ from one day or machine to the next.
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(buffer, metadata=no_metadata)
    text = buffer.getvalue()
    element = text[text.index("<svg ") + len("<svg ") :]  # a page takes neither XML declaration nor doctype
    # Numbered names would clash with those of the page's other figures; what is referred to has another form.
    element = re.sub(r' id="[\w.]+_\d+"', "", element)
    opening, rest = element.split(">", 1)
    return f'<svg role="img" aria-label="{html.escape(label)}" {opening}>{DARK}{rest}'


def panel_columns(panels: int, most: int) -> int:
    """How many of a figure's panels stand side by side, ``most`` at most: few rows, and no row nearly empty.

    >>> [panel_columns(panels, 5) for panels in (1, 5, 6, 11)]
    [1, 5, 3, 4]
    """
    rows = math.ceil(panels / most)
    return math.ceil(panels / rows)
