"""Where heads come from: each source makes K heads out of the standardised training examples.

shared_base   one trunk, K linear heads, frozen random priors, trained together
diverse       the same, with a penalty on correlated heads
epinet        one network and K draws of its index
mixture       K heads trained as a mixture of Bradley-Terry models
pca           plus and minus the principal directions of differences of features
random        random directions, plus and minus
gaussian      heads drawn from a normal prior over linear heads learned from the pairs, plus and minus
gaussian_limit  all axes of that prior, for the rule `gaussian`: the limit of infinitely many such heads
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from lmtools.core.curves import Told, untold
from lmtools.core.errors import RecipeError
from lmtools.core.progress import progress
from lmtools.hyre import losses
from lmtools.hyre.axes import principal_axes, prior_draws, prior_root
from lmtools.hyre.heads import Epinet, Heads, LinearHeads, SharedBase
from lmtools.hyre.recipe import SourceName, Task, TrainSettings
from lmtools.hyre.train import Examples, Loss, train_heads

SOLVED: tuple[SourceName, ...] = ("pca", "random", "gaussian", "gaussian_limit")
"""The sources that need no training."""


def make_heads(
    source: SourceName,
    count: int,
    task: Task,
    outputs: int,
    examples: Examples,
    settings: TrainSettings,
    seed: int,
    told: Told = untold,
) -> Heads:
    """K = ``count`` heads, trained or solved for; the same for the same seed.

    Args:
        outputs: classes, or 1.
        examples: standardised, on the device to train on.
        told: of heads that are trained is told of every pass, with the mean loss of a head.

    Raises:
        RecipeError: the features have fewer directions than are asked for.
        ModelError: the loss is not a number.
    """
    if source in SOLVED:
        return LinearHeads(directions(source, count, examples, seed))
    width = examples.x.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed % 2**63)
        heads: Heads
        if source == "epinet":
            hidden = settings.hidden or 64
            heads = Epinet(width, count, outputs, hidden, settings.prior_scale, settings.index_dim)
        else:
            # What a mixture's heads are kept apart by is the mixture.
            scale = 0.0 if source == "mixture" else settings.prior_scale
            heads = SharedBase(width, count, outputs, settings.hidden, scale)
    heads = heads.to(examples.x.device)
    shares = nn.Parameter(torch.zeros(count, device=examples.x.device))
    extra = (shares,) if source == "mixture" else ()
    loss = _loss(source, task, settings, shares)
    steps = settings.epochs * math.ceil(len(examples) / settings.batch)
    summed = 1 if source == "mixture" else count  # all other losses are summed over heads
    with progress(steps, f"training {count} heads ({source})") as bar:
        train_heads(
            heads, examples, loss, settings, seed, bar, extra,
            lambda point: told(replace(point, loss=point.loss / summed)),
        )  # fmt: skip
    return heads.cpu()


def directions(source: SourceName, count: int, examples: Examples, seed: int) -> Tensor:
    """Linear heads that are not trained, (K, D): half of them, and the same with the other sign.

    An odd K leaves the last one without its opposite. The limit has as many axes as its prior, of one sign.

    Raises:
        RecipeError: there are fewer principal directions than half of K.
    """
    assert examples.other is not None
    half, width = math.ceil(count / 2), examples.x.shape[1]
    difference = (examples.x - examples.other).cpu()
    wide = difference.double().numpy()
    groups = np.zeros(len(wide)) if examples.groups is None else examples.groups
    if source == "gaussian_limit":
        return torch.from_numpy(prior_root(wide, groups))
    if source == "random":
        generator = torch.Generator().manual_seed(seed % 2**63)
        found = torch.randn(half, width, generator=generator) / math.sqrt(width)
    elif source == "gaussian":
        found = torch.from_numpy(prior_draws(wide, groups, half, seed)).float()
    else:
        most = min(len(difference), width)
        if half > most:
            raise RecipeError(
                f"heads: {count} of source pca need {half} directions, and {most} pairs or features have "
                "no more",
                fix=f"set count to {2 * most} or less, or train on more pairs",
            )
        found = principal_axes(difference, half)
    return torch.stack([found, -found], dim=1).flatten(0, 1)[:count]


def _loss(source: SourceName, task: Task, settings: TrainSettings, shares: Tensor) -> Loss:
    """What the heads of a source are trained on."""

    def fitted(found: Tensor, y: Tensor | None) -> Tensor:
        if task == "preference":
            if source == "mixture":
                return losses.mixture_bradley_terry(found, shares, settings.entropy)
            return losses.bradley_terry(found)
        assert y is not None
        return (
            losses.cross_entropy(found, y)
            if task == "classification"
            else losses.squared_error(found[:, :, 0], y)
        )

    def with_penalty(found: Tensor, y: Tensor | None) -> Tensor:
        heads = found.shape[1]
        flat = found if found.ndim == 2 else found.transpose(1, 2).flatten(0, 1)
        return fitted(found, y) + settings.diversity * heads * losses.correlation_penalty(flat)

    return with_penalty if source == "diverse" else fitted
