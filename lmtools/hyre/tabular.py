"""Regression and classification on tables: learn below a shift, adapt and test above it.

Every table gets ensembles of its own. What each method got wrong is kept in ``measured/TABLE.npz``, from
which all figures can be made again: an interrupted evaluation goes on with the next table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.files import atomic_writer, file_name
from lmtools.core.results import Difference, Results, Row, percentile_interval
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.tracking import CurveCallback, no_curve
from lmtools.data.tabular import Table, load_table
from lmtools.hyre.adapt import prior_weights
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo, Features, save_ensemble
from lmtools.hyre.label_draws import draws
from lmtools.hyre.recipe import AdaptSettings, HyreRecipe, SourceSettings
from lmtools.hyre.results import Resampler, accuracy_of
from lmtools.hyre.reweighting import LossName, blend, class_losses, reduced, reweight, squared_losses
from lmtools.hyre.train import Training, make_ensemble, others

# What is measured on tables: the methods, and the rows of a result.
#
#     uniform/NAME      every head of the ensemble NAME alike; no examples
#     hyre/NAME         its heads weighted by the examples
#     best-head/NAME    the head that does best on the examples
#     oracle-head/NAME  the head that does best on the rows that are tested: no method, a ceiling for one head
#     ridge             ridge regression on the examples alone; no ensemble at all
#
# Targets of different tables have different units. What is averaged over tables is the accuracy, or
# ``rmse-ratio``, the RMSE as a share of that of the main ensemble's uniform mean.

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


def tabular_results(
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


# A table cut in two along one feature: a model learns from the lower part, and is asked about the upper
# one.
#
# It is the feature that says most about the target, so that what was learned has to carry on beyond what
# was seen, and heads that agree below the cut come apart above it.


def shifted(table: Table, share: float) -> tuple[int, NDArray[np.bool_]]:
    """Which feature is cut, and which rows lie at or below the cut: (n,).

    The feature has the largest rank correlation with the target, either way. The cut is the one of its values
    for which the share of rows at or below it is nearest to ``share``, so that equal values stay on one side.
    A feature of two values would be constant below the cut, where nothing could be learned of it: it is cut
    only if no other feature has more.

    Args:
        share: of the rows, in (0, 1).

    Raises:
        ValueError: no feature has two values.
    """
    different = np.array([len(np.unique(column)) for column in table.features.T])
    if not (different > 1).any():
        raise ValueError("no feature has two values")
    usable = different > (2 if (different > 2).any() else 1)
    strength = np.abs(rank_correlations(table.features, table.target))
    feature = int(np.argmax(np.where(usable, strength, -1.0)))
    column = table.features[:, feature]
    values, counts = np.unique(column, return_counts=True)
    # Neither all rows nor, where that can be, only those of the lowest value.
    first = min(1, len(values) - 2)
    below = np.cumsum(counts)[first:-1] / len(column)
    return feature, column <= values[first + int(np.argmin(np.abs(below - share)))]


def rank_correlations(features: NDArray[Any], target: NDArray[Any]) -> Floats:
    """Spearman's correlation of each feature with the target: (n, F) and (n,) to (F,); 0 for constants."""
    ranks = rankdata(np.column_stack([features, target]), axis=0)
    centred = ranks - ranks.mean(axis=0)
    length = np.sqrt(np.square(centred).sum(axis=0))
    return np.asarray(
        centred[:, :-1].T @ centred[:, -1] / np.maximum(length[:-1] * length[-1], 1e-12), dtype=np.float64
    )


SUFFIXES = (".gz", ".csv", ".tsv")
FEWEST = 10
"""Rows to train on: of fewer, no tenth can be held out."""
HELD_OUT = 10
"""One in so many training rows is held out to measure the noise of a regression."""


@dataclass(frozen=True)
class TableData:
    """A table on both sides of its shift.

    ``train`` are the rows below it. ``target_x`` (n, D) and ``target_y`` (n,), numbers or classes from 0, are
    those above. ``feature`` is the name of the one that is cut, ``classes`` the labels of a classification.
    """

    name: str
    train: Training
    target_x: Features
    target_y: NDArray[Any]
    feature: str
    classes: tuple[str, ...] | None
    source: str

    def first_copies(self) -> list[str]:
        """For each row above the shift the number of the first one that is the same throughout: (n,)."""
        rows = np.column_stack([self.target_x, self.target_y])
        _, first, which = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        return [str(number) for number in first[which.reshape(-1)]]


