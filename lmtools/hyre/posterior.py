"""A normal prior over combinations of heads, and its posterior mode: Bayesian logistic regression.

    a ~ N(0, v I),   P(pair i as labelled) = sigmoid(m_i a),   m_i (K,) the heads' margins on pair i

With heads along the axes of a prior over linear heads this is the limit of infinitely many heads drawn from
that prior. The mode is found in the space of the n examples, or of the K coefficients where these are fewer.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from lmtools.hyre.reweighting import Floats

STEPS = 50
CLOSE = 1e-10
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
    found = np.asarray(margins, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a head's margin is not finite")
    if not variance > 0:
        raise ValueError("the variance of a prior must be above 0")
    known = np.broadcast_to(np.asarray(offset, dtype=np.float64), (len(found),))
    if len(found) > found.shape[1]:
        return _among_coefficients(found, variance, known)
    gram = variance * (found @ found.T)

    def objective(alpha: Floats) -> float:
        margins = gram @ alpha
        return float(np.logaddexp(0.0, -known - margins).sum() + 0.5 * alpha @ margins)

    def step(alpha: Floats) -> Floats:
        p = expit(-known - gram @ alpha)
        found: Floats = np.linalg.solve(np.eye(len(alpha)) + (p * (1 - p))[:, None] * gram, p - alpha)
        return found

    # From no reward at all: half-way coefficients overshoot under a wide prior.
    alpha = _newton(np.zeros(len(found)), objective, step)
    return np.asarray(variance * (found.T @ alpha), dtype=np.float64)


def _among_coefficients(margins: Floats, variance: float, known: Floats) -> Floats:
    """The same mode in the space of the K coefficients, for many examples."""

    def objective(a: Floats) -> float:
        return float(np.logaddexp(0.0, -known - margins @ a).sum() + a @ a / (2 * variance))

    def step(a: Floats) -> Floats:
        p = expit(-known - margins @ a)
        curvature = (margins * (p * (1 - p))[:, None]).T @ margins + np.eye(len(a)) / variance
        found: Floats = np.linalg.solve(curvature, margins.T @ p - a / variance)
        return found

    return _newton(np.zeros(margins.shape[1]), objective, step)


def _newton(start: Floats, objective: Callable[[Floats], float], step: Callable[[Floats], Floats]) -> Floats:
    """Newton's method, each step halved until the objective does not rise."""
    at, value = start, objective(start)
    for _ in range(STEPS):
        way, size = step(at), 1.0
        while (new := objective(at + size * way)) > value and size > CLOSE:
            size /= 2
        at, value = at + size * way, new
        if np.abs(way).max(initial=0.0) * size < CLOSE:
            break
    return at


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
    asked, known = np.asarray(pool, dtype=np.float64), np.asarray(margins, dtype=np.float64)
    before: Floats = variance * np.square(asked).sum(axis=1)
    if not len(known):
        return before
    p = expit(known @ coefficients)
    curvature = np.maximum(p * (1 - p), LEAST)
    across = variance * (known @ asked.T)
    gram = variance * (known @ known.T) + np.diag(1 / curvature)
    told: Floats = (across * np.linalg.solve(gram, across)).sum(axis=0)
    return np.asarray(np.maximum(before - told, 0.0), dtype=np.float64)
