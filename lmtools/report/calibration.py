"""A calibration run on the page: is each method right as often as it is sure, and which answers show it?

Read from `predictions.jsonl`; the questions' texts from `questions.jsonl`, which older runs lack.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise

import numpy as np

from lmtools.core.results import Interval
from lmtools.data.predictions import (
    QUESTIONS_FILE,
    AskedQuestion,
    Prediction,
    columns,
    read_asked,
    read_predictions,
)
from lmtools.metrics.calibration import BINS, Floats, bin_of, bins
from lmtools.report.calibration_plots import STEADY, Curve
from lmtools.report.charts import cell, said
from lmtools.report.elements import (
    Block,
    Browser,
    Dots,
    Entry,
    Grid,
    Item,
    Line,
    Lines,
    Part,
    Prose,
    Reliability,
    Section,
)
from lmtools.report.run_files import Source
from lmtools.report.sentences import HEADS, compared, unit

SYSTEM = "calibration"
Answer = dict[str, Prediction]
"""One answer to one question under every method, the model as it is first."""
METRICS = ("ece", "brier", "auroc", "accuracy")
MOST_TASKS = 12
MOST_POINTS = 200
"""Of a curve."""
READ = (
    "Bars are the share of right answers at each confidence, the coloured part is the gap between that and "
    "the confidence: orange where the model was too sure, blue where it was not sure enough. Press a bar to "
    "see its answers in the list below."
)
KEPT_BACK = "The least sure answers are kept back: the further left, the fewer are given."


def sections(run: Source) -> list[Section]:
    """A section for each task, and the list of answers; none where the run is no such measurement.

    Raises:
        DataError: `predictions.jsonl` or `questions.jsonl` is damaged.
    """
    if not _measured(run):
        return []
    tasks = by_answer(read_predictions(run.path("predictions.jsonl")))
    if not tasks:
        return []
    strong = main_method([method for own in tasks.values() for answer in own for method in answer])
    found = [_task(run, task, own, strong) for task, own in islice(tasks.items(), MOST_TASKS)]
    return [*found, _answers(run, tasks, strong)]


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy and Brier score of every method on every question, means over its answers.

    Raises:
        DataError: `predictions.jsonl` is damaged.
    """
    if not _measured(run):
        return {}
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for one in read_predictions(run.path("predictions.jsonl")):
        own = values.setdefault(one.method, {})
        for metric, value in (("accuracy", one.correct), ("brier", (one.confidence - one.correct) ** 2)):
            own.setdefault(f"{one.task}/{metric}", {}).setdefault(one.id, []).append(float(value))
    return {
        method: {
            metric: {id: sum(each) / len(each) for id, each in examples.items()}
            for metric, examples in own.items()
        }
        for method, own in values.items()
    }


def main_method(methods: Sequence[str]) -> str:
    """The method that the page is about: the strongest kind of head, else the last one."""
    known = list(dict.fromkeys(methods))
    return next((name for name in HEADS if name in known), known[-1])


