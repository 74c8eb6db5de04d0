"""A calibration run on the page: is each method right as often as it is sure, and which answers show it?

Read from `predictions.jsonl`; the questions' texts from `questions.jsonl`, which older runs lack. Of each
task the page has figures, reliability diagrams and risk-coverage curves, whose charts ``calibration_plots``
builds; then comes the list of all answers, which a click on a bin of a diagram filters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.data.predictions import (
    QUESTIONS_FILE,
    AskedQuestion,
    Prediction,
    read_asked,
    read_predictions,
)
from lmtools.metrics.calibration import BINS, bin_of
from lmtools.report.calibration_plots import ANSWERS, BIN, STEADY, bin_name, task_charts
from lmtools.report.charts import format_value
from lmtools.report.elements import (
    Block,
    Browser,
    Dots,
    Entry,
    Grid,
    Item,
    Line,
    Part,
    Prose,
    Section,
)
from lmtools.report.run_files import Source
from lmtools.report.sentences import HEADS, difference_sentence, unit

SYSTEM = "calibration"
METRICS = ("ece", "brier", "auroc", "accuracy")
MOST_TASKS = 12
MOST_POINTS = 200
"""Of a curve."""
MOST, TIER = 5_000, 10
"""Rows of the list at most; and how many of every bin come before the rest."""
ACCEPTED = 12
"""Accepted answers that are listed of a question that has very many."""
READ = (
    "Bars are the share of right answers at each confidence, the coloured part is the gap between that and "
    "the confidence: orange where the model was too sure, blue where it was not sure enough. Press a bar to "
    "see its answers in the list below."
)
KEPT_BACK = "The least sure answers are kept back: the further left, the fewer are given."

Answer = dict[str, Prediction]
"""One answer to one question under every method, the model as it is first."""


def sections(run: Source) -> list[Section]:
    """A section for each task, and the list of answers; none where the run is no such measurement.

    Raises:
        DataError: `predictions.jsonl` or `questions.jsonl` is damaged.
    """
    if not _has_predictions(run):
        return []
    tasks = by_answer(read_predictions(run.path("predictions.jsonl")))
    if not tasks:
        return []
    strong = main_method([method for answers in tasks.values() for answer in answers for method in answer])
    charts = [_task(run, task, answers, strong) for task, answers in islice(tasks.items(), MOST_TASKS)]
    return [*charts, _answers(run, tasks, strong)]


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Accuracy and Brier score of every method on every question, means over its answers.

    Raises:
        DataError: `predictions.jsonl` is damaged.
    """
    if not _has_predictions(run):
        return {}
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for line in read_predictions(run.path("predictions.jsonl")):
        metrics = values.setdefault(line.method, {})
        for metric, value in (("accuracy", line.correct), ("brier", (line.confidence - line.correct) ** 2)):
            metrics.setdefault(f"{line.task}/{metric}", {}).setdefault(line.id, []).append(float(value))
    return {
        method: {
            metric: {id: sum(answers) / len(answers) for id, answers in examples.items()}
            for metric, examples in metrics.items()
        }
        for method, metrics in values.items()
    }


def by_answer(predictions: Iterable[Prediction]) -> dict[str, list[Answer]]:
    """Task -> its answers. Several answers to a question are several lines, in one order for each method."""
    answers: dict[str, dict[tuple[str, int], Answer]] = {}
    seen: dict[tuple[str, str, str], int] = {}
    for line in predictions:
        key = (line.task, line.method, line.id)
        turn = seen.get(key, 0)
        seen[key] = turn + 1
        answers.setdefault(line.task, {}).setdefault((line.id, turn), {})[line.method] = line
    return {task: list(by_turn.values()) for task, by_turn in answers.items()}


def main_method(methods: Sequence[str]) -> str:
    """The method that the page is about: the strongest kind of head, else the last one."""
    distinct = list(dict.fromkeys(methods))
    return next((name for name in HEADS if name in distinct), distinct[-1])


def _has_predictions(run: Source) -> bool:
    return run.settings.get("system") == SYSTEM and run.path("predictions.jsonl").is_file()


# Task by task: sentences, figures, diagrams and curves.


def _task(run: Source, task: str, answers: Sequence[Answer], strong: str) -> Section:
    methods: dict[str, list[Prediction]] = {}
    for answer in answers:
        for method, prediction in answer.items():
            methods.setdefault(method, []).append(prediction)
    parts: list[Part] = [*_changes(run, task, strong)]
    dots = [dot for metric in METRICS if (dot := _dots(run, f"{task}/{metric}", strong))]
    if dots:
        parts.append(Grid(dots, "Every method, with 95 % intervals"))
    diagrams, risk = task_charts(task, methods, run.results, strong)
    parts += [Prose(READ, "note"), Grid(diagrams, "Reliability")]
    parts += [replace(risk, lines=[_steady(curve) for curve in risk.lines]), Prose(KEPT_BACK, "note")]
    return Section(f"Calibration on {task}", parts)


