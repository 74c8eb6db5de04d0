"""The questions of a LeReT evaluation, to browse: every policy's queries and passages, hop by hop.

`lmtools leret eval` leaves them in `traces/`: the questions, the passages, and a file for each policy.
"""

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

# What an evaluation left in `traces/`, read back.

KINDS = ("question", "zero-shot", "few-shot", "sft", "trained")
"""Of trace files, from the least taught policy to the most taught."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question's text and answer, the titles that are its gold, and what kind of question it is."""

    text: str
    answer: str
    gold: tuple[str, ...]
    kind: str


@dataclass(frozen=True, slots=True)
class Trace:
    """A policy's way through one question.

    ``titles`` are those of the whole context after each hop; ``added`` the (id, title) that each hop added.
    ``row`` is the policy's row in the results.
    """

    question_id: str
    queries: tuple[str, ...]
    titles: tuple[tuple[str, ...], ...]
    added: tuple[tuple[tuple[str, str], ...], ...]
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
    names: dict[str, str] = {}  # the same titles come again and again

    def trace(line: dict[str, Any]) -> Trace:
        titles = tuple(tuple(names.setdefault(t, t) for t in texts(hop)) for hop in line["titles"])
        added = tuple(
            tuple((names.setdefault(text(id), id), names.setdefault(text(title), title)) for id, title in hop)
            for hop in line.get("found", ())
        )
        row = text(line.get("row", path.stem))
        queries = texts(line["queries"])
        if len(queries) != len(titles):
            raise ValueError(f"{len(queries)} queries, but titles of {len(titles)} hops")
        added = added if len(added) == len(titles) else tuple(() for _ in titles)
        return Trace(text(line["question_id"]), queries, titles, added, names.setdefault(row, row))

    return records(path, trace)


def read_questions(path: Path) -> dict[str, Question]:
    """Question id -> question; empty where the file is absent.

    Raises:
        DataError: a line is damaged.
    """

    def question(line: dict[str, Any]) -> tuple[str, Question]:
        gold, kind = texts(line.get("supporting", [])), text(line.get("kind", ""))
        return text(line["id"]), Question(text(line["question"]), text(line.get("answer", "")), gold, kind)

    return dict(records(path, question))


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """`recall@hopN` and `ap@hopN` of every question: row -> metric -> question id -> value."""
    questions = read_questions(run.path("traces", "questions.jsonl"))
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for path in trace_files(run).values() if questions else ():
        for trace in read_traces(path):
            question = questions.get(trace.question_id)
            if question is None or not question.gold:
                continue
            row, id = rows.setdefault(trace.row, {}), trace.question_id
            for hop, titles in enumerate(trace.titles, 1):
                row.setdefault(f"recall@hop{hop}", {})[id] = recall(titles, question.gold)
                row.setdefault(f"ap@hop{hop}", {})[id] = average_precision(titles, question.gold)
    return rows


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

    question: Question
    traces: Mapping[str, Trace]
    before: int
    after: int

    @property
    def outcome(self) -> str:
        """What learning has changed, by the gold found after the last hop."""
        if self.after != self.before:
            return BETTER if self.after > self.before else WORSE
        return FOUND if self.after == len(set(self.question.gold)) else MISSING

    @property
    def order(self) -> tuple[float, float, float]:
        """Great changes first, losses before gains of the same size; then what is missing, then the rest."""
        gold = len(set(self.question.gold))
        change = (self.after - self.before) / gold
        return -abs(change), change, self.after / gold


def questions(run: Source) -> list[Part]:
    """The browser, or a note on why there is none; nothing where the run measured no policy."""
    files = trace_files(run)
    if not files:
        return []
    by_id = read_questions(run.path("traces", "questions.jsonl"))
    if not by_id:
        return [Prose(_without_questions(run), "note")]
    kinds = list(files)
    before, after = next((kind for kind in BEFORE if kind in kinds), kinds[0]), kinds[-1]
    ordered = sorted(_compared(files, by_id, before, after), key=lambda row: row.order)
    rows = some_of_each_outcome(ordered, lambda row: row.outcome)
    if not rows:
        return [Prose("No question of the traces has gold titles in traces/questions.jsonl.", "note")]
    if len(by_id) > MOST:
        note = f"Listed are the first {MOST:,} of {len(by_id):,} questions."
        return [Prose(note, "note"), _browser(run, rows, before, after)]
    return [_browser(run, rows, before, after)]


def some_of_each_outcome(ordered: Sequence[T], outcome: Callable[[T], str]) -> list[T]:
    """The first few of every outcome, then the rest: where a page is cut, every filter still has entries."""
    seen: Counter[str] = Counter()
    first: list[T] = []
    rest: list[T] = []
    for item in ordered:
        seen[outcome(item)] += 1
        (first if seen[outcome(item)] <= EACH else rest).append(item)
    return [*first, *rest]


