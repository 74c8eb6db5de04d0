"""LeReT's part of a page: what every policy finds hop by hop, every question, what was tried, and training.

The questions of an evaluation are in ``leret_questions``, the samples of an exploration in
``leret_explored``.
"""

import re
from collections.abc import Iterator, Sequence

from lmtools.core.progress import duration
from lmtools.core.results import Interval, Results, Row
from lmtools.metrics.retrieval import hop_of
from lmtools.report import leret_questions
from lmtools.report.charts import Record, curve, finite, format_interval, format_value
from lmtools.report.elements import Dots, Grid, Line, Lines, Part, Section, Table, Unit
from lmtools.report.leret_explored import iterations, tried
from lmtools.report.leret_questions import questions, trace_files
from lmtools.report.run_files import Source, records

METRICS = {"recall": "Recall of the gold passages", "ap": "Average precision"}
MOST_HOPS = 3
"""Of which each has a chart to itself."""


def sections(run: Source) -> list[Section]:
    """The sections of a training run, an evaluation or an exploration; none of another run."""
    measured = [*by_hop(run.results), *by_kind(run.results)] if run.results else []
    titled = {
        "Hop by hop": measured,
        "Question by question": questions(run),
        "What was tried": tried(run, browse=not trace_files(run)),
        "Training": training(run),
    }
    return [Section(title, parts) for title, parts in titled.items() if parts]


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> `recall@hopN` and `ap@hopN` -> question id -> value."""
    return leret_questions.outcomes(run)


def by_hop(results: Results) -> Iterator[Part]:
    """Recall and average precision of every policy: a chart for each hop, or of many hops one over all."""
    strong = results.differences[0].a if results.differences else ""
    for metric, words in METRICS.items():
        rows = {row.name: dict(sorted(_hops(row, metric))) for row in results.rows}
        hops = sorted({hop for intervals in rows.values() for hop in intervals})
        if len(hops) > MOST_HOPS:
            lines = [
                Line(name, [(hop, i.value, i.low, i.high) for hop, i in intervals.items()])
                for name, intervals in rows.items()
                if intervals
            ]
            yield Lines(words, lines, "hop", metric, "rate", even=True, strong=strong)
        elif hops:
            dots = {
                hop: [(name, by_number[hop]) for name, by_number in rows.items() if hop in by_number]
                for hop in hops
            }
            yield Grid([Dots(f"{words}, hop {hop}", dots[hop], strong=strong) for hop in hops])


def by_kind(results: Results) -> Iterator[Part]:
    """The same after the last hop, for each kind of question by itself."""
    names = dict.fromkeys(name for row in results.rows for name in row.metrics if "/recall@hop" in name)
    hop = max(map(hop_of, names), default=0)
    last = [name for name in names if hop and hop_of(name) == hop]
    rows = [
        (row.name, *(format_interval(row.metrics.get(name), "rate") for name in last)) for row in results.rows
    ]
    if last:
        columns = ["", *(name.rpartition("/")[0] for name in last)]
        yield Table(columns, rows, f"Recall after hop {hop}, by kind of question", folded=True)


def _hops(row: Row, metric: str) -> Iterator[tuple[int, Interval]]:
    for name, interval in row.metrics.items():
        match = re.fullmatch(rf"{metric}@hop([0-9]{{1,3}})", name)
        if match:
            yield int(match[1]), interval


# Training, from what the trainers logged in `iterations/N/STAGE.log.jsonl`.

STAGES = {"sft": "SFT", "policy": "preference"}
CURVES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "rewards/margins": "reward margin, chosen less rejected",
    "rewards/accuracies": "pairs whose chosen query is ahead",
}
"""What is drawn of a trainer's figures; the last two are those of preference optimisation."""

Log = Sequence[Record]


def training(run: Source) -> list[Part]:
    """A chart for each figure of each stage, with a line for each iteration, and a table of the stages."""
    logs = _logs(run)
    charts = []
    for stage, name in STAGES.items():
        by_iteration = {number: log for (kind, number), log in logs.items() if kind == stage}
        for figure, words in CURVES.items():
            lines = [
                Line(f"iteration {number}", points)
                for number, log in by_iteration.items()
                if len(points := curve(log, figure)) > 1
            ]
            if lines:
                unit: Unit = "rate" if figure == "rewards/accuracies" else "number"
                charts.append(Lines(f"{name}: {words}", lines, "step", words.partition(",")[0], unit))
    parts: list[Part] = [Grid(charts)] if charts else []
    rows = [_row(f"{STAGES[stage]}, iteration {number}", log) for (stage, number), log in logs.items()]
    columns = ["Stage", "steps", "epochs", "mean loss", "time"]
    return [*parts, Table(columns, rows, "Training stages")] if rows else parts


def _logs(run: Source) -> dict[tuple[str, int], Log]:
    """(stage, iteration) -> the trainer's records, in the order of training."""
    logs: dict[tuple[str, int], Log] = {}
    for iteration, folder in iterations(run):
        for stage in STAGES:
            log = list(records(folder / f"{stage}.log.jsonl", lambda line: line, finite=False))
            if log:
                logs[stage, iteration] = log
    return logs


def _row(name: str, log: Log) -> tuple[str, ...]:
    last = log[-1]
    loss, seconds = finite(last.get("train_loss")), finite(last.get("train_runtime"))
    return (
        name,
        format_value(finite(last.get("step")), "number"),
        format_value(finite(last.get("epoch")), "number"),
        format_value(loss, "number"),
        "–" if seconds is None else duration(seconds),
    )
