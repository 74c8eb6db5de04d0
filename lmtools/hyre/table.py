"""What was measured as rows with intervals, and the differences that say whether labels are worth it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lmtools.core.results import Difference, Row
from lmtools.core.statistics import Interval, bootstrap_mean
from lmtools.hyre.intervals import Resampler, accuracy_of, over_targets
from lmtools.hyre.measure import Measured
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.reweighting import Floats


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


def table(targets: Sequence[Target], recipe: HyreRecipe) -> tuple[list[Row], list[Difference]]:
    """Rows ``METHOD @N`` with ``accuracy`` (mean over targets) and ``TARGET/accuracy``, and differences."""
    cells = _cells(targets, recipe)
    rows = [_row(name, own, targets, recipe) for name, own in cells.items()]
    return rows, list(_differences(cells, recipe))


def _cells(targets: Sequence[Target], recipe: HyreRecipe) -> dict[str, dict[str, Cell]]:
    """Row -> target -> cell."""
    found: dict[str, dict[str, Cell]] = {}
    for target in targets:
        resampler = Resampler(
            recipe.eval.draws, target.pairs, recipe.eval.resamples, recipe.seed, target.name
        )
        for row, correct in target.measured.correct.items():
            spread = float(np.std([accuracy_of(one) for one in correct]))
            tested = int(np.isfinite(correct).any(axis=0).sum())
            cell = Cell(accuracy_of(correct), resampler.accuracies(correct), spread, tested)
            found.setdefault(row, {})[target.name] = cell
    return found


def _row(name: str, own: Mapping[str, Cell], targets: Sequence[Target], recipe: HyreRecipe) -> Row:
    metrics = {"accuracy": _mean(own)}
    metrics |= {
        f"{target}/accuracy": over_targets([cell.value], [cell.resampled], cell.n)
        for target, cell in own.items()
    }
    again = recipe.eval.resamples, recipe.seed
    metrics["spread"] = bootstrap_mean([cell.spread for cell in own.values()], None, *again)
    effective = [target.measured.effective[name] for target in targets if name in target.measured.effective]
    means = [float(np.nanmean(values)) for values in effective if np.isfinite(values).any()]
    if means:
        metrics["effective-heads"] = bootstrap_mean(means, None, *again)
    method = name.partition(" ")[0]
    different = [target.disagreement[method] for target in targets if method in target.disagreement]
    if different:
        metrics["disagreement"] = bootstrap_mean(different, None, *again)
    return Row(name, metrics)


def _mean(own: Mapping[str, Cell]) -> Interval:
    """The mean over targets."""
    cells = own.values()
    n = sum(cell.n for cell in cells)
    return over_targets([cell.value for cell in cells], [cell.resampled for cell in cells], n)


def _differences(cells: Mapping[str, Mapping[str, Cell]], recipe: HyreRecipe) -> Iterator[Difference]:
    """HyRe on each ensemble less every baseline of as many labels or of none; the main one less all rows."""
    for row in cells:
        method, _, count = row.rpartition(" @")
        if not method.startswith("hyre/") or count == "0":
            continue
        source = method.removeprefix("hyre/").partition(" ")[0]
        for other in cells:
            name, _, labels = other.rpartition(" @")
            own = name.partition("/")[2] in ("", source)
            wanted = method == f"hyre/{recipe.name}" or (own and not name.startswith("hyre/"))
            if wanted and other != row and labels in (count, "0"):
                yield from _difference(row, other, cells)


def _difference(a: str, b: str, cells: Mapping[str, Mapping[str, Cell]]) -> Iterator[Difference]:
    """Over the targets that both rows have: of the means, and the share of targets where ``a`` is better."""
    both = [target for target in cells[a] if target in cells[b]]
    if not both:
        return
    pairs = [(cells[a][target], cells[b][target]) for target in both]
    n = sum(one.n for one, _ in pairs)
    values = [one.value - two.value for one, two in pairs]
    resampled = [one.resampled - two.resampled for one, two in pairs]
    yield Difference.of(a, b, "accuracy", over_targets(values, resampled, n))
    wins = np.stack(resampled) > 0
    share = np.mean([value > 0 for value in values])
    low, high = np.quantile(wins.mean(axis=0), (0.025, 0.975))
    yield Difference(a, b, "wins", float(share), float(low), float(high), len(both))
