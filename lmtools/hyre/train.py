"""The short training loop of all heads together, on standardised features that are at hand."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.core.curves import Point, Told, untold
from lmtools.core.errors import ModelError
from lmtools.core.progress import Progress
from lmtools.hyre.heads import Heads
from lmtools.hyre.recipe import TrainSettings

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


Loss = Callable[[Tensor, Tensor | None], Tensor]
"""From all heads' outputs on a batch, margins (B, K) or outputs (B, K, C), and its targets, to a number."""


def fixed_outputs(heads: Heads, examples: Examples) -> Tensor:
    """The frozen parts' outputs on all examples, margins for pairs: computed once, (n, K, C) or a zero."""
    with torch.no_grad():
        own = heads.fixed(examples.x)
        return own if examples.other is None else own - heads.fixed(examples.other)


def outputs(heads: Heads, examples: Examples, rows: Tensor, fixed: Tensor) -> Tensor:
    """Margins of pairs (B, K), or outputs of rows (B, K, C), of those numbers."""
    known = fixed[rows] if fixed.ndim else fixed
    if examples.other is None:
        return heads.learned(examples.x[rows]) + known
    both = heads.learned(torch.cat([examples.x[rows], examples.other[rows]]))
    chosen, rejected = both.chunk(2)
    return (chosen - rejected + known)[:, :, 0]


def train_heads(
    heads: Heads,
    examples: Examples,
    loss: Loss,
    settings: TrainSettings,
    seed: int,
    bar: Progress | None = None,
    extra: tuple[torch.nn.Parameter, ...] = (),
    told: Told = untold,
) -> float:
    """Train in place with AdamW, the rate along a cosine; returns the mean loss of the last pass.

    Args:
        heads: new ones.
        loss: of all heads on a batch, summed over them.
        seed: of the order of the examples.
        bar: is advanced by each step.
        extra: parameters of the loss itself, trained along.
        told: is told of every pass: its mean loss, and the rate of its last step.

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
            found = loss(outputs(heads, examples, rows, fixed), y)
            if not torch.isfinite(found):
                raise ModelError("the loss of the heads is not a number", fix="lower train.learning_rate")
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(found)
            optimizer.step()
            total += float(found.detach()) * len(rows)
            step += 1
            if bar is not None:
                bar.advance()
        mean = total / len(examples)
        told(Point(step, epoch, mean, optimizer.param_groups[0]["lr"]))
    heads.eval().requires_grad_(False)
    return mean


def rate(step: int, steps: int) -> float:
    """The share of the peak rate at a step, from 0: linear up, then along a cosine to 0."""
    return min(1.0, (step + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * step / steps))
