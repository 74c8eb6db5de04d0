"""Where heads come from. A source is a class: how its heads are made, for which tasks, how they are adapted.

    shared_base      one trunk, K linear heads, frozen random priors, trained together
    epinet           one network and K draws of its index
    mixture          K heads trained as a mixture of Bradley-Terry models
    pca              plus and minus the principal directions of differences of features
    random           random directions, plus and minus
    gaussian         heads drawn from a normal prior over linear heads learned from the pairs, plus and minus
    gaussian_limit   all axes of that prior, for the rule `gaussian`: the limit of infinitely many such heads
    diverse          as shared_base, with a penalty on correlated heads

To add a source: write its class, and name it in `SOURCES`; recipes, training, evaluation and files take it
from there. How heads lie on disk is the matter of the module they are (``heads.Heads.kind``).

The recipe reads this file: torch is imported only where heads are made.
"""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from lmtools.core.errors import RecipeError
from lmtools.core.progress import progress
from lmtools.core.tracking import StepCallback, no_callback
from lmtools.hyre.settings import AdaptSettings, Rule, Task, TrainSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lmtools.core.arrays import Floats
    from lmtools.hyre.heads import Examples, Heads, Loss

ALL_TASKS: tuple[Task, ...] = ("preference", "classification", "regression")


class HeadSource:
    """A source of heads.

    ``name`` is what a recipe calls it, ``summary`` what the recipe's description says of it. ``tasks`` are
    those it can learn. ``rule`` is set where no other rule can adapt its heads: they are then the axes of a
    prior and no ensemble by themselves, so that no other heads join them, and no baseline is made of them.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    tasks: ClassVar[tuple[Task, ...]] = ALL_TASKS
    rule: ClassVar[Rule | None] = None

    def make(
        self, count: int, task: Task, outputs: int, examples: "Examples", settings: TrainSettings, seed: int,
        callback: StepCallback = no_callback,
    ) -> "Heads":  # fmt: skip
        """K = ``count`` heads, trained or solved for; the same for the same seed.

        Args:
            outputs: classes, or 1.
            examples: standardised, on the device to train on.
            callback: of heads that are trained is called after every pass, with the mean loss of a head.

        Raises:
            RecipeError: the features have fewer directions than are asked for.
            ModelError: the loss is not a number.
        """
        raise NotImplementedError

    def adaptation(self, settings: AdaptSettings) -> AdaptSettings:
        """How its heads are adapted: as the recipe says, or by the source's own rule, at their own sizes."""
        if self.rule is None:
            return settings
        return settings.model_copy(update={"rule": self.rule, "standardise": False})


# Heads that are trained by gradient descent, all of them together


class TrainedSource(HeadSource):
    """Heads that are trained; a class says which module they are, and on which loss."""

    def module(self, width: int, count: int, outputs: int, settings: TrainSettings) -> "Heads":
        """New heads on features of that width, their weights random."""
        raise NotImplementedError

    def loss(self, task: Task, settings: TrainSettings) -> "Loss":
        """The loss of all heads on a batch, summed over them."""
        from lmtools.hyre.heads import task_loss

        return task_loss(task)

    def make(
        self, count: int, task: Task, outputs: int, examples: "Examples", settings: TrainSettings, seed: int,
        callback: StepCallback = no_callback,
    ) -> "Heads":  # fmt: skip
        """As ``HeadSource.make``: new heads, and passes over the examples."""
        return self._trained(
            count, outputs, examples, settings, seed, self.loss(task, settings), (),
            lambda point: callback(replace(point, loss=point.loss / count)),
        )  # fmt: skip

    def _trained(
        self, count: int, outputs: int, examples: "Examples", settings: TrainSettings, seed: int,
        loss: "Loss", extra: "tuple[nn.Parameter, ...]", callback: StepCallback,
    ) -> "Heads":  # fmt: skip
        """New heads, trained on a loss; ``extra`` are parameters of the loss itself."""
        import torch

        from lmtools.hyre.heads import train_heads

        with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
            torch.manual_seed(seed % 2**63)
            heads = self.module(examples.x.shape[1], count, outputs, settings)
        heads = heads.to(examples.x.device)
        steps = settings.epochs * math.ceil(len(examples) / settings.batch)
        with progress(steps, f"training {count} heads ({self.name})") as bar:
            train_heads(heads, examples, loss, settings, seed, bar, extra, callback)
        return heads.cpu()


class SharedBaseSource(TrainedSource):
    """K linear heads on one trunk."""

    name = "shared_base"
    summary = "trained together on one trunk, held apart by frozen random priors"

    def module(self, width: int, count: int, outputs: int, settings: TrainSettings) -> "Heads":
        """One trunk, K heads, a frozen prior for each."""
        from lmtools.hyre.heads import SharedBase

        return SharedBase(width, count, outputs, settings.hidden, settings.prior_scale)


class DiverseSource(SharedBaseSource):
    """The same heads, kept apart by their outputs."""

    name = "diverse"
    summary = "as `shared_base`, with a penalty on heads that agree"

    def loss(self, task: Task, settings: TrainSettings) -> "Loss":
        """That of the task, and for each head the mean squared correlation of two heads' outputs."""
        from lmtools.hyre.heads import correlation_penalty, task_loss

        fitted = task_loss(task)

        def with_penalty(outputs: "Tensor", y: "Tensor | None") -> "Tensor":
            heads = outputs.shape[1]
            flat = outputs if outputs.ndim == 2 else outputs.transpose(1, 2).flatten(0, 1)
            return fitted(outputs, y) + settings.diversity * heads * correlation_penalty(flat)

        return with_penalty


