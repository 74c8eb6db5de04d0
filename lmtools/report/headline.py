"""The top of a page: what was done with which model, on what and when; a verdict; a few large figures.

The verdict on a run is that of ``verdict``, against the strongest baseline of its table. The figures are its
headline, then what else its main row measured; a page with several runs takes them from each in turn.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, zip_longest
from pathlib import PurePath
from typing import Any

from lmtools.core.results import Difference, Interval, Results
from lmtools.report.charts import format_range, format_value
from lmtools.report.elements import Figure, Figures, Part, Prose
from lmtools.report.run_files import Source
from lmtools.report.sentences import PREFERRED, difference_sentence, distance, unit
from lmtools.report.verdict import Verdict, verdict, verdicts

DONE = {
    "quickstart": "LeReT, ATS and HyRe in one quickstart",
    "leret train": "LeReT training",
    "leret eval": "LeReT evaluation",
    "leret explore": "LeReT exploration",
    "ats fit": "ATS temperature heads fitted",
    "ats eval": "ATS calibration measured",
    "hyre train": "HyRe ensemble trained",
    "hyre adapt": "HyRe adapted to a user",
    "hyre eval": "HyRe evaluation",
    "eval calibration": "Calibration measured",
    "eval reward": "Reward model measured",
}
"""A command's words -> what a title says that it did."""
SYSTEMS = {
    "leret": "LeReT",
    "hyre": "HyRe",
    "ats": "ATS",
    "calibration": "Calibration",
    "reward": "Reward model",
}
"""The same for a run that was made by a function, or inside another command."""
DATA = {
    "leret eval": ("test",),
    "leret explore": ("train",),
    "hyre eval": ("targets",),
    "hyre adapt": ("targets",),
}
"""Which of the recipe's data a command reads; the others read what they train on, and a test set."""
FEW, MOST = 4, 5
"""Figures of a run with one headline, and of a page at most."""
MOST_NAMES = 2


def title(run: Source) -> str:
    """``LeReT training: smollm2-135m-instruct on atlas, 2026-01-31``; without what the run does not say."""
    subject = " on ".join(filter(None, (_model(run), _several(_data(run)))))
    what = f"{done(run)}: {subject}" if subject else done(run)
    return ", ".join(filter(None, (what, day(run))))


def done(run: Source) -> str:
    """What a run did."""
    words = run.manifest.command[1:3]
    system = str(run.settings.get("system", ""))
    return DONE.get(" ".join(words)) or DONE.get("".join(words[:1])) or SYSTEMS.get(system) or run.name


def day(run: Source) -> str:
    """When it came to its end, or began."""
    return (run.manifest.finished or run.manifest.started)[:10]


def top(runs: Sequence[Source]) -> list[Part]:
    """The verdict on the first run, and figures of all of them."""
    first = runs[0].results
    if first is None or not first.rows:
        state = "has measured nothing" if first else "is not finished: nothing has been measured yet"
        return [Prose(f"This run {state}.", "warning")]
    return [Prose(verdicts(first, runs[0].head)[0].sentence, "lead"), Figures(figures(runs))]


def figures(runs: Iterable[Source]) -> list[Figure]:
    """At most ``MOST``: the first of each run, then the second of each."""
    queues = [list(_verdicts(run.results, run.head)) for run in runs if run.results and run.results.rows]
    turns = chain.from_iterable(zip_longest(*queues))
    distinct = dict.fromkeys((v.row, v.metric) for v in turns if v)
    by_name = {(v.row, v.metric): v for queue in queues for v in queue}
    large = [_figure(by_name[name]) for name in islice(distinct, MOST)]
    if len(large) < FEW and queues:  # a row with one metric: what it gained
        large += [_gain(d) for d in queues[0][0].differences[: FEW - len(large)]]
    return large


