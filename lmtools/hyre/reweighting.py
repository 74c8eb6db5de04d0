"""The rules of adaptation as pure functions: from a few labelled examples to weights of the heads.

The reweighting rule is generalised Bayes over the heads of an ensemble:

    L_k = sum_i l(f_k, example i)        w_k = p_k exp(-L_k / T) / sum_j p_j exp(-L_j / T)
    f_w(x) = sum_k w_k f_k(x)

(Lee et al., arXiv 2412.08812.) No gradient step: five examples and a hundred heads are a matrix of 500
numbers. Everything is in log space, so that neither ten thousand examples nor a head without a fault gives
NaN.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp, xlogy

from lmtools.core.arrays import Floats
from lmtools.hyre.settings import Acquisition, LossName, Reduction


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
    chosen = np.take_along_axis(values, right, axis=2)[:, :, 0]
    if loss == "nll":
        return np.asarray(logsumexp(values, axis=2) - chosen, dtype=np.float64)
    return np.asarray(values.max(axis=2) > chosen, dtype=np.float64)


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
    shares = np.ones(len(values)) if prior is None else np.asarray(prior, dtype=np.float64)
    if shares.shape != values.shape or (shares < 0).any() or not np.isfinite(shares).all():
        raise ValueError("a prior must have a finite number, not below 0, for each head")
    with np.errstate(divide="ignore"):
        logs = np.log(shares) - values / temperature
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


# A normal prior over combinations of heads, and its posterior mode: Bayesian logistic regression.
#
#     a ~ N(0, v I),   P(pair i as labelled) = sigmoid(m_i a),   m_i (K,) the heads' margins on pair i
#
# With heads along the axes of a prior over linear heads this is the limit of infinitely many heads drawn
# from that prior. The mode is found in the space of the n examples, or of the K coefficients where these
# are fewer.

STEPS = 50
"""Of Newton's method, at most."""
CLOSE = 1e-10
"""A step that moves no coefficient by as much is the last one."""
LEAST = 1e-12
"""Curvature of a pair that is as good as certain."""


def posterior_mode(margins: ArrayLike, variance: float, offset: ArrayLike = 0.0) -> Floats:
    """The most probable coefficients (K,); zeros without examples.

    a = v M' alpha with alpha = sigmoid(-o - G alpha), G = v M M', solved by Newton's method with halved steps
    (the objective is strictly convex in a).

    Args:
        margins: (n, K), of the labelled pairs; of heads, or the differences of any features.
        variance: v of the prior of each coefficient.
        offset: (n,), margins that are there before any coefficient.

    Raises:
        ValueError: a margin is not finite, or the variance is not above 0.
    """
    features = np.asarray(margins, dtype=np.float64)
    if not np.isfinite(features).all():
        raise ValueError("a head's margin is not finite")
    if not variance > 0:
        raise ValueError("the variance of a prior must be above 0")
    start = np.broadcast_to(np.asarray(offset, dtype=np.float64), (len(features),))
    if len(features) > features.shape[1]:
        return _among_coefficients(features, variance, start)
    gram = variance * (features @ features.T)

    def objective(alpha: Floats) -> float:
        moved = gram @ alpha
        return float(np.logaddexp(0.0, -start - moved).sum() + 0.5 * alpha @ moved)

    def step(alpha: Floats) -> Floats:
        p = expit(-start - gram @ alpha)
        newton: Floats = np.linalg.solve(np.eye(len(alpha)) + (p * (1 - p))[:, None] * gram, p - alpha)
        return newton

    # From no reward at all: half-way coefficients overshoot under a wide prior.
    alpha = _newton(np.zeros(len(features)), objective, step)
    return np.asarray(variance * (features.T @ alpha), dtype=np.float64)


def _among_coefficients(margins: Floats, variance: float, offset: Floats) -> Floats:
    """The same mode in the space of the K coefficients, for many examples."""

    def objective(a: Floats) -> float:
        return float(np.logaddexp(0.0, -offset - margins @ a).sum() + a @ a / (2 * variance))

    def step(a: Floats) -> Floats:
        p = expit(-offset - margins @ a)
        curvature = (margins * (p * (1 - p))[:, None]).T @ margins + np.eye(len(a)) / variance
        newton: Floats = np.linalg.solve(curvature, margins.T @ p - a / variance)
        return newton

    return _newton(np.zeros(margins.shape[1]), objective, step)


