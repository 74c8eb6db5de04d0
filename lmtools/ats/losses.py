"""The losses that a temperature head learns from, on summaries of logits; ``loss_function`` is a recipe's.

Written with the multiplier s of each token (calibrated logits are s z) and its summary: the cross-entropy is
``-log p_y = log Z(s) + s g_y`` and the smoothing term ``-(1/V) sum_i log p_i = log Z(s) + s mean(g)``.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lmtools.ats.cache import TOP, Summary
from lmtools.ats.recipe import LossSettings


def cross_entropy(summary: Summary, multiplier: Tensor) -> Tensor:
    """``-log p_y`` of every token, nats: (n,).

    >>> from lmtools.ats.cache import summarise
    >>> summary = summarise(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), torch.tensor([0, 1]))
    >>> cross_entropy(summary, torch.ones(2))
    tensor([0.4076, 1.4076])
    """
    return summary.log_partition(multiplier) + multiplier * summary.label


def smoothing(summary: Summary, multiplier: Tensor, top_k: int | None = None) -> Tensor:
    """Cross-entropy to the uniform distribution over all tokens, or over the ``top_k`` most probable: (n,).

    Raises:
        ValueError: ``top_k`` is none of ``TOP``.
    """
    if top_k is not None and top_k not in TOP:
        raise ValueError(f"top_k must be one of {TOP}, not {top_k}")
    gap = summary.mean if top_k is None else summary.top[..., TOP.index(top_k)]
    return summary.log_partition(multiplier) + multiplier * gap


def full_smoothing(summary: Summary, multiplier: Tensor, alpha: float, top_k: int | None = None) -> Tensor:
    """Label smoothing of every token: ``(1 - alpha) cross-entropy + alpha smoothing``, (n,).

    >>> from lmtools.ats.cache import summarise
    >>> summary = summarise(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), torch.tensor([0, 1]))
    >>> full_smoothing(summary, torch.ones(2), alpha=0.5)
    tensor([0.9076, 1.4076])
    """
    right = cross_entropy(summary, multiplier)
    return (1 - alpha) * right + alpha * smoothing(summary, multiplier, top_k)


def selective_smoothing(
    summary: Summary, multiplier: Tensor, alpha: float, top_k: int | None = None
) -> Tensor:
    """The paper's loss, (n,): a token whose top choice is right is sharpened, any other one is flattened.

    right: ``(1 - alpha) cross-entropy``; wrong: ``alpha smoothing``.

    >>> from lmtools.ats.cache import summarise
    >>> summary = summarise(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), torch.tensor([0, 1]))
    >>> selective_smoothing(summary, torch.ones(2), alpha=0.5)
    tensor([0.2038, 0.7038])
    """
    partition = summary.log_partition(multiplier)  # once for both branches
    gap = summary.mean if top_k is None else summary.top[..., TOP.index(top_k)]
    flat = alpha * (partition + multiplier * gap)
    # A right token's own gap is 0, so its cross-entropy is the partition.
    return torch.where(summary.right, (1 - alpha) * partition, flat)


def selective_smoothing_code(
    summary: Summary, multiplier: Tensor, alpha: float, masked: int, top_k: int | None = None
) -> Tensor:
    """The public code's form, (n,): in the mean, each group's mean weighted by the *other* group's share.

    Args:
        masked: prompt and padding tokens beside these; the code counts them as wrong, so that the effective
            alpha depends on the prompts' length.
    """
    losses = selective_smoothing(summary, multiplier, alpha, top_k)
    right, n = summary.right, len(losses)
    n_right = right.sum()
    of_right = (n + masked - n_right) / (n + masked) / n_right.clamp(min=1)
    of_wrong = n_right / (n + masked) / (n - n_right).clamp(min=1)
    return losses * n * of_right.where(right, of_wrong)


# The loss that a recipe names.

Loss = Callable[[Summary, Tensor], Tensor]
"""Summaries of n tokens and their multipliers (n,) to the loss of each, (n,), nats."""


def loss_function(settings: LossSettings, masked: int = 0) -> Loss:
    """What ``settings`` say is to be made small, in the mean over tokens.

    Args:
        masked: tokens beside those that the loss will get, prompts and padding; only the public code's form
            depends on them.

    >>> from lmtools.ats.cache import summarise
    >>> summary = summarise(torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]]), torch.tensor([0, 1]))
    >>> loss_function(LossSettings(alpha=0.5))(summary, torch.ones(2)).mean()
    tensor(0.4538)
    """
    alpha, top_k = settings.alpha, settings.over
    if settings.name == "cross_entropy":
        return cross_entropy
    if settings.name == "full_smoothing":
        return partial(full_smoothing, alpha=alpha, top_k=top_k)
    if settings.name == "selective_smoothing_code":
        return partial(selective_smoothing_code, alpha=alpha, masked=masked, top_k=top_k)
    return partial(selective_smoothing, alpha=alpha, top_k=top_k)