def read_tables(recipe: HyreRecipe) -> list[TableData]:
    """The tables of a recipe for regression or classification, each cut at its shift.

    Raises:
        DataError: a source cannot be read, a side of its shift has too few rows, or a label is only above it.
        RecipeError: the settings of the adaptation are not for tables, or two tables have one name.
    """
    _check(recipe)
    tables = [_read(source, recipe) for source in recipe.data.tables]
    names = [table.name for table in tables]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecipeError(
            f"data.tables: two tables are called {', '.join(twice)}", fix="give the files names of their own"
        )
    return tables


def _read(source: str, recipe: HyreRecipe) -> TableData:
    """One table, cut."""
    table = load_table(source)
    try:
        feature, low = shifted(table, recipe.data.shift)
    except ValueError as error:
        raise DataError(
            f"{source}: {error}: nothing to shift", fix="give a table whose rows differ"
        ) from error
    name = PurePath(source.removeprefix("data:")).name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    column, x = table.names[feature], table.features.astype(np.float32)
    y: NDArray[Any] = table.target
    high, classes = ~low, None
    where = f"{source}: below the shift of {column}"
    if recipe.task == "classification":
        labels = np.unique(y[low])
        if len(unknown := np.setdiff1d(y[high], labels)):
            missing = ", ".join(f"{label:g}" for label in unknown)
            raise DataError(
                f"{where} no row has the label {missing}, which rows above it have",
                fix="leave these rows out, or raise data.shift",
            )
        if len(labels) < 2:
            raise DataError(f"{where} all rows have the label {labels[0]:g}", fix="change data.shift")
        classes = tuple(f"{label:g}" for label in labels)
        y = np.searchsorted(labels, y)
    seed = derive(recipe.seed, "rows", name)
    train, target = _drawn(low, recipe.data.train_limit, seed), _drawn(high, recipe.data.target_limit, seed)
    found = TableData(name, Training(x[train], y=y[train]), x[target], y[target], column, classes, source)
    if len(train) < FEWEST:
        raise DataError(
            f"{where} {len(train)} rows to train on", fix=f"raise data.shift: {FEWEST} are needed"
        )
    _check_targets(found, recipe)
    return found


def _check(recipe: HyreRecipe) -> None:
    """Whether the settings of the adaptation mean anything for tables."""
    adapt = recipe.adapt
    wrong = [f"rule: {adapt.rule}"] if adapt.rule != "reweight" else []
    wrong += ["standardise: true"] if adapt.standardise else []
    wrong += ["loss: zero_one"] if recipe.task == "regression" and adapt.loss == "zero_one" else []
    if wrong:
        raise RecipeError(
            f"adapt.{', adapt.'.join(wrong)}: not for task: {recipe.task}", fix="leave it out of the recipe"
        )


def _drawn(side: NDArray[np.bool_], limit: int | None, seed: int) -> NDArray[np.intp]:
    """The places of a side's rows, or of as many of them as the limit allows, in their order."""
    places = np.flatnonzero(side)
    if limit is not None and limit < len(places):
        places = np.sort(np.random.default_rng(seed).choice(places, limit, replace=False))
    return places


def _check_targets(data: TableData, recipe: HyreRecipe) -> None:
    """Whether enough rows lie above the shift for the most examples beside those that are tested."""
    different, most = len(set(data.first_copies())), max(recipe.eval.examples)
    # Of the different rows ``draws`` tests a share, and at least one.
    pool = different - min(different - 1, max(1, round(different * recipe.eval.holdout)))
    if different < 2 or pool < most:
        raise DataError(
            f"{data.source}: above the shift of {data.feature} {different} different rows: too few for "
            f"{most} examples beside the {recipe.eval.holdout:.0%} that are tested",
            fix="lower data.shift, or name fewer eval.examples",
        )


