"""A calibration run on the page: is each method right as often as it is sure, and which answers show it?

Read from `predictions.jsonl`; the questions' texts from `questions.jsonl`, which older runs lack.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise

import numpy as np

from lmtools.calibration.predictions import Prediction, columns, read_predictions
from lmtools.calibration.questions import FILE, read_asked
from lmtools.core.statistics import Interval
from lmtools.metrics.calibration import bins
from lmtools.metrics.tally import Floats
from lmtools.report.answer_list import BIN, NAME, Answer, answer_list, bin_name, by_answer
from lmtools.report.chart_data import cell
from lmtools.report.parts import Dots, Grid, Line, Lines, Part, Prose, Reliability, Section
from lmtools.report.risk_coverage import STEADY, Curve
from lmtools.report.source import Source
from lmtools.report.words import HEADS, compared, unit

SYSTEM = "calibration"
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
    known = run.path(FILE).is_file()
    if not known:
        text = f"This run has no {FILE}: questions go by their ids. The same command run anew writes it."
        notes.append(Prose(text, "note"))
    if len(tasks) > MOST_TASKS:
        text = f"{len(tasks) - MOST_TASKS} more tasks have their figures in metrics.json and plots/."
        notes.append(Prose(text, "note"))
    found = answer_list(tasks, read_asked(run.path(FILE)) if known else (), strong)
    total = sum(map(len, tasks.values()))
    if total > len(found.entries):
        text = (
            f"{len(found.entries):,} of {total:,} answers are listed: some of every bin, the sure and wrong "
            "ones first. The diagrams count all, and predictions.jsonl has every one."
        )
        notes.append(Prose(text, "note"))
    return Section("Answers", [*notes, found])