def _newton(start: Floats, objective: Callable[[Floats], float], step: Callable[[Floats], Floats]) -> Floats:
    """Newton's method, each step halved until the objective does not rise."""
    point, value = start, objective(start)
    for _ in range(STEPS):
        direction, size = step(point), 1.0
        while (new := objective(point + size * direction)) > value and size > CLOSE:
            size /= 2
        point, value = point + size * direction, new
        if np.abs(direction).max(initial=0.0) * size < CLOSE:
            break
    return point


def margin_variances(pool: ArrayLike, margins: ArrayLike, coefficients: Floats, variance: float) -> Floats:
    """How unsure the posterior is of the margins of other pairs, by Laplace's approximation: (m,).

    m (I / v + M' W M)^-1 m' = v |m|^2 - v m M' (W^-1 + v M M')^-1 v M m', W the curvature p (1 - p) of each
    labelled pair.

    Args:
        pool: (m, K), heads' margins of pairs without labels.
        margins: (n, K), of the labelled ones; n may be 0.
        coefficients: (K,), the mode.
        variance: v of the prior of each coefficient.
    """
    unlabelled, labelled = np.asarray(pool, dtype=np.float64), np.asarray(margins, dtype=np.float64)
    prior: Floats = variance * np.square(unlabelled).sum(axis=1)
    if not len(labelled):
        return prior
    p = expit(labelled @ coefficients)
    curvature = np.maximum(p * (1 - p), LEAST)
    across = variance * (labelled @ unlabelled.T)
    gram = variance * (labelled @ labelled.T) + np.diag(1 / curvature)
    explained: Floats = (across * np.linalg.solve(gram, across)).sum(axis=0)
    return np.asarray(np.maximum(prior - explained, 0.0), dtype=np.float64)


# Which example to label next: scores of a pool under the current weights; the highest is asked about.
#
# For pairs, head k says with p_k = sigmoid(m_k) that the first answer is the better one, and the ensemble
# with p = sum_k w_k p_k. With H the entropy of a coin in nats:
#
#     entropy   H(p)                            what the ensemble does not know, noise of the labels included
#     bald      H(p) - sum_k w_k H(p_k)         what the heads disagree about (Houlsby et al., 2011)
#     variance  sum_k w_k (m_k - m)^2           their disagreement in reward, m = sum_k w_k m_k
#     random    a draw by seed

NODES = 24
"""Of the rule for expectations over a normal margin."""


def scores(kind: Acquisition, margins: ArrayLike, weights: ArrayLike, seed: int = 0) -> Floats:
    """How much each pair of the pool would tell: (n,), higher is more.

    Args:
        margins: (n, K), of the pool's pairs, in any orientation: turning a pair around changes no score.
        weights: (K,).
        seed: of ``random``.

    >>> agreed, disputed = [2.0, 2.0], [2.0, -2.0]
    >>> scores("variance", [agreed, disputed], weights=[0.5, 0.5]).tolist()
    [0.0, 4.0]
    """
    if kind == "random":
        return np.random.default_rng(seed).random(len(np.asarray(margins)))
    values, w = np.asarray(margins, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if kind == "variance":
        return np.maximum(np.square(values) @ w - np.square(values @ w), 0.0)
    single = expit(values)
    total = coin_entropy(single @ w)
    return total if kind == "entropy" else np.maximum(total - coin_entropy(single) @ w, 0.0)


def coin_entropy(p: ArrayLike) -> Floats:
    """The entropy of a coin that shows heads with probability ``p``, in nats; 0 where it is sure."""
    values = np.clip(np.asarray(p, dtype=np.float64), 0.0, 1.0)
    return np.asarray(-xlogy(values, values) - xlogy(1 - values, 1 - values), dtype=np.float64)


def normal_scores(kind: Acquisition, means: ArrayLike, variances: ArrayLike, seed: int = 0) -> Floats:
    """The same scores where a pair's margin is normal, N(mean, variance), (n,) each, in place of K heads.

    Expectations over the margin are by Gauss and Hermite's rule.
    """
    mean, variance = np.asarray(means, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if kind == "random":
        return np.random.default_rng(seed).random(len(mean))
    if kind == "variance":
        return variance
    points, weights = np.polynomial.hermite_e.hermegauss(NODES)
    single = expit(mean[:, None] + np.sqrt(variance)[:, None] * points)
    share = weights / weights.sum()
    total = coin_entropy(single @ share)
    return total if kind == "entropy" else np.maximum(total - coin_entropy(single) @ share, 0.0)
