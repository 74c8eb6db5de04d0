"""A page with every kind of part, and with text that would do harm if anything took it for markup."""

from pathlib import Path

from lmtools.core.results import Interval
from lmtools.report.budget import ByteBudget
from lmtools.report.elements import (
    Bars,
    Block,
    Browser,
    Code,
    Dots,
    Entry,
    Facts,
    Grid,
    Item,
    Line,
    Lines,
    Measure,
    Part,
    Prose,
    Reliability,
    Section,
    Table,
    Token,
    Tokens,
)
from lmtools.report.html import Chapter, page_html

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    '"><svg onload=alert(4)>',
    "' onmouseover='alert(5)",
    "<!--<script>",
    "]]></style><style>*{display:none}</style>",
    "javascript:alert(6)",
    "{{7*7}} ${alert(7)} `x`",
    "\u202egnirts\u2066 \u2028 \u2029 \x00 \x1b[31m \ud800 \U0001f469\u200d\U0001f52c",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "<a href='https://example.org/' ping='https://example.org/'>x</a>",
    "https://example.org/pixel.png",
)


def hostile_page(path: Path) -> Path:
    """Every text of every part is hostile, one of ``HOSTILE`` after the other."""
    sections = [Section(f"{bad} {number}", _parts(bad, number)) for number, bad in enumerate(HOSTILE)]
    path.write_text(
        page_html(HOSTILE[0], [Chapter(HOSTILE[1], sections)], ByteBudget("left.jsonl")), encoding="utf-8"
    )
    return path


def _parts(bad: str, number: int) -> list[Part]:
    some = Interval(0.5, 0.4, 0.6, 10)
    bins = Reliability(bad, (0.0, 0.5, 1.0), (3, 4), (0.25, 0.75), (0.5, 0.6), f"b{number}", [{bad: bad}, {}])
    entry = Entry((bad, bad), {bad: bad}, [Block(bad, bad, [Item(bad, "gold", bad), Item(bad, "bad")])])
    return [
        Prose(bad, "lead"),
        Prose(bad, "warning"),
        Facts({bad: bad}, bad),
        Code(bad, bad),
        Table([bad, bad], [[bad, bad]], bad),
        Dots(bad, [(bad, some), ("plain", some)], strong=bad),
        Lines(bad, [Line(bad, [(0.0, 1.0), (1.0, 2.0)]), Line(bad, [(0.0, 1.5)], flat=True)], bad, bad),
        Bars(bad, [(bad, 1.0), (bad, 2.0)], groups=[bad, "other"], mark=(1.5, bad)),
        Grid([bins, Bars(bad, [(bad, 0.1)] * 50, upright=True, y=bad)], bad),
        Browser(f"b{number}", bad, [bad, "second"], {bad: [bad, "never"]}, [entry] * 3),
        Tokens(bad, [Measure(bad, 0, 1)], [(bad, [Token(bad, [0.5]), Token("\n", [None])])]),
    ]