def thinned(x: Floats, y: Floats, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many points of a curve that looks the same: of each stretch of x its lowest and highest."""
    if len(x) <= most:
        return list(zip(x.tolist(), y.tolist(), strict=True))
    edges = np.linspace(x[0], x[-1], most // 2)
    parts = np.searchsorted(x, edges)  # len(edges) - 1 stretches, and the two ends
    kept = {0, len(x) - 1}
    for start, end in pairwise(parts):
        if end > start:
            kept |= {int(start + y[start:end].argmin()), int(start + y[start:end].argmax())}
    return [(float(x[place]), float(y[place])) for place in sorted(kept)]


def _measured(run: Source) -> bool:
    return run.settings.get("system") == SYSTEM and run.path("predictions.jsonl").is_file()


def _task(run: Source, task: str, answers: Sequence[Answer], strong: str) -> Section:
    """Figures, diagrams and curves of one task."""
    methods: dict[str, list[Prediction]] = {}
    for answer in answers:
        for method, own in answer.items():
            methods.setdefault(method, []).append(own)
    parts: list[Part] = [*_told(run, task, strong)]
    dots = [dot for metric in METRICS if (dot := _dots(run, f"{task}/{metric}", strong))]
    if dots:
        parts.append(Grid(dots, "Every method, with 95 % intervals"))
    diagrams = [_reliability(run, task, method, own) for method, own in methods.items()]
    parts += [Prose(READ, "note"), Grid(diagrams, "Reliability")]
    curves = [Line(method, _curve(method, own)) for method, own in methods.items()]
    title = "Risk and coverage: how many are wrong among the answers that are given"
    parts += [
        Lines(
            title, curves, "coverage: share of answers given", "share of wrong ones", "rate", strong=strong
        ),
        Prose(KEPT_BACK, "note"),
    ]
    return Section(f"Calibration on {task}", parts)


def _told(run: Source, task: str, strong: str) -> Iterator[Part]:
    """What calibrating changed, in sentences."""
    found = {one.metric: one for one in run.results.differences if one.a == strong} if run.results else {}
    for metric in METRICS:
        if f"{task}/{metric}" in found and metric != "accuracy":
            yield Prose(compared(found[f"{task}/{metric}"]))


def _dots(run: Source, metric: str, strong: str) -> Dots | None:
    rows = [(name, own) for name, own in _intervals(run, metric).items()]
    return Dots(metric.rpartition("/")[2], rows, unit(metric), strong=strong) if rows else None


def _intervals(run: Source, metric: str) -> dict[str, Interval]:
    rows = run.results.rows if run.results else ()
    return {row.name: row.metrics[metric] for row in rows if metric in row.metrics}


def _reliability(run: Source, task: str, method: str, own: Sequence[Prediction]) -> Reliability:
    confidence, correct, _ = columns(own)
    found = bins(confidence, correct)
    ece = _intervals(run, f"{task}/ece").get(method)
    picks: list[Mapping[str, str]] = [
        {BIN: bin_name(task, method, place)} for place in range(len(found.counts))
    ]
    return Reliability(
        f"{method}: ECE {cell(ece, 'rate')}" if ece else method,
        found.edges.tolist(),
        found.counts.tolist(),
        _known(found.confidence),
        _known(found.accuracy),
        NAME,
        picks,
    )


def _curve(method: str, own: Sequence[Prediction]) -> list[tuple[float, float]]:
    """Risk over coverage, from where it is steady: before, single answers throw it from 0 to 1."""
    confidence, correct, _ = columns(own)
    curve = Curve.of(method, confidence, correct)
    # Among answers of the highest confidence the risk of any part is that of all.
    coverage, risk = np.append(STEADY, curve.coverage), np.append(curve.risk[0], curve.risk)
    steady = coverage >= STEADY
    steady[0] = curve.coverage[0] > STEADY
    return thinned(coverage[steady], risk[steady])


def _known(values: Floats) -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in values]


def _answers(run: Source, tasks: Mapping[str, Sequence[Answer]], strong: str) -> Section:
    notes: list[Part] = []
    known = run.path(QUESTIONS_FILE).is_file()
    if not known:
        text = f"This run has no {QUESTIONS_FILE}: questions go by their ids."
        notes.append(Prose(f"{text} The same command run anew writes it.", "note"))
    if len(tasks) > MOST_TASKS:
        text = f"{len(tasks) - MOST_TASKS} more tasks have their figures in metrics.json and plots/."
        notes.append(Prose(text, "note"))
    found = answer_list(tasks, read_asked(run.path(QUESTIONS_FILE)) if known else (), strong)
    total = sum(map(len, tasks.values()))
    if total > len(found.entries):
        text = (
            f"{len(found.entries):,} of {total:,} answers are listed: some of every bin, the sure and wrong "
            "ones first. The diagrams count all, and predictions.jsonl has every one."
        )
        notes.append(Prose(text, "note"))
    return Section("Answers", [*notes, found])


# The answers as a list: each question once, whatever the number of methods.
#
# A row carries its bin under every method, so that a click on a bin of any method's diagram finds it.

NAME = "answers"
BIN = "bin"
MOST, TIER = 5_000, 10
"""Rows at most; and how many of every bin come before the rest."""
ACCEPTED = 12
"""Accepted answers shown of a question that has very many."""


@dataclass
class _Ranked:
    """An answer, and its place in the bin where it stands first: sure but wrong ones lead each bin."""

    task: str
    answer: Answer
    rank: int = MOST
    bins: list[str] = field(default_factory=list)

    def order(self) -> tuple[int, bool, float]:
        """So many of every bin come first, among them wrong ones by falling confidence, then right ones."""
        first = next(iter(self.answer.values()))
        return self.rank // TIER, first.correct, first.confidence if first.correct else -first.confidence


def by_answer(predictions: Iterable[Prediction]) -> dict[str, list[Answer]]:
    """Task -> its answers. Several answers to a question are several lines, in one order for each method."""
    found: dict[str, dict[tuple[str, int], Answer]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for one in predictions:
        key = (one.task, one.method, one.id)
        turn = seen.get(key, 0)
        seen[key] = turn + 1
        found.setdefault(one.task, {}).setdefault((one.id, turn), {})[one.method] = one
    return {task: list(own.values()) for task, own in found.items()}


def bin_name(task: str, method: str, place: int) -> str:
    """The option of a bin; the page says it above the list."""
    return f"{task}, {method}, confidence {100 * place / BINS:.0f} to {100 * (place + 1) / BINS:.0f} %"


def answer_list(
    tasks: Mapping[str, Sequence[Answer]], questions: Iterable[AskedQuestion], strong: str
) -> Browser:
    """The list; of very many answers ``MOST``, some of every bin among them.

    Args:
        tasks: as ``by_answer`` gives them.
        questions: their texts, as far as they are known.
        strong: the method whose confidence stands beside the model's own.
    """
    ranked = [one for task, own in tasks.items() for one in _ranked(task, own)]
    ranked.sort(key=_Ranked.order)
    kept = ranked[:MOST]
    listed = {(one.task, said.id) for one in kept for said in one.answer.values()}
    asked = {key: one for one in questions if (key := (one.task, one.id)) in listed}
    first = next((next(iter(one.answer)) for one in kept), "")
    columns = ["Question", "Answer", "Graded", "Right answer", _sure(first)]
    columns += [_sure(strong)] if strong != first else []
    subjects = {one.subject for one in asked.values() if one.subject}
    filters: dict[str, Sequence[str]] = {
        "task": list(tasks) if len(tasks) > 1 else [],
        "subject": sorted(subjects) if len(subjects) > 1 else [],
        "graded": ["wrong", "right"],
        f"{strong} is": ["surer", "less sure"] if strong != first else [],
        BIN: list(dict.fromkeys(name for one in kept for name in one.bins)),
    }
    filters = {name: options for name, options in filters.items() if options}
    entries = [_entry(one, asked, first, strong, filters) for one in kept]
    return Browser(NAME, "Questions and answers", columns, filters, entries, hidden=[BIN])


def _ranked(task: str, answers: Sequence[Answer]) -> list[_Ranked]:
    found = [_Ranked(task, answer) for answer in answers]
    for method in dict.fromkeys(name for answer in answers for name in answer):
        own = [(one, one.answer[method]) for one in found if method in one.answer]
        confidence = np.array([said.confidence for _, said in own])
        correct = np.array([said.correct for _, said in own])
        bins = bin_of(confidence)
        names = [bin_name(task, method, place) for place in range(BINS)]
        order = np.lexsort((np.where(correct, confidence, -confidence), correct, bins))
        starts = np.searchsorted(bins[order], np.arange(BINS))
        for place, at in enumerate(order.tolist()):
            one, number = own[at][0], int(bins[at])
            one.rank = min(one.rank, place - int(starts[number]))
            one.bins.append(names[number])
    return found


def _entry(
    one: _Ranked,
    asked: Mapping[tuple[str, str], AskedQuestion],
    first: str,
    strong: str,
    filters: Mapping[str, Sequence[str]],
) -> Entry:
    shown = one.answer.get(first) or next(iter(one.answer.values()))
    question = asked.get((one.task, shown.id))
    graded = "right" if shown.correct else "wrong"
    cells = [
        question.question if question else shown.id,
        shown.answer or "(nothing)",
        graded,
        question.accepted[0] if question and question.accepted else "–",
        said(shown.confidence, "rate"),
    ]
    options: dict[str, str | Sequence[str]] = {"graded": graded, BIN: one.bins, "task": one.task}
    if strong != first:
        other = one.answer.get(strong)
        cells.append(said(other.confidence if other else None, "rate"))
        if other and other.confidence != shown.confidence:
            options[f"{strong} is"] = "surer" if other.confidence > shown.confidence else "less sure"
    if question and question.subject:
        options["subject"] = question.subject
    options = {name: own for name, own in options.items() if name in filters}
    return Entry(cells, options, list(_detail(one, shown, question)))


def _detail(one: _Ranked, shown: Prediction, question: AskedQuestion | None) -> Iterator[Block]:
    if question:
        yield Block(f"Question {shown.id}", question.question)
        if question.choices:
            yield Block("Choices", items=[_choice(choice, shown, question) for choice in question.choices])
        else:
            more = len(question.accepted) - ACCEPTED
            items = [Item(text, "gold") for text in question.accepted[:ACCEPTED]]
            yield Block("Accepted answers", f"and {more:,} more" if more > 0 else "", items)
    yield Block("Confidence", items=[_line(method, own, shown) for method, own in one.answer.items()])


def _choice(choice: str, shown: Prediction, question: AskedQuestion) -> Item:
    chosen = choice == shown.answer
    words = f"{choice} (chosen)" if chosen else choice
    if choice in question.accepted:
        return Item(words, "gold")
    return Item(words, "bad" if chosen else "")


def _line(method: str, own: Prediction, shown: Prediction) -> Item:
    """A method's confidence; its answer too, where that is another."""
    text = f"{method}: {said(own.confidence, 'rate')}"
    if own.answer == shown.answer and own.correct == shown.correct:
        return Item(text)
    return Item(f"{text} in “{own.answer}”", "good" if own.correct else "bad")


def _sure(method: str) -> str:
    return f"Confidence, {method}"
