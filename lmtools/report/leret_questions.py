"""The questions of a LeReT evaluation to browse: what was asked and found before learning, and after."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from lmtools.core.strings import cut
from lmtools.metrics.retrieval import average_precision, recall
from lmtools.report.elements import Block, Browser, Entry, Item, Part, Prose
from lmtools.report.run_files import Source, records, text, texts

# What a LeReT evaluation left in `traces/`: every policy's queries and passages, question by question.
#
# Which files there are and what stands in them is told where they are written, by `lmtools leret eval`.

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


T = TypeVar("T")
BETTER, WORSE, MISSING, FOUND = "got better", "got worse", "still missing", "found both times"
BEFORE = ("zero-shot", "question", "few-shot")
"""What learning is compared with: the first of these that was measured."""
MOST, MOST_WITH_TEXTS = 20_000, 2_000
"""Questions that are listed, and those of them whose passages can be read: more than a page has room for."""
EACH = 100
"""Of each outcome, questions that come before all others."""
LONGEST = 90
"""Characters of a query in a cell."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One question and every policy's trace of it, by kind; ``before`` and ``after`` count gold titles."""

    asked: Asked
    traces: Mapping[str, Trace]
    before: int
    after: int

    @property
    def outcome(self) -> str:
        """What learning has changed, by the gold found after the last hop."""
        if self.after != self.before:
            return BETTER if self.after > self.before else WORSE
        return FOUND if self.after == len(set(self.asked.gold)) else MISSING

    @property
    def order(self) -> tuple[float, float, float]:
        """Great changes first, losses before gains of the same size; then what is missing, then the rest."""
        gold = len(set(self.asked.gold))
        change = (self.after - self.before) / gold
        return -abs(change), change, self.after / gold


def questions(run: Source) -> list[Part]:
    """The browser, or a note on why there is none; nothing where the run measured no policy."""
    files = trace_files(run)
    if not files:
        return []
    asked = read_asked(run.path("traces", "questions.jsonl"))
    if not asked:
        return [Prose(_without_questions(run), "note")]
    kinds = list(files)
    before, after = next((kind for kind in BEFORE if kind in kinds), kinds[0]), kinds[-1]
    ordered = sorted(_compared(files, asked, before, after), key=lambda one: one.order)
    compared = some_of_each(ordered, lambda one: one.outcome)
    if not compared:
        return [Prose("No question of the traces has gold titles in traces/questions.jsonl.", "note")]
    if len(asked) > MOST:
        note = f"Listed are the first {MOST:,} of {len(asked):,} questions."
        return [Prose(note, "note"), _browser(run, compared, before, after)]
    return [_browser(run, compared, before, after)]


def some_of_each(ordered: Sequence[T], outcome: Callable[[T], str]) -> list[T]:
    """The first few of every outcome, then the others: where a page is cut, every filter still shows some."""
    seen: Counter[str] = Counter()
    first: list[T] = []
    others: list[T] = []
    for one in ordered:
        seen[outcome(one)] += 1
        (first if seen[outcome(one)] <= EACH else others).append(one)
    return [*first, *others]


def _without_questions(run: Source) -> str:
    return (
        "This run was made before questions and passages were kept beside the traces. To browse them, "
        f"measure its policy again: lmtools leret eval --policy {shlex.quote(str(run.directory))}"
    )


def _compared(
    files: Mapping[str, Path], asked: Mapping[str, Asked], before: str, after: str
) -> Iterator[Compared]:
    every = {
        kind: {trace.question: trace for trace in islice(read_traces(path), MOST)}
        for kind, path in files.items()
    }
    for name in every[after]:
        question = asked.get(name)
        traces = {kind: own[name] for kind, own in every.items() if name in own}
        if question is not None and question.gold and before in traces:
            gold = set(question.gold)
            yield Compared(question, traces, _hit(traces[before], gold), _hit(traces[after], gold))


def _hit(trace: Trace, gold: set[str]) -> int:
    return len(gold.intersection(trace.titles[-1])) if trace.titles else 0


