"""Confidence maps, fitted on tokens: the probability of the top choice, and whether it was right.

Everywhere ``confidence`` is (n,) in [0, 1] and ``correct`` (n,) bool. Data that are all right, or all wrong,
or a single example give a map as well: the level that the method gives to what it has seen.
"""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lmtools.ats.baselines.maps import ConfidenceMap, Floats, Line, Logistic, Steps, log_odds
from lmtools.ats.baselines.scalar import InChunks
from lmtools.ats.summary import Summary
from lmtools.core.errors import DataError
from lmtools.metrics.calibration import BINS

Bools = NDArray[np.bool_]


def top_confidence(summary: Summary) -> tuple[Floats, Bools]:
    """The probability of each token's most probable choice, and whether it is the right one; (n,) each."""
    if not len(summary.label):
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    ones = torch.ones_like(summary.label, dtype=torch.float64)
    # A summary is exact to some 1e-3 nats, so that a partition may come out below 1.
    confidence = InChunks(**vars(summary)).log_partition(ones).neg().exp().clamp(max=1)
    return confidence.cpu().numpy(), summary.right.cpu().numpy()


def fit_platt(confidence: ArrayLike, correct: ArrayLike) -> Logistic:
    """Platt scaling (Platt 1999): logistic regression of ``correct`` on the log-odds of the confidence.

    With his targets, ``(n_right + 1)/(n_right + 2)`` for a right token and ``1/(n_wrong + 2)`` for a wrong
    one, which keep it finite whatever the data. A falling slope is taken as none.
    """
    from sklearn.linear_model import LogisticRegression

    p, right = _checked(confidence, correct)
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    x, odds = log_odds(p), log_odds(target.mean())
    scale = float(np.abs(x).max()) or 1.0
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(
        np.tile(x / scale, 2)[:, None],
        np.repeat([True, False], len(p)),
        sample_weight=np.concatenate([target, 1 - target]) / len(p),
    )
    slope = float(model.coef_[0, 0]) / scale
    if np.ptp(x) == 0 or slope <= 0:  # the best of the slopes that do not fall is then level
        return Logistic(slope=0.0, intercept=float(odds))
    return Logistic(slope=slope, intercept=float(model.intercept_[0]))


def fit_histogram(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS) -> Steps:
    """Histogram binning (Zadrozny and Elkan 2001): the share of right tokens in equal-mass bins.

    Equal confidences share a bin, so that there may be fewer bins than asked for; none is empty.
    """
    p, right = _checked(confidence, correct)
    edges = _edges(p, bins)
    return Steps(edges=tuple(edges), values=tuple(_bin_means(p, edges, right.astype(np.float64))))


def fit_scaling_binning(confidence: ArrayLike, correct: ArrayLike, bins: int = BINS, seed: int = 0) -> Steps:
    """The scaling-binning calibrator (Kumar et al. 2019): Platt scaling g, then its outputs in bins.

    g is fitted on a random half; the bins hold equal shares of the other half, and a bin's value is the mean
    there of g, not of ``correct``. Never falling. A single example counts as both halves.
    """
    p, right = _checked(confidence, correct)
    order = np.random.default_rng(seed).permutation(len(p))
    first, second = order[: (len(p) + 1) // 2], order[(len(p) + 1) // 2 :]
    scaling = fit_platt(p[first], right[first])
    held = p[second] if len(second) else p[first]
    edges = _edges(held, bins)  # g keeps the order, so bins of its inputs are bins of its outputs
    return Steps(edges=tuple(edges), values=tuple(_bin_means(held, edges, scaling(held))))


def fit_isotonic(confidence: ArrayLike, correct: ArrayLike) -> Line:
    """Isotonic regression (Zadrozny and Elkan 2002): the best function that never falls."""
    from sklearn.isotonic import IsotonicRegression

    p, right = _checked(confidence, correct)
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(p, right.astype(np.float64))
    return Line(x=tuple(model.X_thresholds_.tolist()), y=tuple(model.y_thresholds_.tolist()))


def fit_maps(confidence: ArrayLike, correct: ArrayLike, seed: int = 0) -> dict[str, ConfidenceMap]:
    """Every confidence map, by its method's name.

    Raises:
        DataError: there is no token, or a confidence is no probability.
    """
    return {
        "Platt": fit_platt(confidence, correct),
        "histogram binning": fit_histogram(confidence, correct),
        "scaling-binning": fit_scaling_binning(confidence, correct, seed=seed),
        "isotonic": fit_isotonic(confidence, correct),
    }


def _checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    p, right = np.asarray(confidence, dtype=np.float64), np.asarray(correct, dtype=np.bool_)
    if p.ndim != 1 or p.shape != right.shape:
        raise ValueError(f"confidence {p.shape} and correct {right.shape} must be (n,) both")
    if not len(p):
        raise DataError(
            "there are no response tokens to fit a confidence map on",
            fix="give instructions whose completions are not empty",
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError(
            "a token's confidence is not a probability",
            fix="delete the feature cache and fit again, with the model at float32",
        )
    return p, right


def _edges(p: Floats, bins: int) -> Floats:
    """Inner edges of equal-mass bins ``(edge, next edge]``, each of which holds at least one of ``p``."""
    inner = np.quantile(p, np.arange(1, bins) / bins, method="inverted_cdf")
    found: Floats = np.unique(inner[inner < p.max()])
    return found


def _bin_means(p: Floats, edges: Floats, values: Floats) -> Floats:
    bins = np.searchsorted(edges, p, side="left")
    means = np.bincount(bins, weights=values) / np.bincount(bins)
    found: Floats = np.clip(means, 0, 1)
    return found
