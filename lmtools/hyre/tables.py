"""Regression and classification on tables: learn below a shift, adapt and test above it.

Every table gets ensembles of its own. What each method got wrong is kept in ``measured/TABLE.npz``, from
which all figures can be made again: an interrupted evaluation goes on with the next table.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtools.core.curves import Watch, unwatched
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.files import atomic_writer, file_name
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.data.tabular import load_table
from lmtools.hyre.draws import draws
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo, save_ensemble
from lmtools.hyre.ensembles import others
from lmtools.hyre.make import Training, make_ensemble
from lmtools.hyre.recipe import HyreRecipe, SourceSettings
from lmtools.hyre.shift import shifted
from lmtools.hyre.standard import Features
from lmtools.hyre.table_rows import Seen, TableScores, methods, table_results

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


def train_table(data: TableData, recipe: HyreRecipe, watch: Watch = unwatched) -> dict[str, Ensemble]:
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
    sources: Sequence[SourceSettings], data: TableData, recipe: HyreRecipe, watch: Watch
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
        rows, differences = table_results(measured, recipe)
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
