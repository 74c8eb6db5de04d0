"""The ensembles of a run: from training data to heads, and where they lie in a run directory.

ensemble/          the main one           ensembles/NAME/    those it is compared with, by their source
single/            one head without a prior, as a conventional reward model has it
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtools.core.arrays import Floats
from lmtools.core.files import absolute, sha256_text
from lmtools.core.progress import Work
from lmtools.core.run import RECIPE, Run, wrong_run
from lmtools.core.seeds import derive
from lmtools.core.tracking import CurveCallback, no_curve
from lmtools.hyre.ensemble import (
    SETTINGS,
    Ensemble,
    EnsembleInfo,
    Features,
    Group,
    Scaler,
    load_ensemble,
    save_ensemble,
)
from lmtools.hyre.heads import Examples, LinearHeads
from lmtools.hyre.recipe import HyreRecipe, SourceName, SourceSettings
from lmtools.hyre.reweighting import class_losses, pair_losses, squared_losses
from lmtools.hyre.settings import AdaptSettings, TrainSettings
from lmtools.hyre.sources import SOURCES
from lmtools.models.files import fingerprint

# One ensemble: standardise the data, make the heads of each source, measure their margins and losses


@dataclass(frozen=True)
class TrainingData:
    """What an ensemble learns from, not standardised.

    Of pairs ``x`` and ``other`` (n, D) are the chosen and the rejected answers and ``groups`` (n,) their
    distributions; of tables ``x`` are the rows and ``y`` (n,) their classes from 0, or numbers.
    """

    x: Features
    other: Features | None = None
    y: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None

    def scaler(self) -> Scaler:
        """The scale of these features; raises ``ModelError`` where one is not finite."""
        return Scaler.of(self.x if self.other is None else np.concatenate([self.x, self.other]))

    def examples(self, scaler: Scaler, info: EnsembleInfo, device: str) -> Examples:
        """The same standardised, as tensors on a device; numbers in the unit of the ensemble's targets."""
        y = None
        if self.y is not None and info.task == "regression":
            scaled = (self.y - info.target_mean) / info.target_scale
            y = torch.as_tensor(scaled, dtype=torch.float32, device=device)
        elif self.y is not None:
            y = torch.as_tensor(self.y, dtype=torch.long, device=device)
        other = None if self.other is None else torch.from_numpy(scaler(self.other)).to(device)
        return Examples(torch.from_numpy(scaler(self.x)).to(device), other, y, self.groups)


def make_ensemble(
    sources: Sequence[SourceSettings],
    data: TrainingData,
    info: EnsembleInfo,
    settings: TrainSettings,
    seed: int,
    *,
    own_head: Features | None = None,
    device: str = "cpu",
    watch: CurveCallback = no_curve,
) -> Ensemble:
    """The heads of all sources on the same features.

    Args:
        info: what the ensemble is; its groups are filled in.
        own_head: (D,), the head of a reward model, which joins the ensemble as one more member.
        watch: from a source, numbered where it is there more than once, to the callback of its training.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
        RecipeError: a source cannot make as many heads.
    """
    scaler = data.scaler()
    examples = data.examples(scaler, info, device)
    names = [source.source for source in sources]
    parts, groups = [], []
    for index, (name, count) in enumerate((source.source, source.count) for source in sources):
        callback = watch(f"{name} {index + 1}" if names.count(name) > 1 else name)
        source_seed = derive(seed, "heads", name, index)
        heads = SOURCES[name].make(count, info.task, info.outputs, examples, settings, source_seed, callback)
        parts.append(heads.eval().requires_grad_(False))
        groups.append(Group.of(name, heads))
    if own_head is not None:
        # On standardised features: the same differences of rewards.
        weight = np.where(scaler.scale > 0, own_head / np.where(scaler.scale > 0, scaler.scale, 1), 0)
        parts.append(LinearHeads(torch.from_numpy(weight[None].astype(np.float32))).requires_grad_(False))
        groups.append(Group.of("reward_model", parts[-1]))
    count = sum(group.count for group in groups)
    info = info.model_copy(update={"groups": tuple(groups)})
    ensemble = Ensemble(info, scaler, tuple(parts), np.ones(count), np.zeros(count))
    margin_rms, train_loss = _in_training(ensemble, data)
    return replace(ensemble, margin_rms=margin_rms, train_loss=train_loss)


def _in_training(ensemble: Ensemble, data: TrainingData) -> tuple[Floats, Floats]:
    """The root mean square of each head's outputs in training, and its mean loss in nats: (K,) each."""
    outputs = ensemble.outputs(data.x)
    if data.other is not None:
        margins = outputs - ensemble.outputs(data.other)
        return np.sqrt(np.square(margins).mean(axis=0)), pair_losses(margins, "nll").mean(axis=0)
    assert data.y is not None
    if ensemble.info.task == "classification":
        rms = np.sqrt(np.square(outputs).mean(axis=(0, 2)))
        return rms, class_losses(outputs, data.y, "nll").mean(axis=0)
    losses = squared_losses(outputs, data.y, ensemble.info.target_scale**2)
    return np.sqrt(np.square(outputs).mean(axis=0)), losses.mean(axis=0)


