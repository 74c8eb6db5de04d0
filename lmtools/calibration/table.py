"""From predictions to the table: a row for each method, metrics `TASK/ece`, paired differences."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lmtools.calibration.predictions import Prediction, columns, grouped
from lmtools.core.progress import progress
from lmtools.core.results import Difference, Row
from lmtools.core.statistics import Interval
from lmtools.metrics.calibration_intervals import differences, measure


class Table(NamedTuple):
    """What a result file holds."""

    rows: list[Row]
    differences: list[Difference]


def make_table(
    predictions: Iterable[Prediction], compare: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Table:
    """Every metric of every task and method with its interval, clustered by question.

    ``AUROC`` is left out where a method's answers are all right or all wrong.

    Args:
        predictions: the whole of a predictions file, or a part of it.
        compare: the methods from which every other one's difference is taken, as far as they occur.
    """
    tasks = grouped(predictions)
    metrics: dict[str, dict[str, Interval]] = {}
    found: list[Difference] = []
    pairs = [
        (task, method, other)
        for task, methods in tasks.items()
        for other in compare
        if other in methods
        for method in methods
        if method != other
    ]
    with progress(sum(map(len, tasks.values())) + len(pairs), "intervals") as bar:
        for task, methods in tasks.items():
            for method, own in methods.items():
                values = measure(*columns(own), resamples, seed)
                metrics.setdefault(method, {}).update(_prefixed(task, values))
                bar.advance()
        for task, a, b in pairs:
            a_values, b_values = tasks[task][a], tasks[task][b]
            drawn = differences(*columns(a_values)[:2], *columns(b_values), resamples, seed)
            found += [Difference.of(a, b, name, value) for name, value in _prefixed(task, drawn).items()]
            bar.advance()
    return Table([Row(method, values) for method, values in metrics.items()], found)


def _prefixed(task: str, values: dict[str, Interval]) -> dict[str, Interval]:
    return {f"{task}/{name}": value for name, value in values.items()}
