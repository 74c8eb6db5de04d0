"""The reweighting rule: generalised Bayes over the heads of an ensemble, from a few labelled examples.

    L_k = sum_i l(f_k, example i)        w_k = p_k exp(-L_k / T) / sum_j p_j exp(-L_j / T)
    f_w(x) = sum_k w_k f_k(x)

(Lee et al., arXiv 2412.08812.) No gradient step: five examples and a hundred heads are a matrix of 500
numbers. Everything is in log space, so that neither ten thousand examples nor a head without a fault gives
NaN.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]
LossName = Literal["nll", "zero_one"]
Reduction = Literal["sum", "mean"]


def pair_losses(margins: ArrayLike, loss: LossName) -> Floats:
    """Each head's loss on each pair: (n, K).

    ``nll`` is that of Bradley and Terry, -log sigmoid(m), in nats; ``zero_one`` counts an order that is
    wrong as 1 and a tie as 1/2.

    Args:
        margins: (n, K), the reward of the chosen answer less that of the rejected one.

    Raises:
        ValueError: a margin is NaN.

    >>> pair_losses([[2.0, 0.0, -1.0]], "zero_one").tolist()
    [[0.0, 0.5, 1.0]]
    """
    values = _finite(margins)
    if loss == "nll":
        return np.asarray(np.logaddexp(0.0, -values), dtype=np.float64)
    return np.where(values > 0, 0.0, np.where(values < 0, 1.0, 0.5))


def class_losses(logits: ArrayLike, labels: ArrayLike, loss: LossName) -> Floats:
    """Each head's loss on each example of a classification: (n, K).

    ``nll`` is the cross-entropy in nats; ``zero_one`` is 1 where another class has a higher logit.

    Args:
        logits: (n, K, C).
        labels: (n,), the right classes from 0.

    Raises:
        ValueError: a logit is NaN.
    """
    values = _finite(logits)
    right = np.asarray(labels, dtype=np.intp)[:, None, None]
    own = np.take_along_axis(values, right, axis=2)[:, :, 0]
    if loss == "nll":
        return np.asarray(logsumexp(values, axis=2) - own, dtype=np.float64)
    return np.asarray(values.max(axis=2) > own, dtype=np.float64)


def squared_losses(predictions: ArrayLike, targets: ArrayLike, variance: float) -> Floats:
    """Each head's loss on each example of a regression: (n, K), (f_k(x) - y)^2 / (2 variance).

    It is the NLL of a normal distribution, less what all heads share.

    Args:
        predictions: (n, K).
        targets: (n,).
        variance: of the targets around a good head's predictions, in their unit squared.

    Raises:
        ValueError: a prediction is NaN, or the variance is not above 0.
    """
    if not variance > 0:
        raise ValueError("the variance of a regression must be above 0")
    return np.square(_finite(predictions) - np.asarray(targets, dtype=np.float64)[:, None]) / (2 * variance)


def reduced(losses: Floats, reduction: Reduction) -> Floats:
    """A head's loss over all examples, from (n, K) to (K,); no examples are a loss of 0."""
    if len(losses) == 0:
        return np.zeros(losses.shape[1])
    return np.asarray(losses.sum(axis=0) if reduction == "sum" else losses.mean(axis=0), dtype=np.float64)


def reweight(losses: ArrayLike, prior: ArrayLike | None = None, temperature: float = 1.0) -> Floats:
    """The weights of the heads: (K,), not negative, with a sum of 1.

    Args:
        losses: (K,), over all examples; an infinite one gives a weight of 0.
        prior: (K,), not negative, in any scale; None: the same for every head.
        temperature: high ones leave the prior nearly as it is, low ones take the best head alone.

    Raises:
        ValueError: no heads, NaN, a temperature that is not above 0, or a head's loss or prior leave none.

    >>> reweight([0.0, np.log(3)]).round(6).tolist()
    [0.75, 0.25]
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("weights need a loss for each of one or more heads")
    if not temperature > 0:
        raise ValueError("the temperature must be above 0")
    before = np.ones(len(values)) if prior is None else np.asarray(prior, dtype=np.float64)
    if before.shape != values.shape or (before < 0).any() or not np.isfinite(before).all():
        raise ValueError("a prior must have a finite number, not below 0, for each head")
    with np.errstate(divide="ignore"):
        logs = np.log(before) - values / temperature
    if np.isnan(logs).any() or not np.isfinite(logs.max()):
        raise ValueError("no head has a finite loss and a prior above 0")
    return np.asarray(np.exp(logs - logsumexp(logs)), dtype=np.float64)


def blend(weights: ArrayLike, outputs: ArrayLike) -> Floats:
    """The ensemble's own output f_w: ``weights`` (K,) over ``outputs`` (n, K) or (n, K, C).

    >>> blend([0.75, 0.25], [[1.0, -1.0], [0.0, 2.0]]).tolist()
    [0.5, 0.5]
    """
    return np.asarray(np.einsum("k,nk...->n...", np.asarray(weights), np.asarray(outputs)), dtype=np.float64)


def _finite(values: ArrayLike) -> NDArray[Any]:
    array = np.asarray(values, dtype=np.float64)
    if np.isnan(array).any():
        raise ValueError("a head's output is not a number")
    return array
