"""`lmtools hyre eval`: what a few labelled pairs are worth, over all targets, against every baseline.

For every target and draw, half of the pairs are only tested on; the labelled ones come from the others. All
methods see the same draws. What each method got right is kept in ``measured/TARGET.npz``, from which all
figures can be made again: an interrupted evaluation goes on with the next target. ``pairs.jsonl`` has the
texts of the pairs, those of a target in the order of its columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lmtools.core.arrays import Floats
from lmtools.core.files import atomic_writer, file_name, write_jsonl
from lmtools.core.progress import Work, progress, say
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.hyre.ensemble import Ensemble, Features
from lmtools.hyre.heads import SharedBase
from lmtools.hyre.inputs import Setup
from lmtools.hyre.label_draws import draws
from lmtools.hyre.methods import (
    Measured,
    Method,
    Pairs,
    asked_in_turn,
    baseline_methods,
    hyre_method,
    measure,
    shared_methods,
)
from lmtools.hyre.pairs import PairFeatures, content, read_features, reading
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.results import Target, result_rows
from lmtools.hyre.session import PAIRS, shown, target_records
from lmtools.hyre.train import Ensembles, settings_of
from lmtools.metrics.preference import disagreements

FOLDER = "measured"


def evaluate(setup: Setup, run: Run, found: Ensembles, recipe_name: str) -> Results:
    """Measure every method on every target.

    Raises:
        DataError: a target has fewer than two pairs.
        ModelError: the features are not those of the ensembles.
        MachineError: the run cannot be written.
    """
    pairs = [pair for own in setup.targets.values() for pair in own]
    with run.stage("features of the targets", partial(reading, setup.reader, pairs)):
        features = read_features(setup.reader, dict(setup.targets), "targets")
    targets, told = [], []
    with run.stage("measure", Work), progress(len(features), "targets measured") as bar:
        for name, own in features.items():
            path = run.path(FOLDER, f"{file_name(name)}.npz")
            different = {
                source: disagreements(ensemble.outputs(own.chosen) - ensemble.outputs(own.rejected))
                for source, ensemble in found.by_name.items()
            }
            targets.append(_target(name, own, setup.recipe, found, path, different))
            told.append(target_records(name, map(shown, own.pairs), different[setup.recipe.name]))
            bar.advance()
    if run.writes:
        write_jsonl(run.path(PAIRS), chain.from_iterable(told))
    for n, names in examples_left_out(targets, setup.recipe).items():
        say(f"@{n}: left out, since half of their pairs are fewer: {', '.join(names)}")
    with run.stage("intervals", Work):
        rows, differences = result_rows(targets, setup.recipe)
    return run.results(recipe_name, rows, differences)


def _target(
    name: str,
    own: PairFeatures,
    recipe: HyreRecipe,
    found: Ensembles,
    path: Path,
    different: Mapping[str, Floats],
) -> Target:
    """One target, from its file if it is there; ``different``: ensemble -> disagreement on each pair."""
    known = _read(path)
    if known is None:
        known = _measure(name, own, recipe, found)
        _write(path, known)
    disagreement = {f"hyre/{source}": float(values.mean()) for source, values in different.items()}
    return Target(name, len(own.pairs), known, disagreement)


def methods_of(recipe: HyreRecipe, found: Ensembles) -> list[Method]:
    """Every row, the main ensemble's first."""
    methods: list[Method] = []
    for source, ensemble in found.by_name.items():
        methods.append(hyre_method(f"hyre/{source}", source, ensemble.fit, settings_of(source, recipe)))
        if source != "gaussian_limit":  # its axes are no ensemble by themselves
            methods += baseline_methods(source)
    methods += shared_methods(recipe.name)
    wanted = recipe.eval.methods
    return [method for method in methods if not wanted or method.name in wanted]


def _measure(name: str, own: PairFeatures, recipe: HyreRecipe, found: Ensembles) -> Measured:
    views = {source: view(ensemble, found.single, own, settings_of(source, recipe)) for source, ensemble
             in found.by_name.items()}  # fmt: skip
    settings = recipe.eval
    choices = draws(
        [content(pair) for pair in own.pairs], settings.draws, settings.holdout, recipe.seed, name
    )
    known = measure(views, choices, methods_of(recipe, found), settings.examples)
    main = recipe.name
    most = max((n for n in settings.examples if n <= min(len(c.pool) for c in choices)), default=0)
    adapt = settings_of(main, recipe)
    for kind in settings.active:
        method = hyre_method(f"hyre/{main} ({kind})", main, found.main.fit, adapt)
        asked = [asked_in_turn(views[main], found.main.fit, choice, kind, adapt, most, recipe.seed)
                 for choice in choices]  # fmt: skip
        more = measure(views, asked, [method], [n for n in settings.examples if 0 < n <= most])
        known = Measured(known.correct | more.correct, known.effective | more.effective)
    return known


def view(ensemble: Ensemble, single: Ensemble, own: PairFeatures, settings: Any) -> Pairs:
    """Pairs as the methods of one ensemble see them."""
    chosen, rejected = (ensemble.rewards(side, settings) for side in (own.chosen, own.rejected))
    alone = single.outputs(own.chosen) - single.outputs(own.rejected)
    return Pairs(
        chosen - rejected,
        (ensemble.standard(own.chosen) - ensemble.standard(own.rejected)).astype(np.float64),
        alone[:, 0],
        _inner(single, own.chosen) - _inner(single, own.rejected),
    )


def _inner(single: Ensemble, features: Features) -> Floats:
    """What the last layer of the single head sees: (n, H)."""
    [heads] = single.parts
    assert isinstance(heads, SharedBase)
    with torch.inference_mode():
        found: Floats = heads.trunk(torch.from_numpy(single.standard(features))).double().numpy()
    return found


def _write(path: Path, known: Measured) -> None:
    arrays = {f"{field}/{row}": value for field, rows in asdict(known).items()
              for row, value in rows.items()}  # fmt: skip
    with atomic_writer(path, "wb") as stream:
        np.savez_compressed(stream, **arrays)


def _read(path: Path) -> Measured | None:
    """What a file holds; None where there is none."""
    if not path.exists():
        return None
    parts: dict[str, dict[str, Floats]] = {"correct": {}, "effective": {}}
    with np.load(path, allow_pickle=False) as arrays:
        for name in arrays.files:
            field, _, row = name.partition("/")
            parts[field][row] = arrays[name].astype(np.float64)
    return Measured(**parts)


def examples_left_out(targets: Sequence[Target], recipe: HyreRecipe) -> dict[int, list[str]]:
    """N -> the targets that have too few pairs for as many labels."""
    left = {
        n: [
            target.name
            for target in targets
            if not any(row.endswith(f"@{n}") for row in target.measured.correct)
        ]
        for n in recipe.eval.examples
    }
    return {n: names for n, names in left.items() if names}
