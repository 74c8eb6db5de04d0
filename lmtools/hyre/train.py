"""The ensembles of a run: the main one, those it is compared with, and a single conventional head.

ensemble/          the main one           ensembles/NAME/    the others, by the name of their source
single/            one head without a prior
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtools.core.arrays import Floats
from lmtools.core.progress import Work
from lmtools.core.run import Run, wrong_run
from lmtools.core.seeds import derive
from lmtools.core.tracking import CurveCallback, no_curve
from lmtools.hyre.ensemble import (
    SETTINGS,
    Ensemble,
    EnsembleInfo,
    Features,
    Scaler,
    group_of,
    load_ensemble,
    save_ensemble,
)
from lmtools.hyre.heads import Examples, LinearHeads, make_heads
from lmtools.hyre.recipe import AdaptSettings, HyreRecipe, SourceName, SourceSettings, TrainSettings
from lmtools.hyre.reweighting import class_losses, pair_losses, squared_losses

# Training data become an ensemble: standardise, make each source's heads, measure their size and fit.


@dataclass(frozen=True)
class Training:
    """What an ensemble learns from, not standardised.

    Of pairs ``x`` and ``other`` (n, D) are the chosen and the rejected answers and ``groups`` (n,) their
    distributions; of tables ``x`` are the rows and ``y`` (n,) their classes from 0, or numbers.
    """

    x: Features
    other: Features | None = None
    y: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None

    def standard(self) -> Scaler:
        """The scale of these features; raises ``ModelError`` where one is not finite."""
        return Scaler.of(self.x if self.other is None else np.concatenate([self.x, self.other]))


def make_ensemble(
    sources: Sequence[SourceSettings],
    data: Training,
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
        info: what is known of the ensemble; its groups are filled in.
        own_head: (D,), the head of a reward model, which joins the ensemble as one more member.
        watch: from a source, with its place where it is there more than once, to what its training tells.

    Raises:
        ModelError: a feature is not finite, or a loss is not a number.
        RecipeError: a source cannot make as many heads.
    """
    standard = data.standard()
    regression = info.task == "regression"
    y = None
    if data.y is not None:
        target = (data.y - info.target_mean) / info.target_scale if regression else data.y
        y = torch.as_tensor(target, dtype=torch.float32 if regression else torch.long, device=device)
    examples = Examples(
        torch.from_numpy(standard(data.x)).to(device),
        None if data.other is None else torch.from_numpy(standard(data.other)).to(device),
        y,
        data.groups,
    )
    parts, groups = [], []
    for place, source in enumerate(sources):
        own_seed = derive(seed, "heads", source.source, place)
        twice = [other.source for other in sources].count(source.source) > 1
        told = watch(f"{source.source} {place + 1}" if twice else source.source)
        heads = make_heads(
            source.source, source.count, info.task, info.outputs, examples, settings, own_seed, told
        )
        parts.append(heads.eval().requires_grad_(False))
        groups.append(group_of(source.source, heads))
    if own_head is not None:
        # On standardised features: the same differences of rewards.
        weight = np.where(standard.scale > 0, own_head / np.where(standard.scale > 0, standard.scale, 1), 0)
        parts.append(LinearHeads(torch.from_numpy(weight[None].astype(np.float32))).requires_grad_(False))
        groups.append(group_of("reward_model", parts[-1]))
    made = Ensemble(
        info.model_copy(update={"groups": tuple(groups)}),
        standard,
        tuple(parts),
        np.ones(sum(group.count for group in groups)),
        np.zeros(sum(group.count for group in groups)),
    )
    size, fit = _size_and_fit(made, data)
    return Ensemble(made.info, standard, made.parts, size, fit)


def _size_and_fit(ensemble: Ensemble, data: Training) -> tuple[Floats, Floats]:
    """The root mean square of each head's outputs in training, and its mean loss in nats: (K,) each."""
    found = ensemble.outputs(data.x)
    if data.other is not None:
        margins = found - ensemble.outputs(data.other)
        return np.sqrt(np.square(margins).mean(axis=0)), pair_losses(margins, "nll").mean(axis=0)
    assert data.y is not None
    if ensemble.info.task == "classification":
        size = np.sqrt(np.square(found).mean(axis=(0, 2)))
        return size, class_losses(found, data.y, "nll").mean(axis=0)
    losses = squared_losses(found, data.y, ensemble.info.target_scale**2)
    return np.sqrt(np.square(found).mean(axis=0)), losses.mean(axis=0)


MAIN, OTHERS, SINGLE = "ensemble", "ensembles", "single"
ONE = "single head"
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
    data: Training,
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

    def made(name: str, sources: tuple[SourceSettings, ...], folder: Path, alone: bool = False) -> Ensemble:
        if not (folder / SETTINGS).exists():
            # One conventional head, and a limit that is the prior's alone, take no other head in.
            apart = alone or sources[0].source == "gaussian_limit"
            settings = recipe.train.model_copy(update={"prior_scale": 0.0}) if alone else recipe.train
            with run.stage(f"heads {name}", Work):
                found = make_ensemble(
                    sources,
                    data,
                    info,
                    settings,
                    recipe.seed,
                    own_head=None if apart else own_head,
                    device=device,
                    watch=lambda source: run.curve(name if name in (source, ONE) else f"{name}/{source}"),
                )
                save_ensemble(found, folder)
        return load_ensemble(folder)

    by_name = {recipe.name: made(recipe.name, recipe.heads, run.path(MAIN))}
    for source in others(recipe):
        same = (SourceSettings(source=source, count=recipe.heads_count),)
        by_name[source] = made(source, same, run.path(OTHERS, source))
    one = (SourceSettings(source="shared_base", count=1),)
    return Ensembles(by_name, made(ONE, one, run.path(SINGLE), alone=True))


def others(recipe: HyreRecipe) -> list[SourceName]:
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
    for folder in sorted((directory / OTHERS).glob(f"*/{SETTINGS}")):
        by_name[folder.parent.name] = load_ensemble(folder.parent)
    return Ensembles(by_name, load_ensemble(directory / SINGLE))


def check_trained(directory: Path) -> None:
    """Whether a directory is a run of `lmtools hyre train`.

    Raises:
        RunError: it is none, or not finished.
    """
    parts = (directory / MAIN / SETTINGS, directory / SINGLE / SETTINGS, directory / "recipe.yaml")
    if not all(path.is_file() for path in parts):
        raise wrong_run(directory, "trained ensemble", "hyre train")


def settings_of(name: str, recipe: HyreRecipe) -> AdaptSettings:
    """How the ensemble of that name is adapted: the limit by its own rule, the others not by it."""
    main_is_limit = recipe.name == "gaussian_limit"
    if name == "gaussian_limit":
        return recipe.adapt.model_copy(update={"rule": "gaussian", "standardise": False})
    return recipe.adapt.model_copy(update={"rule": "reweight"}) if main_is_limit else recipe.adapt
