"""Regression and classification on tables: learn below a shift, adapt and test above it.

Every table gets ensembles of its own. What each method got wrong is kept in ``measured/TABLE.npz``, from
which all figures can be made again: an interrupted evaluation goes on with the next table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.files import atomic_writer, file_name
from lmtools.core.intervals import RATE, Bounds, difference_bounds, percentile_interval
from lmtools.core.results import PERCENTILE, Difference, Interval, Results, Row
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.stored import read_arrays
from lmtools.core.tracking import CurveCallback, no_curve
from lmtools.data.tabular import Table, load_table
from lmtools.hyre.adapt import head_prior
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo, Features, save_ensemble
from lmtools.hyre.label_draws import Draw, draws
from lmtools.hyre.methods import Method, ensemble_methods, hyre_method, measure
from lmtools.hyre.recipe import HyreRecipe, SourceSettings
from lmtools.hyre.results import Resampler, Resamples, accuracy_of, mean_of, over_targets
from lmtools.hyre.reweighting import blend, class_losses, squared_losses
from lmtools.hyre.settings import LossName
from lmtools.hyre.train import COMPARED, MAIN, TrainingData, compared, make_ensemble

# A table cut in two along one feature: a model learns from the lower part, and is asked about the upper one.
# It is the feature that says most about the target, so that what was learned has to carry on beyond what was
# seen, and heads that agree below the cut come apart above it.


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
    train: TrainingData
    target_x: Features
    target_y: NDArray[Any]
    feature: str
    classes: tuple[str, ...] | None
    source: str

    def first_copies(self) -> list[str]:
        """For each row above the shift the number of the first one that is the same throughout: (n,)."""
        rows = np.column_stack([self.target_x, self.target_y])
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        return [str(number) for number in first[inverse.reshape(-1)]]


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
    # Heads can only learn the classes below the shift; they are numbered from 0.
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
    # Limits draw from each side by itself.
    seed = derive(recipe.seed, "rows", name)
    train, target = _drawn(low, recipe.data.train_limit, seed), _drawn(high, recipe.data.target_limit, seed)
    data = TableData(name, TrainingData(x[train], y=y[train]), x[target], y[target], column, classes, source)
    if len(train) < FEWEST:
        raise DataError(
            f"{where} {len(train)} rows to train on", fix=f"raise data.shift: {FEWEST} are needed"
        )
    _check_targets(data, recipe)
    return data


def _check(recipe: HyreRecipe) -> None:
    """Whether the settings of the adaptation mean anything for tables."""
    adapt = recipe.adapt
    unfit = [f"rule: {adapt.rule}"] if adapt.rule != "reweight" else []
    unfit += ["standardise: true"] if adapt.standardise else []
    unfit += ["loss: zero_one"] if recipe.task == "regression" and adapt.loss == "zero_one" else []
    if unfit:
        raise RecipeError(
            f"adapt.{', adapt.'.join(unfit)}: not for task: {recipe.task}", fix="leave it out of the recipe"
        )


def _drawn(side: NDArray[np.bool_], limit: int | None, seed: int) -> NDArray[np.intp]:
    """The numbers of a side's rows, or of as many of them as the limit allows, in their order."""
    rows = np.flatnonzero(side)
    if limit is not None and limit < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, limit, replace=False))
    return rows


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


# Ensembles of one table


