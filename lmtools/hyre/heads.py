"""Heads: the modules they are, the losses and the loop they are trained by, and directions that need neither.

A module is batched: standardised features in, the outputs of all K heads out, in one pass.

- ``LinearHeads``: f_k(x) = w_k x; what principal, random and drawn directions are
- ``SharedBase``: f_k(x) = w_k g(x) + s v_k h(x); g is one trunk for all heads (or x itself), h and v_k are
  the frozen randomized priors (Osband et al., 2018), which keep the heads apart where there are no data
- ``Epinet``: f_k(x) = b(x) + e(g(x), z_k) z_k + s e'(x, z_k) z_k for K fixed draws z_k of a normal index; one
  trunk and one small network e serve all heads, e' is its frozen prior (Osband et al., 2023)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lmtools.core.arrays import Floats
from lmtools.core.errors import ModelError
from lmtools.core.progress import Progress
from lmtools.core.tracking import Point, StepCallback, no_callback
from lmtools.hyre.reweighting import posterior_mode
from lmtools.hyre.settings import Task, TrainSettings


class Heads(nn.Module):
    """K functions of the features; ``forward`` maps (n, D) to (n, K, C), with C = 1 but for classes.

    ``fixed`` is what of it needs no training: (n, K, C), computed once for all data, and 0 where there is
    none. ``kind`` is how an ensemble's file calls the class, ``arguments`` what rebuilds a module of it.
    """

    kind: ClassVar[str]
    KINDS: ClassVar[dict[str, type["Heads"]]] = {}
    count: int

    def __init_subclass__(cls, kind: str) -> None:
        cls.kind = kind
        cls.KINDS[kind] = cls

    @property
    def arguments(self) -> dict[str, float]:
        """What ``rebuilt`` takes besides the width of the features and the numbers of heads and outputs."""
        return {}

    @classmethod
    def rebuilt(cls, width: int, count: int, outputs: int, arguments: dict[str, float]) -> "Heads":
        """A module of these sizes, for a state dict to be loaded into."""
        # JSON has one kind of number; of these only the scale of a prior is no count.
        typed: dict[str, Any] = {
            name: float(value) if name == "prior_scale" else int(value) for name, value in arguments.items()
        }
        return cls(width, count, outputs, **typed)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of all heads."""
        return self.learned(x) + self.fixed(x)

    def learned(self, x: Tensor) -> Tensor:
        """The trainable part."""
        raise NotImplementedError

    def fixed(self, x: Tensor) -> Tensor:
        """The frozen part."""
        return x.new_zeros(())


class LinearHeads(Heads, kind="linear"):
    """Linear functions without a bias, which no comparison of two answers would show."""

    def __init__(self, weight: Tensor) -> None:
        """``weight``: (K, D)."""
        super().__init__()
        self.count = len(weight)
        self.weight = nn.Parameter(weight.float())

    @classmethod
    def rebuilt(cls, width: int, count: int, outputs: int, arguments: dict[str, float]) -> "LinearHeads":
        """Heads of zeros."""
        return cls(torch.zeros(count, width))

    def learned(self, x: Tensor) -> Tensor:
        """x w_k: (n, K, 1)."""
        return (x @ self.weight.T)[:, :, None]