def _without_questions(run: Source) -> str:
    return (
        "This run was made before questions and passages were kept beside the traces. To browse them, "
        f"measure its policy again: lmtools leret eval --policy {shlex.quote(str(run.directory))}"
    )


def _compared(
    files: Mapping[str, Path], questions: Mapping[str, Question], before: str, after: str
) -> Iterator[Compared]:
    by_kind = {
        kind: {trace.question_id: trace for trace in islice(read_traces(path), MOST)}
        for kind, path in files.items()
    }
    for name in by_kind[after]:
        question = questions.get(name)
        traces = {kind: by_question[name] for kind, by_question in by_kind.items() if name in by_question}
        if question is not None and question.gold and before in traces:
            gold = set(question.gold)
            counts = (_gold_count(traces[kind], gold) for kind in (before, after))
            yield Compared(question, traces, *counts)


def _gold_count(trace: Trace, gold: set[str]) -> int:
    return len(gold.intersection(trace.titles[-1])) if trace.titles else 0


def _browser(run: Source, rows: Sequence[Compared], before: str, after: str) -> Browser:
    policies = {kind: trace.row for row in rows for kind, trace in row.traces.items()}
    # Passages are long: only those of the first questions, before and after, are read.
    readable = [row.traces[kind] for row in rows[:MOST_WITH_TEXTS] for kind in (before, after)]
    ids = {id for trace in readable for added in trace.added for id, _ in added}
    passages = _passages(run.path("traces", "passages.jsonl"), ids)
    kinds = sorted({row.question.kind for row in rows} - {""})
    filters: dict[str, Sequence[str]] = {"Outcome": (BETTER, WORSE, MISSING, FOUND)}
    columns = ["Question", "Query before", "Query after", "Gold found"]
    title = f"Every question: {policies[before]} before, {policies[after]} after"
    if before == after:
        filters, title = {"Outcome": (MISSING, FOUND)}, f"Every question: {policies[after]}"
        columns = ["Question", "Query", "Gold found"]
    if len(kinds) > 1:
        filters["Kind"] = kinds
    entries = [_entry(row, before, after, passages, len(kinds) > 1) for row in rows]
    return Browser("leret-questions", title, columns, filters, entries)


def _passages(path: Path, ids: set[str]) -> dict[str, str]:
    """The texts of these passages, by id."""
    passages = records(path, lambda line: (text(line["id"]), text(line["text"])))
    return {id: passage for id, passage in passages if id in ids}


def _entry(row: Compared, before: str, after: str, passages: Mapping[str, str], with_kind: bool) -> Entry:
    options = {"Outcome": row.outcome}
    if with_kind and row.question.kind:
        options["Kind"] = row.question.kind
    size = len(set(row.question.gold))
    if before == after:
        cells = [row.question.text, _queries(row, after), f"{row.after} of {size}"]
    else:
        figures = f"{row.before} → {row.after} of {size}"
        cells = [row.question.text, _queries(row, before), _queries(row, after), figures]
    roles = {before: "Before, ", after: "After, "} if before != after else {}
    # The two policies that are compared come first, then the rest from the least taught on.
    order = sorted(row.traces, key=lambda kind: (kind != before, kind != after, KINDS.index(kind)))
    blocks = [_gold(row)]
    for kind in order:
        readable = passages if kind in (before, after) else {}  # a page holds only so much text
        blocks += _hops(row.traces[kind], roles.get(kind, ""), set(row.question.gold), readable)
    return Entry(cells, options, blocks)


def _queries(row: Compared, kind: str) -> str:
    return "the question itself" if kind == "question" else queries_in_words(row.traces[kind].queries)


def queries_in_words(queries: Sequence[str]) -> str:
    """The queries of all hops in a few words, as a cell of a table.

    >>> queries_in_words(["Anna Berg", "Lund"]), queries_in_words(["Lund", "Lund"])
    ('Anna Berg · then: Lund', 'Lund · then the same')
    """
    words = []
    for index, query in enumerate(queries):
        if index and query == queries[index - 1]:
            words.append(" · then the same")
            continue
        words.append((" · then: " if index else "") + (cut(query, LONGEST).strip() or "(an empty query)"))
    return "".join(words)


def _gold(row: Compared) -> Block:
    answer = f"Answer: {row.question.answer}. " if row.question.answer else ""
    items = [Item(title, "gold") for title in dict.fromkeys(row.question.gold)]
    return Block("To be found", f"{row.question.text}\n{answer}Needed:", items)


def _hops(trace: Trace, role: str, gold: set[str], passages: Mapping[str, str]) -> Iterator[Block]:
    """What each hop asked, and the passages it added to those before."""
    for number, (query, added) in enumerate(zip(trace.queries, trace.added, strict=True), 1):
        name = f"{role}{trace.row}: hop {number}"
        items = [Item(title, "gold" if title in gold else "", passages.get(id, "")) for id, title in added]
        nothing = "" if items else "\n(nothing new was found)"
        yield Block(name, (query if query.strip() else "(an empty query)") + nothing, items)