# The ensembles of a run


MAIN, COMPARED, SINGLE = "ensemble", "ensembles", "single"
SINGLE_HEAD = "single head"
"""The name of one conventional head."""


@dataclass(frozen=True)
class Ensembles:
    """``by_name``: the main ensemble first; ``single``: one head."""

    by_name: dict[str, Ensemble]
    single: Ensemble

    @property
    def main(self) -> Ensemble:
        """The run's own ensemble."""
        return next(iter(self.by_name.values()))


def train_ensembles(
    recipe: HyreRecipe,
    data: TrainingData,
    info: EnsembleInfo,
    run: Run,
    own_head: Features | None = None,
    device: str = "cpu",
) -> Ensembles:
    """Train and write what is not there yet.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
        RecipeError: a source cannot make as many heads.
    """

    def ensemble(
        name: str, sources: tuple[SourceSettings, ...], folder: Path, settings: TrainSettings,
        own_head: Features | None,
    ) -> Ensemble:  # fmt: skip
        if not (folder / SETTINGS).exists():
            with run.stage(f"heads {name}", Work):
                made_ensemble = make_ensemble(
                    sources,
                    data,
                    info,
                    settings,
                    recipe.seed,
                    own_head=own_head,
                    device=device,
                    watch=lambda source: run.curve(
                        name if name in (source, SINGLE_HEAD) else f"{name}/{source}"
                    ),
                )
                save_ensemble(made_ensemble, folder)
        # As it is on disk: a resumed run goes on with the same numbers.
        return load_ensemble(folder)

    def joined(source: str) -> Features | None:
        # The axes of a prior take no other head in.
        return own_head if is_ensemble(source) else None

    main = ensemble(recipe.name, recipe.heads, run.path(MAIN), recipe.train, joined(recipe.heads[0].source))
    by_name = {recipe.name: main}
    for source in compared(recipe):
        as_many = (SourceSettings(source=source, count=recipe.heads_count),)
        by_name[source] = ensemble(source, as_many, run.path(COMPARED, source), recipe.train, joined(source))
    # A conventional head has no random prior.
    plain = recipe.train.model_copy(update={"prior_scale": 0.0})
    alone = (SourceSettings(source="shared_base", count=1),)
    return Ensembles(by_name, ensemble(SINGLE_HEAD, alone, run.path(SINGLE), plain, None))


def compared(recipe: HyreRecipe) -> list[SourceName]:
    """The sources to compare the main ensemble with."""
    return [source for source in dict.fromkeys(recipe.compare) if source != recipe.name]


def load_ensembles(directory: Path, recipe: HyreRecipe) -> Ensembles:
    """The ensembles of a finished training.

    Raises:
        ModelError: a file is missing or broken.
        RunError: the directory holds no ensemble.
    """
    check_trained(directory)
    by_name = {recipe.name: load_ensemble(directory / MAIN)}
    for folder in sorted((directory / COMPARED).glob(f"*/{SETTINGS}")):
        by_name[folder.parent.name] = load_ensemble(folder.parent)
    return Ensembles(by_name, load_ensemble(directory / SINGLE))


def check_trained(directory: Path) -> None:
    """Whether a directory is a run of `lmtools hyre train`.

    Raises:
        RunError: it is none, or not finished.
    """
    parts = (directory / MAIN / SETTINGS, directory / SINGLE / SETTINGS, directory / RECIPE)
    if not all(path.is_file() for path in parts):
        raise wrong_run(directory, "trained ensemble", "hyre train")


def ensemble_hashes(run: Path) -> dict[str, str]:
    """SHA-256 of every ensemble of a trained run."""
    folders = sorted(path.parent for path in run.rglob(SETTINGS))
    return {absolute(str(folder)): sha256_text(fingerprint(folder)) for folder in folders}


def is_ensemble(name: str) -> bool:
    """Whether the ensemble of that name is one by itself, and not the axes of a prior."""
    return name not in SOURCES or SOURCES[name].rule is None


def adaptation_of(name: str, recipe: HyreRecipe) -> AdaptSettings:
    """How the ensemble of that name is adapted: axes of a prior by their own rule, the others not by it."""
    if not is_ensemble(name):
        return SOURCES[name].adaptation(recipe.adapt)
    if not is_ensemble(recipe.name):
        return recipe.adapt.model_copy(update={"rule": "reweight"})
    return recipe.adapt
