"""What is measured on tables: the methods, and the rows of a result.

    uniform/NAME      every head of the ensemble NAME alike; no examples
    hyre/NAME         its heads weighted by the examples
    best-head/NAME    the head that does best on the examples
    oracle-head/NAME  the head that does best on the rows that are tested: no method, a ceiling for one head
    ridge             ridge regression on the examples alone; no ensemble at all

Targets of different tables have different units. What is averaged over tables is the accuracy, or
``rmse-ratio``, the RMSE as a share of that of the main ensemble's uniform mean.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.results import Difference, Row
from lmtools.core.statistics import percentile_interval
from lmtools.hyre.adapt import prior_weights
from lmtools.hyre.ensemble import Ensemble
from lmtools.hyre.intervals import Resampler, accuracy_of
from lmtools.hyre.recipe import AdaptSettings, HyreRecipe
from lmtools.hyre.reweighting import Floats, LossName, blend, class_losses, reduced, reweight, squared_losses

LEAST = 1e-12
"""The least RMSE that others are told as a share of."""
LOSSES: tuple[LossName, ...] = ("nll", "zero_one")


@dataclass(frozen=True)
class Seen:
    """Rows as every method sees them.

    ``outputs`` (n, K), or logits (n, K, C), of the heads; ``x`` (n, D) standardised; ``y`` (n,) numbers, or
    classes from 0; ``noise`` the variance that a regression expects.
    """

    outputs: Floats
    x: Floats
    y: NDArray[Any]
    noise: float

    def __getitem__(self, rows: NDArray[np.intp]) -> "Seen":
        return Seen(self.outputs[rows], self.x[rows], self.y[rows], self.noise)

    def losses(self, loss: LossName) -> Floats:
        """Each head's loss on each row: (n, K); of a regression always the squared one."""
        if self.outputs.ndim == 3:
            return class_losses(self.outputs, self.y, loss)
        return squared_losses(self.outputs, self.y, self.noise)

    def scored(self, found: Floats) -> Floats:
        """Of predictions (n,) the squared errors; of logits (n, C) 1 where the right class is highest."""
        score = np.square(found - self.y) if found.ndim == 1 else found.argmax(axis=1) == self.y
        return np.asarray(score, dtype=np.float64)


@dataclass(frozen=True)
class Method:
    """``predict`` goes from labelled rows and others to the others' predictions: (n,), or logits (n, C).

    ``needs`` is the fewest examples with which it says anything; None: it looks at none.
    """

    name: str
    ensemble: str
    predict: Callable[[Seen, Seen], Floats]
    needs: int | None


@dataclass(frozen=True)
class TableScores:
    """What came out on one table, by the name of the row, ``METHOD @N``: (draws, n), NaN where not tested.

    The ``metric`` rmse has squared errors in the target's unit; accuracy has ones and zeros.
    """

    name: str
    metric: str
    scores: dict[str, Floats] = field(default_factory=dict)


def methods(ensembles: Mapping[str, Ensemble], recipe: HyreRecipe) -> Iterator[Method]:
    """The methods that a recipe asks for; the uniform main ensemble always, as the ratios are made of it."""
    wanted = recipe.eval.methods
    for method in _methods(ensembles, recipe.adapt):
        if not wanted or method.name in wanted or method.name == f"uniform/{recipe.name}":
            yield method


def _methods(ensembles: Mapping[str, Ensemble], settings: AdaptSettings) -> Iterator[Method]:
    for name, ensemble in ensembles.items():
        yield Method(f"uniform/{name}", name, uniform, None)
        yield Method(f"hyre/{name}", name, partial(hyre, ensemble.fit, settings), 0)
        yield Method(f"best-head/{name}", name, best_head, 1)
        yield Method(f"oracle-head/{name}", name, oracle_head, None)
    yield Method("ridge", next(iter(ensembles)), ridge_alone, 1)


def uniform(known: Seen, asked: Seen) -> Floats:
    """The mean of all heads."""
    return np.asarray(asked.outputs.mean(axis=1))


