"""What heads are trained on, each a pure function of all heads' outputs on a batch.

Losses of single heads are summed over the heads, not averaged: the gradient of each head is then that of a
head trained alone.
"""

import torch
from torch import Tensor
from torch.nn import functional


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
    own = unit.square().sum(dim=0).square().sum()
    penalty: Tensor = (gram.square().sum() - own) / (heads * (heads - 1))
    return penalty
