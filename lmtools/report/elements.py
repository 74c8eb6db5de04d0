"""What a page is made of: prose, tables, charts and lists to browse, as data that knows nothing of HTML.

A view (``leret``, ``hyre``, ``ats``, ``calibration``) turns the files of a run into these; ``html`` writes
them, and the page's script draws the charts. A chart that a run also keeps as a file in `plots/` is the
same object: ``calibration_plots``, ``label_curves`` and ``hyre_weights`` build it once and draw it as SVG.
All text is plain text, from wherever it comes: nothing in it is markup.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lmtools.core.results import Interval

Unit = Literal["rate", "number", "points"]
"""How figures are written and axes end: rates in percent from 0 to 1, differences of rates in points, numbers
as they are."""

# Text and tables.


@dataclass(frozen=True)
class Prose:
    """A paragraph; a ``warning`` stands out and is read aloud as one."""

    text: str
    kind: Literal["plain", "lead", "note", "warning"] = "plain"


@dataclass(frozen=True)
class Facts:
    """Names and values, such as versions; ``folded`` behind a click."""

    rows: Mapping[str, str]
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Code:
    """Text in which every space counts, such as a recipe."""

    text: str
    title: str = ""
    folded: bool = True


@dataclass(frozen=True)
class Table:
    """Cells of plain text; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A large figure: what was measured of which row, its value, its interval, the baseline's value."""

    metric: str
    row: str
    value: str
    interval: str
    baseline: str = ""


@dataclass(frozen=True)
class Figures:
    """A few large figures side by side."""

    items: Sequence[Figure]


# Charts.


@dataclass(frozen=True)
class Dots:
    """Estimates with their 95 % intervals, one line each, under each other on one axis.

    Args:
        rows: (name, interval), from top to bottom.
        zero: a vertical line at 0, for differences.
        strong: the name that is drawn in the strong colour.
    """

    title: str
    rows: Sequence[tuple[str, Interval]]
    unit: Unit = "rate"
    zero: bool = False
    strong: str = ""


@dataclass(frozen=True)
class Line:
    """One line of a chart: ``points`` (x, y) or (x, y, low, high), by rising x.

    Args:
        flat: one value that holds for every x, drawn dashed over the whole width.
        group: what gives the line its colour in an SVG file, where several lines belong together.
        rest: the line sums up what is left of its group, and is drawn paler there.
    """

    name: str
    points: Sequence[tuple[float, ...]]
    flat: bool = False
    group: str = ""
    rest: bool = False


@dataclass(frozen=True)
class Lines:
    """Lines over a common x.

    Args:
        x, y: what the axes show, in words.
        even: the x values stand evenly spaced, as for 0, 1, 2, 5, 16 labels.
        strong: the name of the line that is drawn thick and whose interval is shaded.
    """

    title: str
    lines: Sequence[Line]
    x: str
    y: str
    unit: Unit = "number"
    even: bool = False
    strong: str = ""


@dataclass(frozen=True)
class Bars:
    """Bars with their names; ``groups`` (one per bar, may be empty) give them colours.

    Args:
        mark: a dashed line across all bars, with its meaning: (value, text).
        upright: many thin bars side by side without names (heads); else lying ones, each with its name.
        before: one earlier value per bar, which an SVG file shows as an outline; may be empty.
    """

    title: str
    rows: Sequence[tuple[str, float]]
    unit: Unit = "number"
    groups: Sequence[str] = ()
    mark: tuple[float, str] | None = None
    upright: bool = False
    y: str = ""
    before: Sequence[float] = ()


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram. A click on bin k shows, in ``browser``, the rows that carry ``picks[k]``.

    Args:
        edges: (B + 1,) in confidence.
        counts, confidence, accuracy: (B,), the last two None where a bin is empty.
        picks: per bin, filter name -> option of the browser.
        ece: the expected calibration error, which stands beside the title.
    """

    title: str
    edges: Sequence[float]
    counts: Sequence[float]
    confidence: Sequence[float | None]
    accuracy: Sequence[float | None]
    browser: str = ""
    picks: Sequence[Mapping[str, str]] = ()
    ece: Interval | None = None


Chart = Dots | Lines | Bars | Reliability


@dataclass(frozen=True)
class Grid:
    """Small charts side by side, as many as there is room for."""

    charts: Sequence[Chart]
    title: str = ""


# Lists to browse.


@dataclass(frozen=True)
class Item:
    """A line inside a row's detail: marked (``gold``, ``good``, ``bad``), with ``more`` text on demand."""

    text: str
    mark: Literal["", "gold", "good", "bad"] = ""
    more: str = ""


@dataclass(frozen=True)
class Block:
    """Part of a row's detail: a heading, text, and items under it."""

    heading: str
    text: str = ""
    items: Sequence[Item] = ()


@dataclass(frozen=True)
class Entry:
    """A row of a browser: a cell for each column, its option or options in each filter, and its detail."""

    cells: Sequence[str]
    options: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    detail: Sequence[Block] = ()


@dataclass(frozen=True)
class Browser:
    """A table to filter, to search and to open row by row.

    Args:
        name: unique in its run's part of the page; what charts refer to.
        filters: filter name -> its options in order; a click on one shows the entries that carry it.
        hidden: filters that have no control of their own: charts pick their options.
        entries: most informative first: where there are too many for a page, the last ones are left out,
            and written beside the page.
    """

    name: str
    title: str
    columns: Sequence[str]
    filters: Mapping[str, Sequence[str]]
    entries: Sequence[Entry]
    hidden: Sequence[str] = ()


# Texts token by token.


@dataclass(frozen=True)
class Token:
    """A token of a text with what was measured on it, in the order of the measures of ``Tokens``."""

    text: str
    values: Sequence[float | None]


@dataclass(frozen=True)
class Measure:
    """What a token can be coloured by, with the values at the two ends of the colours."""

    name: str
    low: float
    high: float
    unit: Unit = "number"
    middle: float | None = None
    """Where the colour is neutral, such as temperature 1; None for a scale with one colour."""


@dataclass(frozen=True)
class Tokens:
    """Texts whose tokens are coloured by one of ``measures``, which the reader chooses.

    Args:
        texts: (heading, tokens) of each text.
    """

    title: str
    measures: Sequence[Measure]
    texts: Sequence[tuple[str, Sequence[Token]]]


Part = Prose | Facts | Code | Table | Figures | Dots | Lines | Bars | Reliability | Grid | Browser | Tokens


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    parts: Sequence[Part]