class EpinetSource(TrainedSource):
    """One network that says how a base function moves with a normal index, at K draws of the index."""

    name = "epinet"
    summary = "one network and an index"

    def module(self, width: int, count: int, outputs: int, settings: TrainSettings) -> "Heads":
        """An epinet; it needs a trunk, of 64 where the settings have none."""
        from lmtools.hyre.heads import Epinet

        hidden = settings.hidden or 64
        return Epinet(width, count, outputs, hidden, settings.prior_scale, settings.index_dim)


class MixtureSource(TrainedSource):
    """Heads of which each pair needs only one: they specialise."""

    name = "mixture"
    summary = "trained so that each pair is explained by some head"
    tasks = ("preference",)

    def module(self, width: int, count: int, outputs: int, settings: TrainSettings) -> "Heads":
        """A trunk and heads without random priors: what keeps them apart is the mixture."""
        from lmtools.hyre.heads import SharedBase

        return SharedBase(width, count, outputs, settings.hidden, 0.0)

    def make(
        self, count: int, task: Task, outputs: int, examples: "Examples", settings: TrainSettings, seed: int,
        callback: StepCallback = no_callback,
    ) -> "Heads":  # fmt: skip
        """As ``HeadSource.make``; the heads' shares of the mixture are trained along."""
        import torch

        from lmtools.hyre.heads import mixture_bradley_terry

        shares = torch.nn.Parameter(torch.zeros(count, device=examples.x.device))

        def loss(margins: "Tensor", y: "Tensor | None") -> "Tensor":
            return mixture_bradley_terry(margins, shares, settings.entropy)

        # The loss is that of the mixture, no sum over heads.
        return self._trained(count, outputs, examples, settings, seed, loss, (shares,), callback)


# Linear heads that need no training


class DirectionSource(HeadSource):
    """Directions among standardised features, each with its opposite; a class says which."""

    tasks = ("preference",)

    def axes(self, count: int, difference: "Tensor", groups: "Floats", seed: int) -> "Tensor":
        """So many directions, (count, D), from differences of pairs (n, D) and their groups (n,).

        Raises:
            RecipeError: there are not as many.
        """
        raise NotImplementedError

    def directions(self, count: int, examples: "Examples", seed: int) -> "Tensor":
        """The weights of the heads, (K, D): half of them, and the same with the other sign.

        An odd K leaves the last one without its opposite.
        """
        import torch

        axes = self.axes(math.ceil(count / 2), *_differences(examples), seed)
        return torch.stack([axes, -axes], dim=1).flatten(0, 1)[:count]

    def make(
        self, count: int, task: Task, outputs: int, examples: "Examples", settings: TrainSettings, seed: int,
        callback: StepCallback = no_callback,
    ) -> "Heads":  # fmt: skip
        """As ``HeadSource.make``."""
        from lmtools.hyre.heads import LinearHeads

        return LinearHeads(self.directions(count, examples, seed))


class PrincipalSource(DirectionSource):
    """The principal directions of differences of features."""

    name = "pca"
    summary = "plus and minus the principal directions of differences of features"

    def axes(self, count: int, difference: "Tensor", groups: "Floats", seed: int) -> "Tensor":
        """The first principal directions."""
        from lmtools.hyre.heads import principal_axes

        most = min(difference.shape)
        if count > most:
            raise RecipeError(
                f"heads: source pca needs {count} directions for so many heads, and {most} pairs or features "
                "have no more",
                fix=f"set count to {2 * most} or less, or train on more pairs",
            )
        return principal_axes(difference, count)


class RandomSource(DirectionSource):
    """Directions that have nothing to do with the pairs."""

    name = "random"
    summary = "random directions"

    def axes(self, count: int, difference: "Tensor", groups: "Floats", seed: int) -> "Tensor":
        """Normal numbers of variance 1 / D."""
        import torch

        width = difference.shape[1]
        generator = torch.Generator().manual_seed(seed % 2**63)
        return torch.randn(count, width, generator=generator) / math.sqrt(width)


class GaussianSource(DirectionSource):
    """Draws of a normal prior over linear heads."""

    name = "gaussian"
    summary = "drawn from a normal prior over linear heads that was learned from the training pairs"

    def axes(self, count: int, difference: "Tensor", groups: "Floats", seed: int) -> "Tensor":
        """Draws of the prior that the pairs of each group make."""
        import torch

        from lmtools.hyre.heads import prior_draws

        return torch.from_numpy(prior_draws(difference.double().numpy(), groups, count, seed)).float()


class GaussianLimitSource(DirectionSource):
    """All axes of the same prior: with the rule `gaussian` the limit of infinitely many draws."""

    name = "gaussian_limit"
    summary = (
        "all axes of that prior, as many as there are features, whatever `count` says; it needs the rule "
        "`gaussian`, and stands alone"
    )
    rule = "gaussian"

    def directions(self, count: int, examples: "Examples", seed: int) -> "Tensor":
        """As many axes as the prior has, (G + D, D), of one sign."""
        import torch

        from lmtools.hyre.heads import prior_root

        difference, groups = _differences(examples)
        return torch.from_numpy(prior_root(difference.double().numpy(), groups))


def _differences(examples: "Examples") -> "tuple[Tensor, Floats]":
    """Of each pair the chosen answer's features less the rejected one's, (n, D), and its group, (n,)."""
    import numpy as np

    assert examples.other is not None
    difference = (examples.x - examples.other).cpu()
    return difference, np.zeros(len(difference)) if examples.groups is None else examples.groups


SOURCES: dict[str, HeadSource] = {
    source.name: source
    for source in (
        SharedBaseSource(), EpinetSource(), MixtureSource(), PrincipalSource(), RandomSource(),
        GaussianSource(), GaussianLimitSource(), DiverseSource(),
    )
}  # fmt: skip
"""Every source by its name."""
