"""What a LeReT evaluation left in `traces/`: every policy's queries and passages, question by question.

Which files there are and what stands in them is told where they are written, by `lmtools leret eval`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmtools.metrics.retrieval import average_precision, recall
from lmtools.report.records import records, text, texts
from lmtools.report.source import Source

KINDS = ("question", "zero-shot", "few-shot", "sft", "trained")
"""Of trace files, from the least taught policy to the most taught."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question is, and which titles are its gold."""

    question: str
    answer: str
    gold: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A policy's way through one question.

    ``titles`` are those of the whole context after each hop; ``found`` the (id, title) that each hop added.
    """

    question: str
    queries: tuple[str, ...]
    titles: tuple[tuple[str, ...], ...]
    found: tuple[tuple[tuple[str, str], ...], ...]
    row: str


def trace_files(run: Source) -> dict[str, Path]:
    """Kind of policy -> its file, from the least taught to the most taught."""
    paths = {kind: run.path("traces", f"{kind}.jsonl") for kind in KINDS}
    return {kind: path for kind, path in paths.items() if path.is_file()}


def read_traces(path: Path) -> Iterator[Trace]:
    """The traces of one policy; of a file from before rows had names, ``row`` is its kind.

    Raises:
        DataError: a line is damaged.
    """
    known: dict[str, str] = {}  # the same titles come again and again

    def trace(line: dict[str, Any]) -> Trace:
        titles = tuple(tuple(known.setdefault(t, t) for t in texts(own)) for own in line["titles"])
        found = tuple(
            tuple((known.setdefault(text(id), id), known.setdefault(text(title), title)) for id, title in own)
            for own in line.get("found", ())
        )
        row = text(line.get("row", path.stem))
        queries = texts(line["queries"])
        if len(queries) != len(titles):
            raise ValueError(f"{len(queries)} queries, but titles of {len(titles)} hops")
        found = found if len(found) == len(titles) else tuple(() for _ in titles)
        return Trace(text(line["question_id"]), queries, titles, found, known.setdefault(row, row))

    return records(path, trace)


def read_asked(path: Path) -> dict[str, Asked]:
    """Question id -> question; empty where the file is absent.

    Raises:
        DataError: a line is damaged.
    """

    def asked(line: dict[str, Any]) -> tuple[str, Asked]:
        gold, kind = texts(line.get("supporting", [])), text(line.get("kind", ""))
        return text(line["id"]), Asked(text(line["question"]), text(line.get("answer", "")), gold, kind)

    return dict(records(path, asked))


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """`recall@hopN` and `ap@hopN` of every question: row -> metric -> question id -> value."""
    asked = read_asked(run.path("traces", "questions.jsonl"))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for path in trace_files(run).values() if asked else ():
        for trace in read_traces(path):
            own = asked.get(trace.question)
            if own is None or not own.gold:
                continue
            row = found.setdefault(trace.row, {})
            for hop, titles in enumerate(trace.titles, 1):
                row.setdefault(f"recall@hop{hop}", {})[trace.question] = recall(titles, own.gold)
                row.setdefault(f"ap@hop{hop}", {})[trace.question] = average_precision(titles, own.gold)
    return found
