"""LeReT's part of a page: what every policy finds hop by hop, every question, what was tried and learnt."""

import re
from collections.abc import Iterator

from lmtools.core.results import Interval, Results, Row
from lmtools.metrics.retrieval import hop_of
from lmtools.report import leret_questions
from lmtools.report.charts import cell
from lmtools.report.elements import Dots, Grid, Line, Lines, Part, Section, Table
from lmtools.report.leret_explored import training, tried
from lmtools.report.leret_questions import questions, trace_files
from lmtools.report.run_files import Source

METRICS = {"recall": "Recall of the gold passages", "ap": "Average precision"}
MOST_HOPS = 3
"""Of which each has a chart to itself."""


def sections(run: Source) -> list[Section]:
    """The sections of a training run, an evaluation or an exploration; none of another run."""
    measured = [*by_hop(run.results), *by_kind(run.results)] if run.results else []
    found = {
        "Hop by hop": measured,
        "Question by question": questions(run),
        "What was tried": tried(run, browse=not trace_files(run)),
        "Training": training(run),
    }
    return [Section(title, parts) for title, parts in found.items() if parts]


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> `recall@hopN` and `ap@hopN` -> question id -> value."""
    return leret_questions.outcomes(run)


def by_hop(results: Results) -> Iterator[Part]:
    """Recall and average precision of every policy: a chart for each hop, or of many hops one over all."""
    strong = results.differences[0].a if results.differences else ""
    for metric, words in METRICS.items():
        rows = {row.name: dict(sorted(_hops(row, metric))) for row in results.rows}
        hops = sorted({hop for own in rows.values() for hop in own})
        if len(hops) > MOST_HOPS:
            lines = [
                Line(name, [(hop, one.value, one.low, one.high) for hop, one in own.items()])
                for name, own in rows.items()
                if own
            ]
            yield Lines(words, lines, "hop", metric, "rate", even=True, strong=strong)
        elif hops:
            dots = {hop: [(name, own[hop]) for name, own in rows.items() if hop in own] for hop in hops}
            yield Grid([Dots(f"{words}, hop {hop}", own, strong=strong) for hop, own in dots.items()])


def by_kind(results: Results) -> Iterator[Part]:
    """The same after the last hop, for each kind of question by itself."""
    names = dict.fromkeys(name for row in results.rows for name in row.metrics if "/recall@hop" in name)
    hop = max(map(hop_of, names), default=0)
    last = [name for name in names if hop and hop_of(name) == hop]
    rows = [(row.name, *(cell(row.metrics.get(name), "rate") for name in last)) for row in results.rows]
    if last:
        columns = ["", *(name.rpartition("/")[0] for name in last)]
        yield Table(columns, rows, f"Recall after hop {hop}, by kind of question", folded=True)


def _hops(row: Row, metric: str) -> Iterator[tuple[int, Interval]]:
    for name, one in row.metrics.items():
        found = re.fullmatch(rf"{metric}@hop([0-9]{{1,3}})", name)
        if found:
            yield int(found[1]), one
