"""A few labelled examples become weights over the heads: in milliseconds, and without a gradient step."""

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.errors import DataError
from lmtools.hyre.acquire import Acquisition, normal_scores, scores
from lmtools.hyre.ensemble import Ensemble
from lmtools.hyre.posterior import margin_variances, posterior_mode
from lmtools.hyre.recipe import AdaptSettings
from lmtools.hyre.reweighting import Floats, pair_losses, reduced, reweight


def prior_weights(fit: Floats, settings: AdaptSettings) -> Floats:
    """Weights before any example: (K,), with a sum of 1.

    ``train`` weighs a head by exp(-f_k / T), f_k its mean loss on a training pair in nats, as if one labelled
    pair had been an average one of training.
    """
    if settings.prior == "uniform":
        return np.full(len(fit), 1 / len(fit))
    return reweight(fit, temperature=settings.temperature)


def before(fit: Floats, settings: AdaptSettings) -> Floats:
    """What the rule gives without an example, (K,): the prior's weights, or zeros, which prefer nothing."""
    return adapted(np.zeros((0, len(fit))), fit, settings)[0]


def adapted(margins: ArrayLike, fit: Floats, settings: AdaptSettings) -> tuple[Floats, Floats]:
    """The weights (K,) and the heads' losses (K,) over labelled pairs.

    Args:
        margins: (n, K), chosen less rejected, standardised if the settings say so; n may be 0.
        fit: (K,), each head's mean loss in training.

    Raises:
        ValueError: a margin is NaN.
    """
    found = np.asarray(margins, dtype=np.float64)
    losses = reduced(pair_losses(found, settings.loss), settings.reduction)
    prior = prior_weights(fit, settings)
    if settings.rule == "gaussian":
        # Without examples the mode of the prior is no reward at all.
        return posterior_mode(found, 1 / found.shape[1]), losses
    return reweight(losses, prior, settings.temperature), losses


def telling(
    kind: Acquisition, pool: Floats, known: Floats, fit: Floats, settings: AdaptSettings, seed: int
) -> Floats:
    """How much each pair of a pool would tell, once some are labelled: (m,), higher is more.

    Args:
        pool: (m, K), margins of pairs without labels, in any orientation.
        known: (n, K), of the labelled ones, chosen less rejected.
    """
    weights, _ = adapted(known, fit, settings)
    if settings.rule == "reweight":
        return scores(kind, pool, weights, seed)
    variances = margin_variances(pool, known, weights, 1 / pool.shape[1])
    return normal_scores(kind, pool @ weights, variances, seed)


def check_examples(available: int, wanted: int, source: str) -> None:
    """Whether there are enough labelled pairs.

    Raises:
        DataError: there are fewer than asked for.
    """
    if wanted > available:
        raise DataError(
            f"{source}: {available} pairs, and {wanted} examples were asked for",
            fix=f"give more pairs, or --examples {available}",
        )


def check_heads(ensemble: Ensemble) -> None:
    """Whether pairs can adapt this ensemble.

    Raises:
        DataError: it was trained for another task.
    """
    if ensemble.info.task != "preference":
        raise DataError(
            f"an ensemble for {ensemble.info.task} cannot be adapted to preference pairs",
            fix="measure it with `lmtools hyre eval`, or train one with task: preference",
        )