class SharedBase(Heads, kind="shared"):
    """A trunk of one hidden layer (``hidden`` = 0: none), K linear heads on it, a frozen prior for each."""

    def __init__(
        self, width: int, count: int, outputs: int, hidden: int, prior_scale: float, prior_hidden: int = 64
    ) -> None:
        super().__init__()
        self.count, self.outputs, self.prior_scale = count, outputs, prior_scale
        self.hidden, self.prior_hidden = hidden, prior_hidden
        self.trunk = _trunk(width, hidden)
        inner = hidden or width
        self.heads = nn.Linear(inner, count * outputs)
        nn.init.normal_(self.heads.weight, std=1 / math.sqrt(inner))
        nn.init.zeros_(self.heads.bias)
        self.prior_trunk = _frozen(_trunk(width, prior_hidden))
        self.prior = _frozen(nn.Linear(prior_hidden, count * outputs))
        nn.init.normal_(self.prior.weight, std=1 / math.sqrt(prior_hidden))

    @property
    def arguments(self) -> dict[str, float]:
        """The widths of both trunks, and the prior's scale."""
        return {
            "hidden": self.hidden, "prior_hidden": self.prior_hidden, "prior_scale": self.prior_scale,
        }  # fmt: skip

    def learned(self, x: Tensor) -> Tensor:
        """w_k g(x) + b_k: (n, K, C)."""
        return _per_head(self.heads(self.trunk(x)), self.count)

    def fixed(self, x: Tensor) -> Tensor:
        """s v_k h(x): (n, K, C)."""
        if not self.prior_scale:
            return x.new_zeros(())
        return self.prior_scale * _per_head(self.prior(self.prior_trunk(x)), self.count)


class Epinet(Heads, kind="epinet"):
    """A base function, and a small network that says how it moves with the index."""

    index: Tensor

    def __init__(
        self, width: int, count: int, outputs: int, hidden: int, prior_scale: float, index_dim: int
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("an epinet needs a trunk: hidden must be above 0")
        self.count, self.outputs, self.prior_scale, self.hidden = count, outputs, prior_scale, hidden
        self.trunk = _trunk(width, hidden)
        self.base = nn.Linear(hidden, outputs)
        self.net = nn.Sequential(nn.Linear(hidden, 32), nn.ReLU(), nn.Linear(32, outputs * index_dim))
        self.prior_net = _frozen(
            nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, outputs * index_dim))
        )
        self.register_buffer("index", torch.randn(count, index_dim))

    @property
    def arguments(self) -> dict[str, float]:
        """The width of the trunk, the length of the index, and the prior's scale."""
        return {
            "hidden": self.hidden, "index_dim": self.index.shape[1], "prior_scale": self.prior_scale,
        }  # fmt: skip

    def learned(self, x: Tensor) -> Tensor:
        """b(x) + e(g(x)) z_k: (n, K, C); linear in the index, so one pass of the network serves all."""
        inner = self.trunk(x)
        # The trunk learns from the base alone, as the epinet's authors have it.
        base: Tensor = self.base(inner)
        return base[:, None, :] + self._moved(self.net(inner.detach()))

    def fixed(self, x: Tensor) -> Tensor:
        """s e'(x) z_k: (n, K, C)."""
        return self.prior_scale * self._moved(self.prior_net(x))

    def _moved(self, directions: Tensor) -> Tensor:
        return torch.einsum("ncd,kd->nkc", _per_head(directions, self.outputs), self.index)