def _verdicts(results: Results, head: str) -> Iterator[Verdict]:
    """The headline; then, of one with few metrics, the main row's others, then other rows."""
    headline = verdicts(results, head)
    main = headline[0]
    task = main.metric.rpartition("/")[0]

    def order(metric: str) -> tuple[bool, int]:
        prefix, _, bare = metric.rpartition("/")
        turns = [turn for turn, pattern in enumerate(PREFERRED) if re.fullmatch(pattern, bare)]
        return prefix != task, min(turns, default=len(PREFERRED))

    rest = sorted(results.row(main.row).metrics, key=order)
    candidates = [(main.row, metric) for metric in rest if metric not in {v.metric for v in headline}]
    candidates += [(row.name, main.metric) for row in results.rows if main.metric in row.metrics]
    more = (
        verdict(results, metric, row)
        for row, metric in dict.fromkeys(candidates)
        if row != main.row or metric != main.metric
    )
    finite = (v for v in chain(headline, more) if math.isfinite(v.value.value))
    yield from islice(finite, max(FEW, len(headline)))


def _gain(d: Difference) -> Figure:
    value, low, high = (distance(end, d.metric, sign=True) for end in (d.value, d.low, d.high))
    points = " points" if unit(d.metric) == "rate" else ""
    return Figure(f"{d.metric}, paired", f"{d.a} less {d.b}", value + points, f"{low} to {high}, n = {d.n:,}")


def _figure(v: Verdict) -> Figure:
    beside = f"strongest baseline, {v.strongest[0]}" if v.strongest else ""
    return _beside(v, beside, v.strongest[1] if v.strongest else None)


def _beside(v: Verdict, name: str, other: Interval | None) -> Figure:
    kind = unit(v.metric)
    baseline = f"{name}: {format_value(other.value, kind)}" if other else ""
    ends = f"{format_range(v.value, kind)}, n = {v.value.n:,}"
    return Figure(v.metric, v.row, format_value(v.value.value, kind), _unbroken(ends), _unbroken(baseline))


def _unbroken(figures: str) -> str:
    """No line ends between a number and its sign."""
    return figures.replace(" %", "\u00a0%").replace("n = ", "n\u00a0=\u00a0")


def comparison_top(runs: Sequence[Source], differences: Sequence[Difference]) -> list[Part]:
    """How the last run stands to the first: one sentence, and its figures beside those of the first.

    Args:
        differences: between the two, paired.
    """
    first, last = runs[0], runs[-1]
    if last.results is None or not last.results.rows:
        return []
    given = list(_verdicts(last.results, last.head))
    row = f"{given[0].row} · {last.name}"
    about = [d for d in differences if d.metric == given[0].metric]
    chosen = next((d for d in about if d.a == row), next(iter(about or differences), None))
    sentence = (
        difference_sentence(chosen) if chosen else f"{last.name} and {first.name} share no measured example."
    )
    before = {row.name: row.metrics for row in first.results.rows} if first.results else {}
    items = [_beside(v, first.name, before.get(v.row, {}).get(v.metric)) for v in given]
    return [Prose(sentence, "lead"), Figures(items)]


# What the recipe says of models and data: a name of each, without the folders it lies in.


def _model(run: Source) -> str:
    model = run.settings.get("model")
    if isinstance(model, dict) and run.settings.get("task", "preference") == "preference":
        return _name(model.get("name"))
    heads = run.settings.get("heads")
    if isinstance(heads, list):  # of tables: heads over their columns, without a language model
        return _several([_name(head.get("source") if isinstance(head, dict) else head) for head in heads])
    return _name(run.settings.get("run"))


def _data(run: Source) -> list[str]:
    settings = run.settings
    data = settings.get("data")
    data = data if isinstance(data, dict) else {}
    tables, tasks = data.get("tables"), settings.get("tasks")
    if isinstance(tables, list) and tables:
        return [_name(table) for table in tables]
    if isinstance(tasks, list):
        return [_name(task.get("name") if isinstance(task, dict) else task) for task in tasks]
    read = DATA.get(" ".join(run.manifest.command[1:3]), ("train", "test"))
    return [_name(settings.get("pairs")), *(_name(data.get(name)) for name in read)]


def _name(value: Any) -> str:
    """The last part of a path, the name in ``builtin:NAME``; nothing for what is no text."""
    return PurePath(value).name.removeprefix("builtin:") if isinstance(value, str) else ""


def _several(names: Sequence[str]) -> str:
    """Names in words; of many the first few, and how many more."""
    named = list(dict.fromkeys(filter(None, names)))
    more = len(named) - MOST_NAMES
    return ", ".join(named[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
