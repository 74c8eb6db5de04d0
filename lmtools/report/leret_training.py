"""The training curves of a LeReT run, from what its trainers logged in `iterations/N/STAGE.log.jsonl`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lmtools.core.progress import duration
from lmtools.report.chart_data import said
from lmtools.report.parts import Grid, Line, Lines, Part, Table, Unit
from lmtools.report.records import records
from lmtools.report.source import Source
from lmtools.report.training_curves import Record, curve, finite

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
        own = {number: log for (kind, number), log in logs.items() if kind == stage}
        for figure, words in CURVES.items():
            lines = [
                Line(f"iteration {number}", points)
                for number, log in own.items()
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
    found: dict[tuple[str, int], Log] = {}
    for number, folder in iterations(run):
        for stage in STAGES:
            log = list(records(folder / f"{stage}.log.jsonl", lambda line: line))
            if log:
                found[stage, number] = log
    return found


def iterations(run: Source) -> Iterator[tuple[int, Path]]:
    """The folders of a run's iterations, from the first."""
    folders = [path for path in run.directory.glob("iterations/*") if path.name.isdecimal()]
    yield from sorted((int(path.name), path) for path in folders)


def _row(name: str, log: Log) -> tuple[str, ...]:
    last = log[-1]
    loss, seconds = finite(last.get("train_loss")), finite(last.get("train_runtime"))
    return (
        name,
        said(finite(last.get("step")), "number"),
        said(finite(last.get("epoch")), "number"),
        said(loss, "number"),
        "–" if seconds is None else duration(seconds),
    )