def _per_head(flat: Tensor, count: int) -> Tensor:
    """(n, count * C) to (n, count, C)."""
    return flat.reshape(len(flat), count, flat.shape[1] // count)


def _trunk(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU()) if hidden else nn.Identity()


def _frozen(module: Any) -> Any:
    return module.requires_grad_(False)


# Losses, each a pure function of all heads' outputs on a batch. Those of single heads are summed over the
# heads, not averaged: the gradient of each head is then that of a head trained alone.

Loss = Callable[[Tensor, Tensor | None], Tensor]
"""From all heads' outputs on a batch, margins (B, K) or outputs (B, K, C), and its targets, to a number."""


def bradley_terry(margins: Tensor) -> Tensor:
    """-log sigmoid(m), mean over pairs, summed over heads: (B, K) to a number, in nats."""
    return functional.softplus(-margins).mean(dim=0).sum()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over examples, summed over heads; ``logits`` (B, K, C), ``labels`` (B,)."""
    heads = logits.shape[1]
    flat = functional.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(heads), reduction="sum")
    return flat / len(labels)


def squared_error(predictions: Tensor, targets: Tensor) -> Tensor:
    """(f_k(x) - y)^2 / 2, mean over examples, summed over heads; (B, K) and (B,)."""
    return (
        functional.mse_loss(predictions, targets[:, None].expand_as(predictions), reduction="none")
        .mean(dim=0)
        .sum()
        / 2
    )


def mixture_bradley_terry(margins: Tensor, log_prior: Tensor, entropy: float) -> Tensor:
    """A mixture of Bradley-Terry models (MiCRo, arXiv 2505.24846), with a pull towards equal shares.

    -mean log sum_k pi_k sigmoid(m_k) - ``entropy`` H(pi), in nats: each pair needs one head that explains it,
    so heads specialise, and the entropy of the shares keeps all of them in use.

    Args:
        margins: (B, K).
        log_prior: (K,), unnormalised logarithms of the shares pi.
    """
    log_pi = functional.log_softmax(log_prior, dim=0)
    likelihood = torch.logsumexp(log_pi + functional.logsigmoid(margins), dim=1)
    return -likelihood.mean() + entropy * (log_pi.exp() * log_pi).sum()


def correlation_penalty(outputs: Tensor) -> Tensor:
    """The mean squared correlation of two heads' outputs over a batch: (B, K) to a number in [0, 1].

    As an addition to the loss it buys diversity; 0 for a single head.
    """
    count, heads = outputs.shape
    if heads < 2 or count < 2:
        return outputs.new_zeros(())
    centred = outputs - outputs.mean(dim=0)
    unit = centred / centred.norm(dim=0).clamp_min(1e-12)
    # ||U'U||^2 = ||UU'||^2: the smaller of the two products will do.
    gram = unit.T @ unit if heads <= count else unit @ unit.T
    # Less a head's product with itself: 1, or 0 of a head that says the same of every example.
    diagonal = unit.square().sum(dim=0).square().sum()
    penalty: Tensor = (gram.square().sum() - diagonal) / (heads * (heads - 1))
    return penalty


def task_loss(task: Task) -> Loss:
    """The loss of heads that learn a task each for itself."""

    def loss(outputs: Tensor, y: Tensor | None) -> Tensor:
        if task == "preference":
            return bradley_terry(outputs)
        assert y is not None
        return cross_entropy(outputs, y) if task == "classification" else squared_error(outputs[:, :, 0], y)

    return loss


# The training loop of all heads together, on standardised features that are at hand

WARMUP = 20
"""Steps over which the rate rises to its peak."""


@dataclass(frozen=True)
class Examples:
    """What heads are trained on: pairs, or rows with their targets.

    ``x`` (n, D) are the rows, or the chosen answers of pairs; ``other`` (n, D) the rejected ones; ``y`` (n,)
    the classes or numbers; ``groups`` (n,) says which pairs are of one distribution, where that is known.
    """

    x: Tensor
    other: Tensor | None = None
    y: Tensor | None = None
    groups: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.x)


def fixed_outputs(heads: Heads, examples: Examples) -> Tensor:
    """The frozen parts' outputs on all examples, margins for pairs: computed once, (n, K, C) or a zero."""
    with torch.no_grad():
        fixed = heads.fixed(examples.x)
        return fixed if examples.other is None else fixed - heads.fixed(examples.other)


def outputs(heads: Heads, examples: Examples, rows: Tensor, fixed: Tensor) -> Tensor:
    """Margins of pairs (B, K), or outputs of rows (B, K, C), of those numbers."""
    constant = fixed[rows] if fixed.ndim else fixed
    if examples.other is None:
        return heads.learned(examples.x[rows]) + constant
    answers = torch.cat([examples.x[rows], examples.other[rows]])
    chosen, rejected = heads.learned(answers).chunk(2)
    return (chosen - rejected + constant)[:, :, 0]


def train_heads(
    heads: Heads,
    examples: Examples,
    loss: Loss,
    settings: TrainSettings,
    seed: int,
    bar: Progress | None = None,
    extra: tuple[torch.nn.Parameter, ...] = (),
    callback: StepCallback = no_callback,
) -> float:
    """Train in place with AdamW, the rate along a cosine; returns the mean loss of the last pass.

    Args:
        heads: new ones.
        loss: of all heads on a batch, summed over them.
        seed: of the order of the examples.
        bar: is advanced by each step.
        extra: parameters of the loss itself, trained along.
        callback: is called after every pass with its mean loss, and the rate of its last step.

    Raises:
        ModelError: the loss is not a number.
    """
    trained = [*(weight for weight in heads.parameters() if weight.requires_grad), *extra]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    order = torch.Generator().manual_seed(seed % 2**63)
    fixed = fixed_outputs(heads, examples)
    steps = settings.epochs * math.ceil(len(examples) / settings.batch)
    step, mean = 0, 0.0
    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        for rows in torch.split(torch.randperm(len(examples), generator=order), settings.batch):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * rate(step, steps)
            y = None if examples.y is None else examples.y[rows]
            value = loss(outputs(heads, examples, rows, fixed), y)
            if not torch.isfinite(value):
                raise ModelError("the loss of the heads is not a number", fix="lower train.learning_rate")
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(value)
            optimizer.step()
            total += float(value.detach()) * len(rows)
            step += 1
            if bar is not None:
                bar.advance()
        mean = total / len(examples)
        callback(Point(step, epoch, mean, optimizer.param_groups[0]["lr"]))
    heads.eval().requires_grad_(False)
    return mean


def rate(step: int, steps: int) -> float:
    """The share of the peak rate at a step, from 0: linear up, then along a cosine to 0."""
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))


