"""What a run found, in plain words."""

from lmtools.core.results import Difference, Results
from lmtools.metrics.retrieval import hop_of


def finding(results: Results, metric: str) -> str:
    """What improved, by how much, with the interval, in one or two sentences.

    >>> from lmtools.core.results import Row
    >>> from lmtools.core.statistics import Interval
    >>> interval = Interval(0.5, 0.4, 0.6, 100)
    >>> gain = Difference("SFT", "zero-shot base", "recall@hop2", 0.3, 0.2, 0.4, 100)
    >>> rows = (Row("SFT", {"recall@hop2": interval}),)
    >>> print(finding(Results("r", "c", 0, {}, {}, rows, (gain,)), "recall@hop2"))
    After 2 hops SFT finds 50 % of the gold passages (100 questions).
    That is 30 points more than zero-shot base (95 % interval 20 to 40): an improvement.
    """
    last = results.row(results.differences[0].a) if results.differences else results.rows[-1]
    value = last.metrics[metric]
    hops = metric.rpartition("hop")[2]
    after = f"After {hops} hop{'s' if hops != '1' else ''}"
    lines = [
        f"{after} {last.name} finds {100 * value.value:.0f} % of the gold passages ({value.n} questions)."
    ]
    lines += [_sentence(d) for d in results.differences if d.metric == metric and d.a == last.name]
    return "\n".join(lines)


def _sentence(difference: Difference) -> str:
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    verdict = "an improvement" if low > 0 else "a loss" if high < 0 else "not distinguishable from chance"
    word = "more" if value >= 0 else "fewer"
    return (
        f"That is {abs(value):.0f} points {word} than {difference.b} "
        f"(95 % interval {low:.0f} to {high:.0f}): {verdict}."
    )


def last_recall(results: Results) -> str:
    """The name of the recall after the last hop."""
    return max(
        (name for name in results.rows[-1].metrics if name.startswith("recall@hop")),
        key=hop_of,
    )
