"""A page as HTML: one file that asks for nothing else, in which all text is text.

``page_html`` writes the parts of ``elements``: prose and tables as elements, charts and lists as an empty
element and the JSON from which the page's script fills it. The policy in the page's head allows this very
script and style sheet, by their hashes, and nothing else: no request, no form, no other script. What is read
from a run enters as escaped text or as JSON, and the script inserts it as text.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

from lmtools.core.strings import printable
from lmtools.report.budget import ByteBudget, browser_json
from lmtools.report.charts import caption, chart_json, chart_table
from lmtools.report.elements import (  # fmt: skip
    Bars,
    Browser,
    Code,
    Dots,
    Facts,
    Figures,
    Grid,
    Lines,
    Part,
    Prose,
    Reliability,
    Section,
    Table,
    Tokens,
)

SCRIPTS = ("draw.js", "charts.js", "bins.js", "browse.js", "tokens.js", "page.js")
STYLE = "page.css"
WITHOUT_SCRIPT = "Charts and lists need the script in this file; every chart is a table, too."
NO_CHARACTER = re.compile("[\ufdd0-\ufdef\ufffe\uffff]")
"""What HTML does not allow beside the controls."""


@dataclass(frozen=True)
class Chapter:
    """The sections of one run; where a page has several, ``title`` heads them."""

    title: str
    sections: Sequence[Section]


@dataclass
class _Page:
    """What is collected while a page is written: the script's data, and the ids that are in use.

    ``prefix`` comes before the names of lists, so that those of several runs differ.
    """

    budget: ByteBudget
    charts: list[dict[str, Any]] = field(default_factory=list)
    browsers: list[dict[str, Any]] = field(default_factory=list)
    tokens: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    prefix: str = ""


def page_html(
    title: str, chapters: Sequence[Chapter], budget: ByteBudget, *, about: str = "", top: Sequence[Part] = ()
) -> str:
    """The whole document.

    Args:
        budget: how much of the lists the page may hold; it collects what is left out.
        about: a line under the title.
        top: what comes before the sections: the verdict and its figures.
    """
    script = "\n".join(_asset(name) for name in SCRIPTS)
    style = _asset(STYLE)
    page = _Page(budget)
    budget.share([part for chapter in chapters for part in _browsers(chapter)])
    # The body first: writing it collects the charts, lists and texts that the script needs.
    body, links = ["".join(_part(part, page, 2) for part in top)], []
    for number, chapter in enumerate(chapters):
        page.prefix = f"{number}:"
        inner, entries = _chapter(chapter, page, 3 if len(chapters) > 1 else 2)
        if len(chapters) > 1:
            anchor = _id(chapter.title, page)
            inner = f'<section>\n<h2 id="{anchor}">{text(chapter.title)}</h2>\n{inner}</section>\n'
            entries = [f'<a href="#{anchor}">{text(chapter.title)}</a>\n<ul>{_listed(entries)}</ul>']
        body.append(inner)
        links += entries
    data = {
        "charts": page.charts, "browsers": page.browsers, "tokens": page.tokens, "texts": budget.texts,
    }  # fmt: skip
    contents = _listed(links)  # twice: beside the page, and as a menu where it is narrow; one of them is seen
    # ``default-src 'none'`` stops every request; only what has one of these hashes runs or applies.
    policy = "; ".join(
        ("default-src 'none'", f"script-src {_hash(script)}", f"style-src {_hash(style)}",
         "base-uri 'none'", "form-action 'none'")
    )  # fmt: skip
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{text(title)}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the figures</a>
<div class="layout">
<nav class="side" aria-label="Sections"><p>Contents</p><ul>{contents}</ul></nav>
<div>
<header class="top">
<h1>{text(title)}</h1>
{f'<p class="note">{text(about)}</p>' if about else ""}
<nav class="menu" aria-label="Sections">
<details><summary>Contents</summary><ul>{contents}</ul></details></nav>
</header>
<main id="content">
<noscript><p class="warning">{WITHOUT_SCRIPT}</p></noscript>
{"".join(body)}</main>
</div>
</div>
<script type="application/json" id="data">{_script_json(data)}</script>
<script>{script}</script>
</body>
</html>
"""


def text(value: str) -> str:
    """``value`` as HTML text, also inside an attribute."""
    return html.escape(_shown(value))


def _shown(value: str) -> str:
    """What every text of a page goes through, in its elements or in the script's data."""
    return NO_CHARACTER.sub("\ufffd", printable(value))


def _chapter(chapter: Chapter, page: _Page, level: int) -> tuple[str, list[str]]:
    """The sections as HTML, and a link to each."""
    written, links = [], []
    for section in chapter.sections:
        anchor = _id(section.title, page)
        parts = "".join(_part(part, page, level + 1) for part in section.parts)
        heading = f'<h{level} id="{anchor}">{text(section.title)}</h{level}>'
        written.append(f"<section>\n{heading}\n{parts}</section>\n")
        links.append(f'<a href="#{anchor}">{text(section.title)}</a>')
    return "".join(written), links


def _part(part: Part, page: _Page, level: int) -> str:
    writers: dict[type, Callable[..., str]] = {
        Prose: _prose, Facts: _facts, Code: _code, Table: _table, Figures: _figures, Grid: _grid,
        Browser: _browser, Tokens: _tokens,
    }  # fmt: skip
    if isinstance(part, Dots | Lines | Bars | Reliability):
        return _chart(part, page)
    return writers[type(part)](part, page, level)