def train_table(data: TableData, recipe: HyreRecipe, watch: CurveCallback = no_curve) -> dict[str, Ensemble]:
    """The main ensemble, under ``recipe.name``, and those of ``recipe.compare`` under their sources' names.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
    """
    with _one_thread():
        found = {recipe.name: _trained(recipe.heads, data, recipe, watch)}
        for source in others(recipe):
            same = (SourceSettings(source=source, count=recipe.heads_count),)
            found[source] = _trained(same, data, recipe, watch)
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Steps this small are no work for several threads: they would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _trained(
    sources: Sequence[SourceSettings], data: TableData, recipe: HyreRecipe, watch: CurveCallback
) -> Ensemble:
    """One ensemble; of a regression it learns from nine tenths of the rows, and its noise is the rest's."""
    seed = derive(recipe.seed, "table", data.name)
    if data.classes is not None:
        info = EnsembleInfo(task="classification", groups=(), outputs=len(data.classes))
        return make_ensemble(sources, data.train, info, recipe.train, seed, watch=watch)
    assert data.train.y is not None
    x, y = data.train.x, data.train.y
    held = np.zeros(len(y), dtype=bool)
    held[np.random.default_rng(derive(seed, "held out")).permutation(len(y))[: len(y) // HELD_OUT]] = True
    mean, scale = float(y[~held].mean()), float(y[~held].std()) or 1.0
    info = EnsembleInfo(task="regression", groups=(), target_mean=mean, target_scale=scale)
    made = make_ensemble(sources, Training(x[~held], y=y[~held]), info, recipe.train, seed, watch=watch)
    missed = made.outputs(x[held]).mean(axis=1) - y[held]
    noise = max(float(np.square(missed).mean()), 1e-9 * scale**2)
    return replace(made, info=made.info.model_copy(update={"noise": noise}))


def measure_table(ensembles: Mapping[str, Ensemble], data: TableData, recipe: HyreRecipe) -> TableScores:
    """Every method on one table; no draw tests a row that it labels.

    Args:
        ensembles: those of ``train_table``, the main one first.
    """
    found = TableScores(data.name, "rmse" if data.classes is None else "accuracy")
    seen = {name: _seen(ensemble, data) for name, ensemble in ensembles.items()}
    settings = recipe.eval
    choices = draws(data.first_copies(), settings.draws, settings.holdout, recipe.seed, data.name)
    for method in methods(ensembles, recipe):
        own = seen[method.ensemble]
        counts = [0] if method.needs is None else [n for n in settings.examples if n >= method.needs]
        for n in counts:
            scores = np.full((len(choices), len(data.target_y)), np.nan)
            for draw, choice in enumerate(choices):
                asked = own[choice.test]
                scores[draw, choice.test] = asked.scored(method.predict(own[choice.pool[:n]], asked))
            found.scores[f"{method.name} @{n}"] = scores
    return found


def measure_tables(tables: Sequence[TableData], recipe: HyreRecipe, run: Run, recipe_name: str) -> Results:
    """Train and measure on every table.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
        MachineError: the run cannot be written.
    """
    measured = []
    for data in tables:
        path = run.path("measured", f"{file_name(data.name)}.npz")
        if not path.exists():
            with run.stage(f"table {data.name}"):
                name = data.name
                found = train_table(data, recipe, lambda source: run.curve(f"{name}/{source}"))  # noqa: B023
                for name, ensemble in found.items():
                    folder = ("ensemble",) if name == recipe.name else ("ensembles", name)
                    save_ensemble(ensemble, run.path(*folder, file_name(data.name)))
                _write(path, measure_table(found, data, recipe))
        measured.append(_scores(path, data))
    with run.stage("intervals"):
        rows, differences = tabular_results(measured, recipe)
    return run.results(recipe_name, rows, differences)


def _seen(ensemble: Ensemble, data: TableData) -> Seen:
    x = ensemble.standard(data.target_x).astype(np.float64)
    return Seen(ensemble.outputs(data.target_x), x, data.target_y, ensemble.info.noise)


def _write(path: Path, found: TableScores) -> None:
    with atomic_writer(path, "wb") as stream:
        arrays: dict[str, Any] = dict(found.scores)
        np.savez_compressed(stream, **arrays)


def _scores(path: Path, data: TableData) -> TableScores:
    with np.load(path, allow_pickle=False) as arrays:
        scores = {name: arrays[name] for name in arrays.files}
    return TableScores(data.name, "rmse" if data.classes is None else "accuracy", scores)
