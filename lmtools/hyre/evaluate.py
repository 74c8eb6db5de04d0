"""`lmtools hyre eval`: what a few labelled pairs are worth, over all targets, against every baseline.

For every target and draw, half of the pairs are only tested on; the labelled ones come from the others. All
methods see the same draws. What each method got right is kept in ``measured/TARGET.npz``, from which all
figures can be made again: an interrupted evaluation goes on with the next target. ``pairs.jsonl`` has the
texts of the pairs, those of a target in the order of its columns.
"""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from lmtools.core.arrays import Floats
from lmtools.core.files import atomic_writer, file_name, write_jsonl
from lmtools.core.progress import Work, progress, say
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.core.stored import read_arrays
from lmtools.hyre.adapt import head_prior
from lmtools.hyre.ensemble import Ensemble, Features
from lmtools.hyre.heads import SharedBase
from lmtools.hyre.inputs import PairInputs
from lmtools.hyre.label_draws import draws
from lmtools.hyre.methods import (
    Measured,
    Method,
    PairView,
    hyre_method,
    informative_draws,
    measure,
    pair_methods,
    shared_methods,
)
from lmtools.hyre.pairs import PairFeatures, content, read_features, reading
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.results import Target, result_rows
from lmtools.hyre.session import PAIRS, shown_pair, target_records
from lmtools.hyre.settings import AdaptSettings
from lmtools.hyre.train import Ensembles, adaptation_of, is_ensemble
from lmtools.metrics.preference import disagreements

FOLDER = "measured"


def evaluate(inputs: PairInputs, run: Run, ensembles: Ensembles, recipe_name: str) -> Results:
    """Measure every method on every target.

    Raises:
        DataError: a target has fewer than two pairs.
        ModelError: the features are not those of the ensembles.
        MachineError: the run cannot be written.
    """
    recipe = inputs.recipe
    settings, main = recipe.eval, recipe.name
    pairs = [pair for members in inputs.targets.values() for pair in members]
    with run.stage("features of the targets", partial(reading, inputs.reader, pairs)):
        features = read_features(inputs.reader, dict(inputs.targets), "targets")
    methods = methods_of(recipe, ensembles)
    adapt = adaptation_of(main, recipe)
    prior = head_prior(ensembles.main.train_loss, adapt)
    targets, records = [], []
    with run.stage("measure", Work), progress(len(features), "targets measured") as bar:
        for name, target in features.items():
            path = run.path(FOLDER, f"{file_name(name)}.npz")
            measured = _read(path)
            if measured is None:
                # Every method on the same draws, seen through each ensemble.
                keys = [content(pair) for pair in target.pairs]
                choices = draws(keys, settings.draws, settings.holdout, recipe.seed, name)
                views = {
                    source: pair_view(ensemble, ensembles.single, target, adaptation_of(source, recipe))
                    for source, ensemble in ensembles.by_name.items()
                }
                measured = measure(views, choices, methods, settings.examples)
                # The main ensemble again, with labels asked for one at a time in place of drawn ones.
                smallest = min(len(choice.pool) for choice in choices)
                counts = [n for n in settings.examples if 0 < n <= smallest]
                most = max(counts, default=0)
                for kind in settings.active:
                    ordered = informative_draws(views[main], prior, choices, kind, adapt, most, recipe.seed)
                    method: Method[PairView] = hyre_method(f"hyre/{main} ({kind})", main, prior, adapt)
                    measured |= measure(views, ordered, [method], counts)
                _write(path, measured)
            # How often two heads disagree on each pair: how much there is to learn from labels.
            different = {
                source: disagreements(ensemble.outputs(target.chosen) - ensemble.outputs(target.rejected))
                for source, ensemble in ensembles.by_name.items()
            }
            means = {f"hyre/{source}": float(values.mean()) for source, values in different.items()}
            targets.append(Target(name, len(target.pairs), measured, means))
            records.append(target_records(name, map(shown_pair, target.pairs), different[main]))
            bar.advance()
    if run.writes:
        write_jsonl(run.path(PAIRS), chain.from_iterable(records))
    for n, names in examples_left_out(targets, recipe).items():
        say(f"@{n}: left out, since half of their pairs are fewer: {', '.join(names)}")
    with run.stage("intervals", Work):
        rows, differences = result_rows(targets, recipe)
    return run.results(recipe_name, rows, differences)


def methods_of(recipe: HyreRecipe, ensembles: Ensembles) -> list[Method[PairView]]:
    """Every row, the main ensemble's first."""
    methods: list[Method[PairView]] = []
    for source, ensemble in ensembles.by_name.items():
        settings = adaptation_of(source, recipe)
        prior = head_prior(ensemble.train_loss, settings)
        methods.append(hyre_method(f"hyre/{source}", source, prior, settings))
        if is_ensemble(source):
            methods += pair_methods(source)
    methods += shared_methods(recipe.name)
    chosen = recipe.eval.methods
    return [method for method in methods if not chosen or method.name in chosen]


def pair_view(
    ensemble: Ensemble, single: Ensemble, features: PairFeatures, settings: AdaptSettings
) -> PairView:
    """Pairs as the methods of one ensemble see them; ``single`` is the single head."""
    chosen, rejected = (ensemble.rewards(side, settings) for side in (features.chosen, features.rejected))
    margins = single.outputs(features.chosen) - single.outputs(features.rejected)
    return PairView(
        chosen - rejected,
        (ensemble.scaler(features.chosen) - ensemble.scaler(features.rejected)).astype(np.float64),
        margins[:, 0],
        _inner(single, features.chosen) - _inner(single, features.rejected),
    )


def _inner(single: Ensemble, features: Features) -> Floats:
    """What the last layer of the single head sees: (n, H)."""
    [heads] = single.parts
    assert isinstance(heads, SharedBase)
    with torch.inference_mode():
        inner: Floats = heads.trunk(torch.from_numpy(single.scaler(features))).double().numpy()
    return inner


# ``measured/TARGET.npz``: arrays ``correct/ROW`` (draws, n) and ``effective/ROW`` (draws,).


def _write(path: Path, measured: Measured) -> None:
    arrays = {f"correct/{row}": values for row, values in measured.scores.items()}
    arrays |= {f"effective/{row}": values for row, values in measured.effective.items()}
    with atomic_writer(path, "wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def _read(path: Path) -> Measured | None:
    """What a file holds; None where there is none."""
    if not path.exists():
        return None
    parts: dict[str, dict[str, Floats]] = {"correct": {}, "effective": {}}
    for name, array in read_arrays(path).items():
        part, _, row = name.partition("/")
        if part in parts:
            parts[part][row] = array
    return Measured(parts["correct"], parts["effective"])


def examples_left_out(targets: Sequence[Target], recipe: HyreRecipe) -> dict[int, list[str]]:
    """N -> the targets that have too few pairs for as many labels."""
    left = {
        n: [
            target.name
            for target in targets
            if not any(row.endswith(f"@{n}") for row in target.measured.scores)
        ]
        for n in recipe.eval.examples
    }
    return {n: names for n, names in left.items() if names}
