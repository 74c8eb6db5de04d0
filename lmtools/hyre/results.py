"""What was measured as rows with intervals, and the differences that say whether labels are worth it.

`Resampler` makes the intervals, `result_rows` the rows ``METHOD @N`` and their differences.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.intervals import (
    BOUNDED,
    RATE,
    Bounds,
    bounded_interval,
    difference_bounds,
    exact_share,
    mean_interval,
    resample_weights,
)
from lmtools.core.results import Difference, Interval, Row
from lmtools.core.seeds import derive
from lmtools.hyre.methods import Measured
from lmtools.hyre.recipe import HyreRecipe

# Intervals of an accuracy that is a mean over draws of examples and over test pairs: both are resampled.
#
# For every target the draws and the pairs are weighted at random, independently of each other (the
# pigeonhole bootstrap, Owen 2007), so that an interval holds both the luck of the five examples and that of
# the test set. The mean over targets averages the targets' resamples. With the same seed two methods are
# resampled alike, so that the difference of their resamples is paired. For the ends of an interval one more
# pair is right everywhere, or wrong.

METHOD = f"{BOUNDED}, over draws and pairs"


@dataclass(frozen=True)
class Resamples:
    """An accuracy, or a difference of two, of each resample.

    ``values`` (r,); ``mass`` (r,) is what all tested pairs weigh there, ``prior`` (r,) what one more does.
    """

    values: Floats
    mass: Floats
    prior: Floats

    def __sub__(self, other: "Resamples") -> "Resamples":
        return Resamples(self.values - other.values, np.minimum(self.mass, other.mass), self.prior)


class Resampler:
    """Resamples of one target: ``draws`` rows and ``pairs`` columns."""

    def __init__(self, draws: int, pairs: int, resamples: int, seed: int, name: str) -> None:
        (self._rows, _), (self._columns, self._prior) = (
            map(
                np.concatenate,
                zip(*resample_weights(count, None, resamples, derive(seed, axis, name) % 2**32), strict=True),
            )
            for axis, count in (("draws", draws), ("pairs", pairs))
        )

    def accuracies(self, correct: Floats) -> Resamples:
        """The accuracy of each resample of ``correct`` (draws, n) with NaN where not tested."""
        tested = np.isfinite(correct)
        right = self._rows[:, : len(correct)] @ np.where(tested, correct, 0.0)
        number = self._rows[:, : len(correct)] @ tested.astype(np.float64)
        right, number = (np.einsum("rn,rn->r", part, self._columns) for part in (right, number))
        return Resamples(right / number, self._columns[:, tested.any(axis=0)].sum(axis=1), self._prior)


def accuracy_of(correct: Floats) -> float:
    """The share of right orders, over all draws and tested pairs."""
    return float(np.nanmean(correct))


def over_targets(
    values: Sequence[float], resampled: Sequence[Resamples], n: int, bounds: Bounds = RATE
) -> Interval:
    """The mean over targets with its interval, from each target's value and resamples; ``n`` test pairs."""
    mean = mean_of(resampled)
    value = float(np.mean(values))
    return bounded_interval(value, mean.values, mean.mass, mean.prior, bounds, n, n, METHOD)


def mean_of(resampled: Sequence[Resamples]) -> Resamples:
    """The mean over targets, which weigh alike however many pairs they have."""
    values = np.mean([resamples.values for resamples in resampled], axis=0)
    # It is as sure as that of one target of so many pairs.
    mass = len(resampled) ** 2 / np.sum([1 / resamples.mass for resamples in resampled], axis=0)
    return Resamples(values, mass, resampled[0].prior)


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
    resampled: Resamples
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
    metrics["spread"] = mean_interval([cell.spread for cell in cells.values()], None, *resampling)
    effective = [target.measured.effective[name] for target in targets if name in target.measured.effective]
    means = [float(np.nanmean(values)) for values in effective if np.isfinite(values).any()]
    if means:
        metrics["effective-heads"] = mean_interval(means, None, *resampling)
    method = name.partition(" ")[0]
    different = [target.disagreement[method] for target in targets if method in target.disagreement]
    if different:
        metrics["disagreement"] = mean_interval(different, None, *resampling, bounds=RATE)
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
    interval = over_targets(values, resampled, n, difference_bounds(RATE))
    yield Difference.of(a, b, "accuracy", interval)
    yield Difference.of(a, b, "wins", exact_share(sum(value > 0 for value in values), len(pairs)))
