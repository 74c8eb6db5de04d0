"""Figures in words: what a measurement says, and how sure it is."""

import re
from collections import Counter

from lmtools.core.results import LESS_IS_BETTER, Difference, Interval, Results, Row
from lmtools.metrics.retrieval import hop_of
from lmtools.report.charts import format_range, format_value
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
"""What a reader wants to know first, of what a run has; of tasks first how well each is calibrated."""
NEITHER = ("multiplier", "effective-heads", "spread", "disagreement", "margin")
"""Metrics of which neither more nor less is better."""
HEADS = ("transformer", "mlp", "linear")
"""Of several calibrated methods the first of these is the one that a run is about."""
FEWEST = 6
"""Independent questions below which no difference can be told from chance."""
MOST_ROWS = 24


def unit(metric: str) -> Unit:
    """Whether a metric is a rate; ``TASK/`` before its name does not matter."""
    return "number" if metric.rpartition("/")[2] in NUMBERS else "rate"


def difference_unit(metric: str) -> Unit:
    """Of a difference in a metric: of rates points, of numbers numbers."""
    return "points" if unit(metric) == "rate" else "number"


def headline_metrics(results: Results) -> list[str]:
    """The metric that a run is about, or that of each of its tasks or targets; empty where it has none."""
    names = list(dict.fromkeys(name for row in results.rows for name in row.metrics))
    for tasks, preferred in ((False, PREFERRED), (True, PREFERRED_OF_TASKS)):
        eligible = [name for name in names if ("/" in name) == tasks]
        for pattern in preferred:
            # Of recall@hopN the last hop; of tasks and targets the metric of every one of them.
            matches = [name for name in eligible if re.fullmatch(pattern, name.rpartition("/")[2])]
            if matches and not tasks:
                return [max(matches, key=hop_of)]
            if matches:
                last = max(name.rpartition("/")[2] for name in matches)
                return [name for name in matches if name.endswith(f"/{last}")]
    return names[:1]


def main_row(results: Results, metric: str, head: str = "") -> str:
    """The row that a run is about: the one that most is compared with, the head, or the last.

    Args:
        head: the kind of head that the recipe names, if it names one.
    """
    names = [row.name for row in headline_rows(results, metric)]
    times = Counter(d.a for d in results.differences if d.metric == metric and d.a in names)
    first, second = [*times.most_common(2), ("", 0), ("", 0)][:2]
    if first[1] > second[1]:
        return first[0]
    # Of methods with labels that are compared as often the first one is the recipe's.
    labelled = [name for name in times if times[name] == first[1] and " @" in name]
    return next((name for name in (head, *HEADS) if name in names), (labelled or names[-1:])[0])


def headline_rows(results: Results, metric: str) -> list[Row]:
    """The rows that have the metric; of very many those with five labels, or the first."""
    rows = [row for row in results.rows if metric in row.metrics]
    few = [row for row in rows if row.name.endswith(" @5")]
    return rows if len(rows) <= MOST_ROWS else (few or rows)[:MOST_ROWS]


def value_sentence(name: str, metric: str, interval: Interval) -> str:
    """``SFT: recall@hop2 is 68.1 % (95 % interval 61.3 % to 75.0 %, n = 80).``"""
    kind = unit(metric)
    value, ends = format_value(interval.value, kind), format_range(interval, kind)
    return f"{name}: {metric} is {value} (95 % interval {ends}, n = {interval.n:,})."


def difference_sentence(d: Difference) -> str:
    """A paired difference as a sentence that says whether it may be chance: its interval holds 0."""
    better = (d.value > 0) != (d.metric.rpartition("/")[2] in LESS_IS_BETTER)
    sure = d.low > 0 or d.high < 0
    if too_few(d):
        verdict = f"too few to tell, {FEWEST} are the least that can"
    elif not sure:
        verdict = "which may be chance"
    elif d.metric.rpartition("/")[2] in NEITHER:
        verdict = "by more than chance"
    else:
        verdict = f"{'better' if better else 'worse'} by more than chance"
    if d.low == d.value == d.high == 0 and not too_few(d):
        return f"{d.a} is exactly level with {d.b} in {d.metric} (paired, n = {d.n:,})."
    amount = distance(abs(d.value), d.metric)
    ends = f"{distance(d.low, d.metric, sign=True)} to {distance(d.high, d.metric, sign=True)}"
    ends += " points" * (unit(d.metric) == "rate")
    way = "above" if d.value > 0 else "below"
    where = f"{amount} {way} {d.b}" if d.value else f"level with {d.b}"
    return f"{d.a} is {where} in {d.metric} (paired, 95 % interval {ends}, n = {d.n:,}): {verdict}."


def too_few(d: Difference) -> bool:
    """Whether a difference rests on so few questions that no outcome of theirs could tell it from chance.

    If all five of five differ the same way, that is chance once in sixteen times (a two-sided sign test),
    more often than the one in twenty that a 95 % interval allows.
    """
    return (d.clusters or d.n) < FEWEST


def distance(value: float, metric: str, *, sign: bool = False) -> str:
    """A difference of rates in points, of numbers as it is."""
    if unit(metric) == "rate":
        return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f} points"
    return f"{value:+.3g}" if sign else f"{value:.3g}"
