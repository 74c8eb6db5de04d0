"""What was measured as rows with intervals, and the differences that say whether labels are worth it.

`Resampler` makes the intervals, `result_rows` the rows ``METHOD @N`` and their differences.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.results import (
    Difference,
    Interval,
    Row,
    bootstrap_mean,
    percentile_interval,
    resample_weights,
)
from lmtools.core.seeds import derive
from lmtools.hyre.methods import Measured
from lmtools.hyre.recipe import HyreRecipe

# Intervals of an accuracy that is a mean over draws of examples and over test pairs: both are resampled.
#
# For every target the draws and the pairs are drawn with replacement, independently of each other (the
# pigeonhole bootstrap, Owen 2007), so that an interval holds both the luck of the five examples and that of
# the test set. The mean over targets averages the targets' resamples. With the same seed two methods are
# resampled alike, so that the difference of their resamples is paired.


class Resampler:
    """Resamples of one target: ``draws`` rows and ``pairs`` columns."""

    def __init__(self, draws: int, pairs: int, resamples: int, seed: int, name: str) -> None:
        weights = (
            np.concatenate(list(resample_weights(count, None, resamples, derive(seed, axis, name) % 2**32)))
            for axis, count in (("draws", draws), ("pairs", pairs))
        )
        self._rows, self._columns = weights

    def accuracies(self, correct: Floats) -> Floats:
        """The accuracy of each resample, (resamples,), of ``correct`` (draws, n) with NaN where not tested.

        A resample without a single tested pair has the plain accuracy.
        """
        tested = np.isfinite(correct)
        right = self._rows[:, : len(correct)] @ np.where(tested, correct, 0.0)
        number = self._rows[:, : len(correct)] @ tested.astype(np.float64)
        right, number = (np.einsum("rn,rn->r", part, self._columns) for part in (right, number))
        return np.where(number > 0, right / np.maximum(number, 1e-12), accuracy_of(correct))


def accuracy_of(correct: Floats) -> float:
    """The share of right orders, over all draws and tested pairs."""
    return float(np.nanmean(correct))


def over_targets(values: Sequence[float], resampled: Sequence[Floats], n: int) -> Interval:
    """The mean over targets with its interval, from each target's value and resamples; ``n`` test pairs."""
    return percentile_interval(float(np.mean(values)), np.mean(np.stack(list(resampled)), axis=0), n)


@dataclass(frozen=True)
class Target:
    """One target's outcome: its number of pairs, what was measured, and each ensemble's disagreement."""

    name: str
    pairs: int
    measured: Measured
    disagreement: Mapping[str, float]


@dataclass(frozen=True)
class Cell:
    """A row on one target: accuracy, its resamples, its spread over draws, and the tested pairs."""

    value: float
    resampled: Floats
    spread: float
    n: int


def result_rows(targets: Sequence[Target], recipe: HyreRecipe) -> tuple[list[Row], list[Difference]]:
    """Rows ``METHOD @N`` with ``accuracy`` (mean over targets) and ``TARGET/accuracy``, and differences."""
    cells = _cells(targets, recipe)
    rows = [_row(name, by_target, targets, recipe) for name, by_target in cells.items()]
    return rows, list(_differences(cells, recipe))


def _cells(targets: Sequence[Target], recipe: HyreRecipe) -> dict[str, dict[str, Cell]]:
    """Row -> target -> cell."""
    cells: dict[str, dict[str, Cell]] = {}
    for target in targets:
        resampler = Resampler(
            recipe.eval.draws, target.pairs, recipe.eval.resamples, recipe.seed, target.name
        )
        for row, correct in target.measured.scores.items():
            spread = float(np.std([accuracy_of(draw) for draw in correct]))
            tested = int(np.isfinite(correct).any(axis=0).sum())
            cell = Cell(accuracy_of(correct), resampler.accuracies(correct), spread, tested)
            cells.setdefault(row, {})[target.name] = cell
    return cells


def _row(name: str, cells: Mapping[str, Cell], targets: Sequence[Target], recipe: HyreRecipe) -> Row:
    metrics = {"accuracy": _mean(cells)}
    metrics |= {
        f"{target}/accuracy": over_targets([cell.value], [cell.resampled], cell.n)
        for target, cell in cells.items()
    }
    resampling = recipe.eval.resamples, recipe.seed
    metrics["spread"] = bootstrap_mean([cell.spread for cell in cells.values()], None, *resampling)
    effective = [target.measured.effective[name] for target in targets if name in target.measured.effective]
    means = [float(np.nanmean(values)) for values in effective if np.isfinite(values).any()]
    if means:
        metrics["effective-heads"] = bootstrap_mean(means, None, *resampling)
    method = name.partition(" ")[0]
    different = [target.disagreement[method] for target in targets if method in target.disagreement]
    if different:
        metrics["disagreement"] = bootstrap_mean(different, None, *resampling)
    return Row(name, metrics)


def _mean(cells: Mapping[str, Cell]) -> Interval:
    """The mean over targets."""
    n = sum(cell.n for cell in cells.values())
    values = [cell.value for cell in cells.values()]
    return over_targets(values, [cell.resampled for cell in cells.values()], n)


def _differences(cells: Mapping[str, Mapping[str, Cell]], recipe: HyreRecipe) -> Iterator[Difference]:
    """HyRe on each ensemble less every baseline of as many labels or of none; the main one less all rows."""
    for row in cells:
        method, _, count = row.rpartition(" @")
        if not method.startswith("hyre/") or count == "0":
            continue
        source = method.removeprefix("hyre/").partition(" ")[0]
        for other in cells:
            name, _, labels = other.rpartition(" @")
            # Every ensemble with its own baselines and those of none; the main one with all rows.
            baseline = name.partition("/")[2] in ("", source) and not name.startswith("hyre/")
            compared = method == f"hyre/{recipe.name}" or baseline
            if compared and other != row and labels in (count, "0"):
                yield from _difference(row, other, cells)


def _difference(a: str, b: str, cells: Mapping[str, Mapping[str, Cell]]) -> Iterator[Difference]:
    """Over the targets that both rows have: of the means, and the share of targets where ``a`` is better."""
    pairs = [(cells[a][target], cells[b][target]) for target in cells[a] if target in cells[b]]
    if not pairs:
        return
    n = sum(left.n for left, _ in pairs)
    values = [left.value - right.value for left, right in pairs]
    resampled = [left.resampled - right.resampled for left, right in pairs]
    yield Difference.of(a, b, "accuracy", over_targets(values, resampled, n))
    wins = np.stack(resampled) > 0
    share = np.mean([value > 0 for value in values])
    low, high = np.quantile(wins.mean(axis=0), (0.025, 0.975))
    yield Difference(a, b, "wins", float(share), float(low), float(high), len(pairs))
