"""Training data become an ensemble: standardise, make each source's heads, measure their size and fit."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtools.core.curves import Watch, unwatched
from lmtools.core.seeds import derive
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo, group_of
from lmtools.hyre.heads import LinearHeads
from lmtools.hyre.recipe import SourceSettings, TrainSettings
from lmtools.hyre.reweighting import Floats, class_losses, pair_losses, squared_losses
from lmtools.hyre.sources import make_heads
from lmtools.hyre.standard import Features, Standard
from lmtools.hyre.train import Examples


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

    def standard(self) -> Standard:
        """The scale of these features; raises ``ModelError`` where one is not finite."""
        return Standard.of(self.x if self.other is None else np.concatenate([self.x, self.other]))


def make_ensemble(
    sources: Sequence[SourceSettings],
    data: Training,
    info: EnsembleInfo,
    settings: TrainSettings,
    seed: int,
    *,
    own_head: Features | None = None,
    device: str = "cpu",
    watch: Watch = unwatched,
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
