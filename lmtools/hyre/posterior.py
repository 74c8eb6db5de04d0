"""A normal prior over combinations of heads, and its posterior mode: Bayesian logistic regression.

    a ~ N(0, v I),   P(pair i as labelled) = sigmoid(m_i a),   m_i (K,) the heads' margins on pair i

With heads along the axes of a prior over linear heads this is the limit of infinitely many heads drawn from
that prior. The mode is found in the space of the n examples, so its cost does not grow with K beyond one
product.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from lmtools.hyre.reweight import Floats

STEPS = 50
CLOSE = 1e-10


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
    found = np.asarray(margins, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a head's margin is not finite")
    if not variance > 0:
        raise ValueError("the variance of a prior must be above 0")
    gram = variance * (found @ found.T)
    known = np.broadcast_to(np.asarray(offset, dtype=np.float64), (len(found),))
    alpha = np.zeros(len(found))  # from no reward at all: half-way coefficients overshoot under a wide prior
    value = _objective(alpha, gram, known)
    for _ in range(STEPS):
        p = expit(-known - gram @ alpha)
        step = np.linalg.solve(np.eye(len(alpha)) + (p * (1 - p))[:, None] * gram, p - alpha)
        size = 1.0
        while (new := _objective(alpha + size * step, gram, known)) > value and size > CLOSE:
            size /= 2
        alpha, value = alpha + size * step, new
        if np.abs(step).max(initial=0.0) * size < CLOSE:
            break
    return np.asarray(variance * (found.T @ alpha), dtype=np.float64)


def _objective(alpha: Floats, gram: Floats, known: Floats) -> float:
    """-log P(labels | a) + |a|^2 / (2 v), for a = v M' alpha."""
    margins = gram @ alpha
    return float(np.logaddexp(0.0, -known - margins).sum() + 0.5 * alpha @ margins)