def _browser(run: Source, compared: Sequence[Compared], before: str, after: str) -> Browser:
    rows = {kind: trace.row for one in compared for kind, trace in one.traces.items()}
    shown = compared[:MOST_WITH_TEXTS]
    ids = {
        id for one in shown for kind in (before, after) for found in one.traces[kind].found for id, _ in found
    }
    passages = _texts(run.path("traces", "passages.jsonl"), ids)
    kinds = sorted({one.asked.kind for one in compared} - {""})
    filters: dict[str, Sequence[str]] = {"Outcome": (BETTER, WORSE, MISSING, FOUND)}
    columns = ["Question", "Query before", "Query after", "Gold found"]
    title = f"Every question: {rows[before]} before, {rows[after]} after"
    if before == after:
        filters, title = {"Outcome": (MISSING, FOUND)}, f"Every question: {rows[after]}"
        columns = ["Question", "Query", "Gold found"]
    if len(kinds) > 1:
        filters["Kind"] = kinds
    entries = [_entry(one, before, after, passages, len(kinds) > 1) for one in compared]
    return Browser("leret-questions", title, columns, filters, entries)


def _texts(path: Path, ids: set[str]) -> dict[str, str]:
    """The passages that are to be shown, by id."""
    found = records(path, lambda line: (text(line["id"]), text(line["text"])))
    return {id: passage for id, passage in found if id in ids}


def _entry(one: Compared, before: str, after: str, passages: Mapping[str, str], with_kind: bool) -> Entry:
    options = {"Outcome": one.outcome}
    if with_kind and one.asked.kind:
        options["Kind"] = one.asked.kind
    size = len(set(one.asked.gold))
    if before == after:
        cells = [one.asked.question, _asked_by(one, after), f"{one.after} of {size}"]
    else:
        figures = f"{one.before} → {one.after} of {size}"
        cells = [one.asked.question, _asked_by(one, before), _asked_by(one, after), figures]
    roles = {before: "Before, ", after: "After, "} if before != after else {}
    order = sorted(one.traces, key=lambda kind: (kind != before, kind != after, KINDS.index(kind)))
    blocks = [_gold(one)]
    for kind in order:
        readable = passages if kind in (before, after) else {}  # a page holds only so much text
        blocks += _hops(one.traces[kind], roles.get(kind, ""), set(one.asked.gold), readable)
    return Entry(cells, options, blocks)


def _asked_by(one: Compared, kind: str) -> str:
    return "the question itself" if kind == "question" else in_words(one.traces[kind].queries)


def in_words(queries: Sequence[str]) -> str:
    """The queries of all hops in a few words, as a cell of a table.

    >>> in_words(["Anna Berg", "Lund"]), in_words(["Lund", "Lund"])
    ('Anna Berg · then: Lund', 'Lund · then the same')
    """
    said = []
    for place, query in enumerate(queries):
        if place and query == queries[place - 1]:
            said.append(" · then the same")
            continue
        said.append((" · then: " if place else "") + (cut(query, LONGEST).strip() or "(an empty query)"))
    return "".join(said)


def _gold(one: Compared) -> Block:
    answer = f"Answer: {one.asked.answer}. " if one.asked.answer else ""
    items = [Item(title, "gold") for title in dict.fromkeys(one.asked.gold)]
    return Block("To be found", f"{one.asked.question}\n{answer}Needed:", items)


def _hops(trace: Trace, role: str, gold: set[str], passages: Mapping[str, str]) -> Iterator[Block]:
    """What each hop asked, and the passages it added to those before."""
    for number, (query, found) in enumerate(zip(trace.queries, trace.found, strict=True), 1):
        name = f"{role}{trace.row}: hop {number}"
        items = [Item(title, "gold" if title in gold else "", passages.get(id, "")) for id, title in found]
        nothing = "" if items else "\n(nothing new was found)"
        yield Block(name, (query if query.strip() else "(an empty query)") + nothing, items)