def _prose(part: Prose, page: _Page, level: int) -> str:
    kind = f' class="{part.kind}"' if part.kind != "plain" else ""
    role = ' role="note"' if part.kind == "warning" else ""
    return f"<p{kind}{role}>{text(part.text)}</p>\n"


def _facts(part: Facts, page: _Page, level: int) -> str:
    rows = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in part.rows.items())
    return _folded(part.title, f"<dl>{rows}</dl>", part.folded, level) if rows else ""


def _figures(part: Figures, page: _Page, level: int) -> str:
    """Name, value, interval and baseline of each; the list is one for a reader, too."""
    items = []
    for figure in part.items:
        baseline = f'<dd class="note">{text(figure.baseline)}</dd>' if figure.baseline else ""
        items.append(
            f"<div><dt>{text(figure.metric)}<span>{text(figure.row)}</span></dt>"
            f'<dd class="value">{text(figure.value)}</dd>'
            f"<dd>{text(figure.interval)}</dd>{baseline}</div>\n"
        )
    return f'<dl class="large">\n{"".join(items)}</dl>\n' if items else ""


def _code(part: Code, page: _Page, level: int) -> str:
    return _folded(part.title, f'<pre tabindex="0">{text(part.text)}</pre>', part.folded, level)


def _table(part: Table, page: _Page, level: int) -> str:
    return _folded(part.title, table_html(part.columns, part.rows), part.folded, level)


def table_html(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways where it is too wide; its first column names the rows."""
    head = "".join(f'<th scope="col">{text(name)}</th>' if name else "<td></td>" for name in columns)
    lines = []
    for name, *cells in rows:
        figures = "".join(f'<td class="figure">{text(cell)}</td>' for cell in cells)
        lines.append(f'<tr><th scope="row">{text(name)}</th>{figures}</tr>\n')
    body = "".join(lines)
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table>"
    return f'<div class="scroll" tabindex="0" role="region" aria-label="Table">{table}</div>'


def _chart(part: Dots | Lines | Bars | Reliability, page: _Page) -> str:
    number = len(page.charts)
    page.charts.append(chart_json(part, page.prefix))
    columns, rows = chart_table(part)
    alone = isinstance(part, Reliability)  # its bins are buttons; else a reader hears the table
    role = "" if alone else ' aria-hidden="true"'
    title = text(caption(part))
    return (
        f"<figure>\n<figcaption>{title}</figcaption>\n"
        f'<div class="plot" data-chart="{number}"{role}></div>\n'
        f'<details class="figures"><summary>As a table<span class="hidden">: {title}</span></summary>'
        f"{table_html(columns, rows)}</details>\n</figure>\n"
    )


def _grid(part: Grid, page: _Page, level: int) -> str:
    heading = f"<h{level}>{text(part.title)}</h{level}>\n" if part.title else ""
    return f'{heading}<div class="grid">\n{"".join(_chart(chart, page) for chart in part.charts)}</div>\n'


def _browser(part: Browser, page: _Page, level: int) -> str:
    number = len(page.browsers)
    data = browser_json(part, page.budget)
    page.browsers.append(data | {"name": page.prefix + part.name})
    heading = f"<h{level}>{text(part.title)}</h{level}>"
    return f'<div class="browser" data-browser="{number}">\n{heading}\n</div>\n'


def _tokens(part: Tokens, page: _Page, level: int) -> str:
    number = len(page.tokens)
    measures = [(m.name, m.low, m.high, m.unit, m.middle) for m in part.measures]
    texts = [
        (name, [(token.text, *map(_rounded, token.values)) for token in tokens])
        for name, tokens in part.texts
    ]
    page.tokens.append({"title": part.title, "measures": measures, "texts": texts})
    return f'<div data-tokens="{number}">\n<h{level}>{text(part.title)}</h{level}>\n</div>\n'


def _folded(title: str, inner: str, folded: bool, level: int) -> str:
    if folded:
        return f"<details><summary>{text(title or 'More')}</summary>{inner}</details>\n"
    return (f"<h{level}>{text(title)}</h{level}>\n" if title else "") + inner + "\n"


def _browsers(chapter: Chapter) -> Iterator[Browser]:
    return (part for section in chapter.sections for part in section.parts if isinstance(part, Browser))


def _id(title: str, page: _Page) -> str:
    """An id for a link that nothing else on the page has."""
    base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
    name, turn = base, 2
    while name in page.ids or name in ("content", "data"):
        name, turn = f"{base}-{turn}", turn + 1
    page.ids.add(name)
    return name


def _listed(links: Sequence[str]) -> str:
    return "".join(f"<li>{link}</li>" for link in links)


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else float(f"{value:.4g}")


def _asset(name: str) -> str:
    return resources.files("lmtools.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _script_json(value: Any) -> str:
    """JSON that cannot end the element it stands in."""
    written = json.dumps(_shown_inside(value), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return written.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _shown_inside(value: Any) -> Any:
    """``_shown`` of every text in data for JSON."""
    if isinstance(value, str):
        return _shown(value)
    if isinstance(value, dict):
        return {_shown(str(key)): _shown_inside(inner) for key, inner in value.items()}
    return [_shown_inside(inner) for inner in value] if isinstance(value, list | tuple) else value