def _changes(run: Source, task: str, strong: str) -> Iterator[Part]:
    """What calibrating changed, in sentences."""
    # From the first of what it is compared with: the model as it is.
    paired = reversed(run.results.differences) if run.results else ()
    differences = {d.metric: d for d in paired if d.a == strong}
    for metric in METRICS:
        if f"{task}/{metric}" in differences and metric != "accuracy":
            yield Prose(difference_sentence(differences[f"{task}/{metric}"]))


def _dots(run: Source, metric: str, strong: str) -> Dots | None:
    rows = run.results.rows if run.results else ()
    dots = [(row.name, row.metrics[metric]) for row in rows if metric in row.metrics]
    return Dots(metric.rpartition("/")[2], dots, unit(metric), strong=strong) if dots else None


def _steady(curve: Line) -> Line:
    """The curve from where it is steady, thinned: before, single answers throw the risk from 0 to 1."""
    coverage, risk = np.array(curve.points).T
    # The first point is at coverage 0; it moves to where the chart begins, or goes if a point is there.
    coverage[0] = STEADY
    steady = coverage >= STEADY
    steady[0] = coverage[1] > STEADY
    return replace(curve, points=thinned(coverage[steady], risk[steady]))


def thinned(x: Floats, y: Floats, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many points of a curve that looks the same: of each stretch of x its lowest and highest."""
    if len(x) <= most:
        return list(zip(x.tolist(), y.tolist(), strict=True))
    edges = np.linspace(x[0], x[-1], most // 2)
    starts = np.searchsorted(x, edges)  # len(edges) - 1 stretches, and the two ends
    kept = {0, len(x) - 1}
    for start, end in pairwise(starts):
        if end > start:
            kept |= {int(start + y[start:end].argmin()), int(start + y[start:end].argmax())}
    return [(float(x[index]), float(y[index])) for index in sorted(kept)]


# The answers as a list: each question once, whatever the number of methods.
#
# A row carries its bin under every method, so that a click on a bin of any method's diagram finds it.


def _answers(run: Source, tasks: Mapping[str, Sequence[Answer]], strong: str) -> Section:
    """The list, and notes on what it does not have."""
    notes: list[Part] = []
    with_texts = run.path(QUESTIONS_FILE).is_file()
    if not with_texts:
        text = f"This run has no {QUESTIONS_FILE}: questions go by their ids."
        notes.append(Prose(f"{text} The same command run anew writes it.", "note"))
    if len(tasks) > MOST_TASKS:
        text = f"{len(tasks) - MOST_TASKS} more tasks have their figures in metrics.json and plots/."
        notes.append(Prose(text, "note"))
    browser = answer_list(tasks, read_asked(run.path(QUESTIONS_FILE)) if with_texts else (), strong)
    total = sum(map(len, tasks.values()))
    if total > len(browser.entries):
        text = (
            f"{len(browser.entries):,} of {total:,} answers are listed: some of every bin, the sure and "
            "wrong ones first. The diagrams count all, and predictions.jsonl has every one."
        )
        notes.append(Prose(text, "note"))
    return Section("Answers", [*notes, browser])


@dataclass
class _Ranked:
    """An answer, and its rank in the bin where it stands first: sure but wrong ones lead each bin."""

    task: str
    answer: Answer
    rank: int = MOST
    bins: list[str] = field(default_factory=list)

    def order(self) -> tuple[int, bool, float]:
        """So many of every bin come first, among them wrong ones by falling confidence, then right ones."""
        first = next(iter(self.answer.values()))
        return self.rank // TIER, first.correct, first.confidence if first.correct else -first.confidence


def answer_list(
    tasks: Mapping[str, Sequence[Answer]], questions: Iterable[AskedQuestion], strong: str
) -> Browser:
    """The list; of very many answers ``MOST``, some of every bin among them.

    Args:
        tasks: as ``by_answer`` gives them.
        questions: their texts, as far as the run has them.
        strong: the method whose confidence stands beside the model's own.
    """
    ranked = [row for task, answers in tasks.items() for row in _ranked(task, answers)]
    ranked.sort(key=_Ranked.order)
    kept = ranked[:MOST]
    # Only the questions of these rows are held in memory: a file of questions may be far longer.
    listed = {(row.task, prediction.id) for row in kept for prediction in row.answer.values()}
    texts = {key: question for question in questions if (key := (question.task, question.id)) in listed}
    first = next((next(iter(row.answer)) for row in kept), "")
    columns = ["Question", "Answer", "Graded", "Right answer", f"Confidence, {first}"]
    columns += [f"Confidence, {strong}"] if strong != first else []
    subjects = {question.subject for question in texts.values() if question.subject}
    # Filters with nothing to choose are left out.
    filters: dict[str, Sequence[str]] = {
        "task": list(tasks) if len(tasks) > 1 else [],
        "subject": sorted(subjects) if len(subjects) > 1 else [],
        "graded": ["wrong", "right"],
        f"{strong} is": ["surer", "less sure"] if strong != first else [],
        BIN: list(dict.fromkeys(name for row in kept for name in row.bins)),
    }
    filters = {name: options for name, options in filters.items() if options}
    entries = [_entry(row, texts, first, strong, filters) for row in kept]
    return Browser(ANSWERS, "Questions and answers", columns, filters, entries, hidden=[BIN])


def _ranked(task: str, answers: Sequence[Answer]) -> list[_Ranked]:
    """The answers of a task with their bins, and with their best rank in any bin of any method."""
    ranked = [_Ranked(task, answer) for answer in answers]
    for method in dict.fromkeys(name for answer in answers for name in answer):
        rows = [(row, row.answer[method]) for row in ranked if method in row.answer]
        confidence = np.array([prediction.confidence for _, prediction in rows])
        correct = np.array([prediction.correct for _, prediction in rows])
        bins = bin_of(confidence)
        names = [bin_name(task, method, k) for k in range(BINS)]
        # By bin; in a bin the wrong answers first, by falling confidence, then the right ones, by rising.
        order = np.lexsort((np.where(correct, confidence, -confidence), correct, bins))
        starts = np.searchsorted(bins[order], np.arange(BINS))
        for position, index in enumerate(order.tolist()):
            row, k = rows[index][0], int(bins[index])
            row.rank = min(row.rank, position - int(starts[k]))
            row.bins.append(names[k])
    return ranked


def _entry(
    row: _Ranked,
    questions: Mapping[tuple[str, str], AskedQuestion],
    first: str,
    strong: str,
    filters: Mapping[str, Sequence[str]],
) -> Entry:
    prediction = row.answer.get(first) or next(iter(row.answer.values()))
    question = questions.get((row.task, prediction.id))
    graded = "right" if prediction.correct else "wrong"
    cells = [
        question.question if question else prediction.id,
        prediction.answer or "(nothing)",
        graded,
        question.accepted[0] if question and question.accepted else "–",
        format_value(prediction.confidence, "rate"),
    ]
    options: dict[str, str | Sequence[str]] = {"graded": graded, BIN: row.bins, "task": row.task}
    if strong != first:
        other = row.answer.get(strong)
        cells.append(format_value(other.confidence if other else None, "rate"))
        if other and other.confidence != prediction.confidence:
            options[f"{strong} is"] = "surer" if other.confidence > prediction.confidence else "less sure"
    if question and question.subject:
        options["subject"] = question.subject
    options = {name: option for name, option in options.items() if name in filters}
    return Entry(cells, options, list(_detail(row, prediction, question)))


def _detail(row: _Ranked, prediction: Prediction, question: AskedQuestion | None) -> Iterator[Block]:
    if question:
        yield Block(f"Question {prediction.id}", question.question)
        if question.choices:
            items = [_choice(choice, prediction, question) for choice in question.choices]
            yield Block("Choices", items=items)
        else:
            more = len(question.accepted) - ACCEPTED
            items = [Item(text, "gold") for text in question.accepted[:ACCEPTED]]
            yield Block("Accepted answers", f"and {more:,} more" if more > 0 else "", items)
    yield Block("Confidence", items=[_line(*method, prediction) for method in row.answer.items()])


def _choice(choice: str, prediction: Prediction, question: AskedQuestion) -> Item:
    chosen = choice == prediction.answer
    text = f"{choice} (chosen)" if chosen else choice
    if choice in question.accepted:
        return Item(text, "gold")
    return Item(text, "bad" if chosen else "")


def _line(method: str, prediction: Prediction, first: Prediction) -> Item:
    """A method's confidence; its answer too, where that is another than the ``first`` method's."""
    text = f"{method}: {format_value(prediction.confidence, 'rate')}"
    if prediction.answer == first.answer and prediction.correct == first.correct:
        return Item(text)
    return Item(f"{text} in “{prediction.answer}”", "good" if prediction.correct else "bad")