def train_table(data: TableData, recipe: HyreRecipe, watch: CurveCallback = no_curve) -> dict[str, Ensemble]:
    """The main ensemble, under ``recipe.name``, and those of ``recipe.compare`` under their sources' names.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
    """
    with _one_thread():
        ensembles = {recipe.name: _trained(recipe.heads, data, recipe, watch)}
        for source in compared(recipe):
            as_many = (SourceSettings(source=source, count=recipe.heads_count),)
            ensembles[source] = _trained(as_many, data, recipe, watch)
    return ensembles


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
    order = np.random.default_rng(derive(seed, "held out")).permutation(len(y))
    held_out = np.zeros(len(y), dtype=bool)
    held_out[order[: len(y) // HELD_OUT]] = True
    learned = TrainingData(x[~held_out], y=y[~held_out])
    mean, scale = float(y[~held_out].mean()), float(y[~held_out].std()) or 1.0
    info = EnsembleInfo(task="regression", groups=(), target_mean=mean, target_scale=scale)
    ensemble = make_ensemble(sources, learned, info, recipe.train, seed, watch=watch)
    errors = ensemble.outputs(x[held_out]).mean(axis=1) - y[held_out]
    # A perfect fit would make every other head impossible.
    noise = max(float(np.square(errors).mean()), 1e-9 * scale**2)
    return replace(ensemble, info=ensemble.info.model_copy(update={"noise": noise}))


# What is measured on a table


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
                ensembles = train_table(data, recipe, lambda source: run.curve(f"{name}/{source}"))  # noqa: B023
                for source, ensemble in ensembles.items():
                    folder = (MAIN,) if source == recipe.name else (COMPARED, source)
                    save_ensemble(ensemble, run.path(*folder, file_name(data.name)))
                views = {source: row_view(ensemble, data) for source, ensemble in ensembles.items()}
                methods = table_methods(ensembles, recipe)
                scores = measure(views, table_draws(data, recipe), methods, recipe.eval.examples).scores
                _write(path, scores)
        measured.append(_read_scores(path, data))
    with run.stage("intervals"):
        rows, differences = tabular_results(measured, recipe)
    return run.results(recipe_name, rows, differences)


@dataclass(frozen=True)
class RowView:
    """Rows as methods see them.

    ``outputs`` (n, K), or logits (n, K, C), of the heads; ``x`` (n, D) standardised; ``y`` (n,) numbers, or
    classes from 0; ``noise`` the variance that a regression expects.
    """

    outputs: Floats
    x: Floats
    y: NDArray[Any]
    noise: float

    def __getitem__(self, rows: NDArray[np.intp]) -> "RowView":
        return RowView(self.outputs[rows], self.x[rows], self.y[rows], self.noise)

    def losses(self, loss: LossName) -> Floats:
        """Each head's loss on each row: (n, K); of a regression always the squared one."""
        if self.outputs.ndim == 3:
            return class_losses(self.outputs, self.y, loss)
        return squared_losses(self.outputs, self.y, self.noise)

    def blended(self, weights: Floats) -> Floats:
        """The ensemble's predictions: (n,), or logits (n, C)."""
        return blend(weights, self.outputs)

    def scores(self, predictions: Floats) -> Floats:
        """Of predictions (n,) the squared errors; of logits (n, C) 1 where the right class is highest."""
        if predictions.ndim == 1:
            return np.asarray(np.square(predictions - self.y), dtype=np.float64)
        return np.asarray(predictions.argmax(axis=1) == self.y, dtype=np.float64)


def row_view(ensemble: Ensemble, data: TableData) -> RowView:
    """The rows above the shift as the methods of one ensemble see them."""
    x = ensemble.scaler(data.target_x).astype(np.float64)
    return RowView(ensemble.outputs(data.target_x), x, data.target_y, ensemble.info.noise)


def table_draws(data: TableData, recipe: HyreRecipe) -> list[Draw]:
    """Which rows are labelled and which are tested; copies of a row stay on one side."""
    return draws(data.first_copies(), recipe.eval.draws, recipe.eval.holdout, recipe.seed, data.name)


def table_methods(ensembles: Mapping[str, Ensemble], recipe: HyreRecipe) -> list[Method[RowView]]:
    """The methods that a recipe asks for; the uniform main ensemble always, as the ratios are made of it."""
    methods: list[Method[RowView]] = []
    for name, ensemble in ensembles.items():
        baselines: list[Method[RowView]] = list(ensemble_methods(name))
        prior = head_prior(ensemble.train_loss, recipe.adapt)
        hyre: Method[RowView] = hyre_method(f"hyre/{name}", name, prior, recipe.adapt)
        methods += [baselines[0], hyre, *baselines[1:]]
    methods.append(Method("ridge", next(iter(ensembles)), 1, ridge_alone))
    chosen = {*recipe.eval.methods, f"uniform/{recipe.name}"}
    return [method for method in methods if not recipe.eval.methods or method.name in chosen]


def ridge_alone(labelled: RowView, tested: RowView) -> Floats:
    """Ridge regression on the examples, of classes one against the others; no ensemble at all."""
    if tested.outputs.ndim == 2:
        return ridge(labelled.x, labelled.y, tested.x)
    return ridge(labelled.x, np.eye(tested.outputs.shape[2])[labelled.y], tested.x)


def ridge(x: Floats, y: Floats, tested: Floats, penalty: float = 1.0) -> Floats:
    """Ridge regression with a free intercept: x (n, D), y (n,) or (n, C), tested (m, D) to (m,) or (m, C)."""
    centre, mean = x.mean(axis=0), y.mean(axis=0)
    inner = x - centre
    dual = np.linalg.solve(inner @ inner.T + penalty * np.eye(len(x)), y - mean)
    return np.asarray(mean + (tested - centre) @ (inner.T @ dual), dtype=np.float64)


@dataclass(frozen=True)
class TableScores:
    """What came out on one table, by the name of the row, ``METHOD @N``: (draws, n), NaN where not tested.

    The ``metric`` rmse has squared errors in the target's unit; accuracy has ones and zeros.
    """

    name: str
    metric: str
    scores: dict[str, Floats] = field(default_factory=dict)


def _write(path: Path, scores: Mapping[str, Floats]) -> None:
    with atomic_writer(path, "wb") as stream:
        arrays: dict[str, Any] = dict(scores)
        np.savez_compressed(stream, **arrays)


def _read_scores(path: Path, data: TableData) -> TableScores:
    scores = read_arrays(path)
    return TableScores(data.name, "rmse" if data.classes is None else "accuracy", scores)


# Rows and differences. Targets of different tables have different units: what is averaged over tables is the
# accuracy, or ``rmse-ratio``, the RMSE as a share of that of the main ensemble's uniform mean.

LEAST = 1e-12
"""The least RMSE that others are told as a share of."""
Figure = tuple[float, Resamples]
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
            if regression:
                value, resampled = float(np.sqrt(value)), replace(resampled, values=np.sqrt(resampled.values))
            figures.setdefault(name, {})[metric] = value, resampled
    overall = "rmse-ratio" if regression else "accuracy"
    reference = dict(figures[f"uniform/{recipe.name} @0"])
    for by_metric in figures.values():
        tables = [
            _ratio(figure, reference[metric]) if regression else figure
            for metric, figure in by_metric.items()
        ]
        by_metric[overall] = _mean(tables)
    numbers = {overall: sum(numbers.values()), **numbers}
    bounds = None if regression else RATE
    rows = [
        Row(name, {metric: _interval(by_metric[metric], n, bounds) for metric, n in numbers.items()})
        for name, by_metric in figures.items()
    ]
    return tuple(rows), tuple(
        _differences(figures, numbers, recipe.name, bounds and difference_bounds(bounds))
    )


def _differences(
    figures: Mapping[str, Mapping[str, Figure]], numbers: Mapping[str, int], main: str, bounds: Bounds | None
) -> Iterator[Difference]:
    """HyRe on each ensemble less the baselines of as many examples or none: its own, of the main one all."""
    for a in figures:
        method, _, n = a.rpartition(" @")
        kind, _, ensemble = method.partition("/")
        for b in figures if kind == "hyre" else ():
            name, _, count = b.rpartition(" @")
            rule, _, source = name.partition("/")
            baseline = rule not in ("hyre", "oracle-head") and (ensemble == main or source in ("", ensemble))
            if baseline and count in (n, "0"):
                for metric, number in numbers.items():
                    (left, lefts), (right, rights) = figures[a][metric], figures[b][metric]
                    yield Difference.of(
                        a, b, metric, _interval((left - right, lefts - rights), number, bounds)
                    )


def _interval(figure: Figure, n: int, bounds: Bounds | None) -> Interval:
    value, resampled = figure
    if bounds is None:
        return percentile_interval(value, resampled.values, n, n, f"{PERCENTILE}, over examples and rows")
    return over_targets([value], [resampled], n, bounds)


def _mean(figures: Sequence[Figure]) -> Figure:
    values, resampled = zip(*figures, strict=True)
    return float(np.mean(values)), mean_of(resampled)


def _ratio(figure: Figure, reference: Figure) -> Figure:
    values = figure[1].values / np.maximum(reference[1].values, LEAST)
    return figure[0] / max(reference[0], LEAST), replace(figure[1], values=values)
