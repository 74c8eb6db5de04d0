"""The verdict on a run: its main row against the strongest baseline of the table, in one sentence.

The strongest baseline has the best value of the metric among the rows that are neither variants of the method
itself (``OWN``) nor ceilings that know the answers (``CEILINGS``); with labels, among those of as many labels
or none. A verdict rests on a paired difference of the result file. Where there is none with that row the two
intervals stand side by side, and where there are fewer than ``FEWEST`` independent questions none is given.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmtools.core.results import LESS_IS_BETTER, Difference, Interval, Results, Row
from lmtools.report.charts import format_range, format_value
from lmtools.report.sentences import (
    FEWEST,
    NEITHER,
    distance,
    headline_metrics,
    main_row,
    too_few,
    unit,
    value_sentence,
)

OWN = (r"SFT", r"preference", r"SFT \+ preference", r"transformer", r"mlp", r"linear", r"hyre(/.*)?")
"""Names of the methods' variants, without `` @N``: what a run is about, not what it is compared with."""
CEILINGS = (r"oracle-head/.*",)
"""Names of rows that are chosen by what is tested: no baselines."""


@dataclass(frozen=True)
class Verdict:
    """What a metric of a run says of its main row.

    ``strongest`` is the strongest baseline with its value, None where the row is compared with nothing;
    ``differences`` are the paired differences of the row, the strongest baseline's first, then the other
    baselines' by falling strength, then those of the method's own variants and of ceilings.
    """

    metric: str
    row: str
    value: Interval
    sentence: str
    strongest: tuple[str, Interval] | None = None
    differences: tuple[Difference, ...] = ()


def verdicts(results: Results, head: str = "") -> list[Verdict]:
    """The verdict on each headline metric of a run; none where nothing was measured.

    Args:
        head: the kind of head that the recipe names, if it names one.
    """
    return [verdict(results, metric, main_row(results, metric, head)) for metric in headline_metrics(results)]


def verdict(results: Results, metric: str, row: str) -> Verdict:
    """The verdict on one row in one metric, which the row has."""
    value = results.row(row).metrics[metric]
    order = ranked(results.rows, metric, row)
    by_row = {d.b: d for d in results.differences if d.metric == metric and d.a == row}
    if not by_row or not order:
        return Verdict(metric, row, value, value_sentence(row, metric, value), None, tuple(by_row.values()))
    strongest = order[0]
    rest = [name for name in by_row if name not in order]
    differences = tuple(by_row[name] for name in (*order, *rest) if name in by_row)
    other = results.row(strongest).metrics[metric]
    sentence = _sentence(metric, (row, value), (strongest, other), by_row.get(strongest))
    return Verdict(metric, row, value, sentence, (strongest, other), differences)


def ranked(rows: Sequence[Row], metric: str, row: str) -> list[str]:
    """The baselines of a row, the strongest first; of metrics without a better side in the file's order."""
    bare, labels = _split(row)
    values = {
        other.name: other.metrics[metric].value
        for other in rows
        if metric in other.metrics and _is_baseline(other.name, bare, labels)
    }
    plain = metric.rpartition("/")[2]
    if plain in NEITHER:
        return list(values)
    return sorted(values, key=lambda name: values[name] if plain in LESS_IS_BETTER else -values[name])


def _is_baseline(name: str, row: str, row_labels: str) -> bool:
    bare, labels = _split(name)
    variant = bare == row or any(re.fullmatch(pattern, bare) for pattern in OWN)
    ceiling = any(re.fullmatch(pattern, bare) for pattern in CEILINGS)
    return not variant and not ceiling and (not row_labels or labels in (row_labels, "", "0"))


def _split(name: str) -> tuple[str, str]:
    """A row's method and its number of labels, as text; of other rows none."""
    match = re.fullmatch(r"(.*) @(\d+)", name)
    return (match[1], match[2]) if match else (name, "")


Named = tuple[str, Interval]
"""A row's name and its value."""


def _sentence(metric: str, row: Named, strongest: Named, d: Difference | None) -> str:
    kind = unit(metric)
    baseline = f"{strongest[0]}, the strongest baseline"
    against = f"{metric} {format_value(row[1].value, kind)} against {format_value(strongest[1].value, kind)}"
    if d is None:
        ends = f"95 % intervals {format_range(row[1], kind)} and {format_range(strongest[1], kind)}"
        return f"{row[0]} was not compared in pairs with {baseline}: {against} ({ends}, n = {row[1].n:,})."
    ends = f"{distance(d.low, metric, sign=True)} to {distance(d.high, metric, sign=True)}"
    unit_word = " points" if kind == "rate" else ""
    figures = (
        f"{against}, {distance(d.value, metric, sign=True)}{unit_word} "
        f"(paired, 95 % interval {ends}{unit_word}, n = {d.n:,})"
    )
    return f"{_stand(d)(row[0], baseline)}: {figures}."


def _stand(d: Difference) -> Callable[[str, str], str]:
    """How the row stands to a baseline: better, worse, not to be told apart, or too few to tell."""
    plain = d.metric.rpartition("/")[2]
    if too_few(d):
        count = d.clusters or d.n
        return lambda row, other: (
            f"{count} {'is' if count == 1 else 'are'} too few to tell {row} from {other} "
            f"({FEWEST} are needed at the least)"
        )
    if not (d.low > 0 or d.high < 0):
        return lambda row, other: f"{row} cannot be told from {other}"
    if plain in NEITHER:
        return lambda row, other: f"{row} is {'above' if d.value > 0 else 'below'} {other}"
    better = (d.value > 0) != (plain in LESS_IS_BETTER)
    return lambda row, other: f"{row} is {'better' if better else 'worse'} than {other}"
