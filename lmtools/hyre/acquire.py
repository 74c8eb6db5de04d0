"""Which example to label next: scores of a pool under the current weights; the highest is asked about.

For pairs, head k says with p_k = sigmoid(m_k) that the first answer is the better one, and the ensemble with
p = sum_k w_k p_k. With H the entropy of a coin in nats:

    entropy   H(p)                            what the ensemble does not know, noise of the labels included
    bald      H(p) - sum_k w_k H(p_k)         what the heads disagree about (Houlsby et al., 2011)
    variance  sum_k w_k (m_k - m)^2           their disagreement in reward, m = sum_k w_k m_k
    random    a draw by seed
"""

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, xlogy

from lmtools.hyre.reweighting import Floats

Acquisition = Literal["entropy", "bald", "variance", "random"]
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
