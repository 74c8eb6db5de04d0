"""Figures in words: what a measurement says, and how sure it is."""

import re
from collections import Counter
from collections.abc import Mapping

from lmtools.core.results import LESS_IS_BETTER, Difference, Interval, Results, Row
from lmtools.metrics.retrieval import hop_of
from lmtools.report.charts import said
from lmtools.report.elements import Unit

NUMBERS = (
    "loss",
    "nll",
    "multiplier",
    "effective-heads",
    "rmse",
    "rmse-ratio",
    "spread",
    "disagreement",
    "margin",
)
"""Metrics that are no rates; all others lie between 0 and 1."""
PREFERRED = (r"recall@hop\d+", "accuracy", "rmse-ratio", "ece", "loss", "nll", "auroc", "brier")
PREFERRED_OF_TASKS = ("ece", *PREFERRED)
"""What a reader wants to know first, by what a run has of it; of tasks how honest confidence is in each."""
NEITHER = ("multiplier", "effective-heads", "spread", "disagreement", "margin")
"""Metrics of which neither more nor less is better."""
HEADS = ("transformer", "mlp", "linear")
"""Of several calibrated methods the first of these is the one that a run is about."""
MOST_ROWS = 24


def unit(metric: str) -> Unit:
    """Whether a metric is a rate; ``TASK/`` before its name does not matter."""
    return "number" if metric.rpartition("/")[2] in NUMBERS else "rate"


def headline_metrics(results: Results) -> list[str]:
    """The one metric, or the one of every task or target, that a run is about; empty where it has none."""
    names = list(dict.fromkeys(name for row in results.rows for name in row.metrics))
    for tasks, preferred in ((False, PREFERRED), (True, PREFERRED_OF_TASKS)):
        own = [name for name in names if ("/" in name) == tasks]
        for wanted in preferred:
            found = [name for name in own if re.fullmatch(wanted, name.rpartition("/")[2])]
            if found and not tasks:
                return [max(found, key=hop_of)]
            if found:
                last = max(name.rpartition("/")[2] for name in found)
                return [name for name in found if name.endswith(f"/{last}")]
    return names[:1]


def main_row(results: Results, metric: str, head: str = "") -> str:
    """The row that a run is about: the one that most is compared with, the head, or the last.

    Args:
        head: the kind of head that the recipe names, if it names one.
    """
    names = [row.name for row in headline_rows(results, metric)]
    times = Counter(one.a for one in results.differences if one.metric == metric and one.a in names)
    first, second = [*times.most_common(2), ("", 0), ("", 0)][:2]
    if first[1] > second[1]:
        return first[0]
    return next((name for name in (head, *HEADS) if name in names), names[-1])


def headline_rows(results: Results, metric: str) -> list[Row]:
    """The rows that have the metric; of very many those with five labels, or the first."""
    rows = [row for row in results.rows if metric in row.metrics]
    few = [row for row in rows if row.name.endswith(" @5")]
    return rows if len(rows) <= MOST_ROWS else (few or rows)[:MOST_ROWS]


def measured(name: str, metric: str, interval: Interval) -> str:
    """``SFT: recall@hop2 is 68.1 % (95 % interval 61.3 % to 75.0 %, n = 80).``"""
    kind = unit(metric)
    ends = f"{said(interval.low, kind)} to {said(interval.high, kind)}"
    return f"{name}: {metric} is {said(interval.value, kind)} (95 % interval {ends}, n = {interval.n:,})."


def compared(one: Difference) -> str:
    """A paired difference as a sentence that says whether it may be chance."""
    better = (one.value > 0) != (one.metric.rpartition("/")[2] in LESS_IS_BETTER)
    sure = one.low > 0 or one.high < 0
    if one.metric.rpartition("/")[2] in NEITHER:
        verdict = "by more than chance" if sure else "which may be chance"
    else:
        verdict = f"{'better' if better else 'worse'} by more than chance" if sure else "which may be chance"
    if one.low == one.value == one.high == 0:
        return f"{one.a} is exactly level with {one.b} in {one.metric} (paired, n = {one.n:,})."
    amount = distance(abs(one.value), one.metric)
    ends = f"{distance(one.low, one.metric, sign=True)} to {distance(one.high, one.metric, sign=True)}"
    way = "above" if one.value > 0 else "below"
    where = f"{amount} {way} {one.b}" if one.value else f"level with {one.b}"
    return f"{one.a} is {where} in {one.metric} (paired, 95 % interval {ends}, n = {one.n:,}): {verdict}."


def distance(value: float, metric: str, *, sign: bool = False) -> str:
    """A difference of rates in points, of numbers as it is."""
    if unit(metric) == "rate":
        return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f} points"
    return f"{value:+.3g}" if sign else f"{value:.3g}"


def main_differences(
    results: Results, rows: Mapping[str, str], most: int = 10
) -> tuple[list[Difference], int]:
    """What the main rows are compared with, and how many comparisons of theirs are not among these.

    In the file's order, with as many labels first and the metrics in turn: which ones are told does not
    depend on how they came out.

    Args:
        rows: of every metric of the headline the row that the run is about.
    """
    found = []
    for metric, name in rows.items():
        own = [one for one in results.differences if one.metric == metric and one.a == name]
        labels = name.rpartition(" @")[2]
        found.append(sorted(own, key=lambda one: " @" in name and one.b.rpartition(" @")[2] != labels))
    turns = [own[turn] for turn in range(max(map(len, found), default=0)) for own in found if turn < len(own)]
    return turns[:most], max(0, len(turns) - most)