# Directions among standardised features that need no training: principal ones, and those of a prior.
#
# The prior over linear heads is learned from the training pairs: w ~ N(0, A) with
#
#     A = (1 - r) I / c  +  r / G  sum_g w_g w_g'
#
# where w_g is the logistic regression of one group of pairs (a `distribution`), brought to margins of size
# 1, and c the mean squared length of a pair's difference, so that both parts give margins of size 1. r is
# ``SHARED``: what users have wanted before is likelier to be wanted again, in either direction. Heads drawn
# from it are the source ``gaussian``; the limit of infinitely many of them is Bayesian logistic regression
# under A, which the columns of a square root of A give exactly (``reweighting.posterior_mode``): the source
# ``gaussian_limit``.

SHARED = 0.05
"""The share of the prior's variance that lies along the groups' own directions."""


def principal_axes(difference: Tensor, count: int) -> Tensor:
    """The first principal directions of differences (n, D), through the origin: (count, D), of length 1.

    The sign of a pair's difference is who was chosen; no centre is subtracted, so it does not matter here.
    """
    wide = difference.double()
    # Of the eigenvectors of D'D the last are the largest; one sign of each is as good as the other.
    vectors = torch.linalg.eigh(wide.T @ wide).eigenvectors.flip(1)[:, :count].T
    leading = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True)).sign()
    axes: Tensor = (vectors * leading).float()
    return axes


def group_directions(difference: Floats, groups: Floats) -> Floats:
    """The logistic regression of each group's pairs, with margins of size 1 over all pairs: (G, D).

    Args:
        difference: (n, D), chosen less rejected.
        groups: (n,), any labels.
    """
    variance = 1 / np.maximum(np.square(difference).sum(axis=1).mean(), 1e-12)
    directions = np.stack(
        [posterior_mode(difference[groups == group], float(variance)) for group in np.unique(groups)]
    )
    rms = np.sqrt(np.square(difference @ directions.T).mean(axis=0))
    return np.asarray(directions / np.maximum(rms, 1e-12)[:, None], dtype=np.float64)


def prior_root(difference: Floats, groups: Floats) -> Floats:
    """Rows R with R'R = A, the covariance of linear heads: (G + D, D)."""
    directions = group_directions(difference, groups)
    squared = np.square(difference).sum(axis=1).mean()
    plain = np.sqrt((1 - SHARED) / max(float(squared), 1e-12)) * np.eye(difference.shape[1])
    return np.concatenate([np.sqrt(SHARED / len(directions)) * directions, plain])


def prior_draws(difference: Floats, groups: Floats, count: int, seed: int) -> Floats:
    """``count`` heads drawn from N(0, A): (count, D)."""
    root = prior_root(difference, groups)
    draws: Floats = np.random.default_rng(seed).standard_normal((count, len(root))) @ root
    return draws
