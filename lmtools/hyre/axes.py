"""Directions among standardised features that need no training: principal ones, and those of a prior.

The prior over linear heads is learned from the training pairs: w ~ N(0, A) with

    A = (1 - r) I / c  +  r / G  sum_g w_g w_g'

where w_g is the logistic regression of one group of pairs (a `distribution`), brought to margins of size 1,
and c the mean squared length of a pair's difference, so that both parts give margins of size 1. r is
``SHARED``: what users have wanted before is likelier to be wanted again, in either direction. Heads drawn
from it are the source ``gaussian``; the limit of infinitely many of them is Bayesian logistic regression
under A, which the columns of a square root of A give exactly (``posterior.posterior_mode``): the source
``gaussian_limit``.
"""

import numpy as np
import torch
from torch import Tensor

from lmtools.hyre.posterior import posterior_mode
from lmtools.hyre.reweighting import Floats

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
    found = np.stack(
        [posterior_mode(difference[groups == group], float(variance)) for group in np.unique(groups)]
    )
    size = np.sqrt(np.square(difference @ found.T).mean(axis=0))
    return np.asarray(found / np.maximum(size, 1e-12)[:, None], dtype=np.float64)


def prior_root(difference: Floats, groups: Floats) -> Floats:
    """Rows R with R'R = A, the covariance of linear heads: (G + D, D)."""
    directions = group_directions(difference, groups)
    squared = np.square(difference).sum(axis=1).mean()
    plain = np.sqrt((1 - SHARED) / max(float(squared), 1e-12)) * np.eye(difference.shape[1])
    return np.concatenate([np.sqrt(SHARED / len(directions)) * directions, plain])


def prior_draws(difference: Floats, groups: Floats, count: int, seed: int) -> Floats:
    """``count`` heads drawn from N(0, A): (count, D)."""
    root = prior_root(difference, groups)
    drawn: Floats = np.random.default_rng(seed).standard_normal((count, len(root))) @ root
    return drawn