def hyre(fit: Floats, settings: AdaptSettings, known: Seen, asked: Seen) -> Floats:
    """The heads weighted by the examples; ``fit`` (K,) is their mean loss in training."""
    losses = reduced(known.losses(settings.loss), settings.reduction)
    return blend(reweight(losses, prior_weights(fit, settings), settings.temperature), asked.outputs)


def best_head(known: Seen, asked: Seen) -> Floats:
    """The head that does best on the examples."""
    return asked.outputs[:, _best(known)]


def oracle_head(known: Seen, asked: Seen) -> Floats:
    """The head that does best on what is asked."""
    return asked.outputs[:, _best(asked)]


def ridge_alone(known: Seen, asked: Seen) -> Floats:
    """Ridge regression on the examples, of classes one against the others."""
    if asked.outputs.ndim == 2:
        return ridge(known.x, known.y, asked.x)
    return ridge(known.x, np.eye(asked.outputs.shape[2])[known.y], asked.x)


def ridge(x: Floats, y: Floats, asked: Floats, penalty: float = 1.0) -> Floats:
    """Ridge regression with a free intercept: x (n, D), y (n,) or (n, C), asked (m, D) to (m,) or (m, C)."""
    centre, mean = x.mean(axis=0), y.mean(axis=0)
    inner = x - centre
    dual = np.linalg.solve(inner @ inner.T + penalty * np.eye(len(x)), y - mean)
    return np.asarray(mean + (asked - centre) @ (inner.T @ dual), dtype=np.float64)


Figure = tuple[float, Floats]
"""A value and its resamples."""


def table_results(
    measured: Sequence[TableScores], recipe: HyreRecipe
) -> tuple[tuple[Row, ...], tuple[Difference, ...]]:
    """The rows, over all tables and for each, and how far HyRe is from uniform weights and ridge regression.

    Intervals hold the luck of the examples and that of the test rows; differences are paired.
    """
    regression = recipe.task == "regression"
    figures: dict[str, dict[str, Figure]] = {}
    numbers: dict[str, int] = {}
    for table in measured:
        metric = f"{table.name}/{table.metric}"
        draws, count = next(iter(table.scores.values())).shape
        resampler = Resampler(draws, count, recipe.eval.resamples, recipe.seed, table.name)
        for name, scores in table.scores.items():
            numbers[metric] = int(np.isfinite(scores).any(axis=0).sum())
            value, resampled = accuracy_of(scores), resampler.accuracies(scores)
            root = (float(np.sqrt(value)), np.sqrt(resampled))
            figures.setdefault(name, {})[metric] = root if regression else (value, resampled)
    overall = "rmse-ratio" if regression else "accuracy"
    reference = dict(figures[f"uniform/{recipe.name} @0"])
    for own in figures.values():
        own[overall] = _mean([_ratio(f, reference[m]) if regression else f for m, f in own.items()])
    numbers = {overall: sum(numbers.values()), **numbers}
    rows = [
        Row(name, {m: percentile_interval(*own[m], n) for m, n in numbers.items()})
        for name, own in figures.items()
    ]
    return tuple(rows), tuple(_differences(figures, numbers))


def _differences(
    figures: Mapping[str, Mapping[str, Figure]], numbers: Mapping[str, int]
) -> Iterator[Difference]:
    for a in figures:
        method, _, n = a.rpartition(" @")
        kind, _, ensemble = method.partition("/")
        others = (f"uniform/{ensemble} @0", f"ridge @{n}") if kind == "hyre" else ()
        for b in (name for name in others if name in figures):
            for metric, number in numbers.items():
                (left, lefts), (right, rights) = figures[a][metric], figures[b][metric]
                yield Difference.of(a, b, metric, percentile_interval(left - right, lefts - rights, number))


def _mean(figures: Sequence[Figure]) -> Figure:
    values, resampled = zip(*figures, strict=True)
    return float(np.mean(values)), np.asarray(np.mean(np.stack(resampled), axis=0))


def _ratio(own: Figure, reference: Figure) -> Figure:
    return own[0] / max(reference[0], LEAST), own[1] / np.maximum(reference[1], LEAST)


def _best(seen: Seen) -> int:
    """The head with the fewest errors, ties by the lower loss."""
    nll, errors = (seen.losses(loss).sum(axis=0) for loss in LOSSES)
    return int(np.lexsort((nll, errors))[0])
