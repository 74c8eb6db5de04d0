"""A few labelled examples become weights over the heads: in milliseconds, and without a gradient step."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, ModelError
from lmtools.core.files import write_text
from lmtools.hyre.ensemble import Ensemble
from lmtools.hyre.recipe import AdaptSettings
from lmtools.hyre.reweighting import (
    Acquisition,
    blend,
    margin_variances,
    normal_scores,
    pair_losses,
    posterior_mode,
    reduced,
    reweight,
    scores,
)
from lmtools.metrics.preference import effective_heads


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


# ``weights.json``: what a few labelled examples made of an ensemble, and for which ensemble it is.
#
# {"weights": [...], "losses": [...], "loss", "reduction", "temperature", "effective_heads",
#  "examples": [ids], "rule", "standardise", "scale", "prior", "heaviest": [{"head": "pca/7", "weight"}, ...],
#  "sources": ["pca", ...], "ensemble": "..."}

HEAVY = 10
"""How many of the heads that carry most are named."""


@dataclass(frozen=True)
class Weights:
    """Weights (K,) of an ensemble's heads and what they were made from.

    ``losses`` (K,) are the heads' losses over the ``examples``, whose ids are kept; ``ensemble`` is its
    digest.
    """

    weights: Floats
    losses: Floats
    settings: AdaptSettings
    examples: tuple[str, ...]
    sources: tuple[str, ...]
    ensemble: str

    @property
    def effective_heads(self) -> float:
        """How many heads speak: 1 for one alone, K where all are heard alike, or none is."""
        return effective_heads(self.weights) if self.weights.any() else float(len(self.weights))

    def heaviest(self) -> list[tuple[str, float]]:
        """The heads that carry the weight, named by source and number, with their weights."""
        order = np.argsort(-np.abs(self.weights), kind="stable")[:HEAVY]
        return [(f"{self.sources[k]}/{k}", float(self.weights[k])) for k in order]

    def rewards(self, ensemble: Ensemble, features: Any) -> Floats:
        """The user's own rewards of texts: (n,), from their features (n, D)."""
        return blend(self.weights, ensemble.rewards(features, self.settings))

    def summary(self) -> dict[str, Any]:
        """What ``weights.json`` holds."""
        settings = self.settings.model_dump(mode="json")
        return {
            "weights": self.weights.tolist(),
            "losses": self.losses.tolist(),
            **{name: settings[name] for name in ("loss", "reduction", "temperature")},
            "effective_heads": self.effective_heads,
            "examples": list(self.examples),
            **{name: settings[name] for name in ("rule", "standardise", "scale", "prior")},
            "heaviest": [{"head": name, "weight": weight} for name, weight in self.heaviest()],
            "sources": list(self.sources),
            "ensemble": self.ensemble,
        }

    def write(self, path: Path) -> None:
        """Write the file in one step.

        Raises:
            MachineError: it cannot be written.
        """
        write_text(path, json.dumps(self.summary(), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def weights_file(path: Path) -> Path:
    """The file itself, or the one in a run of `lmtools hyre adapt`.

    Raises:
        DataError: there is none.
    """
    file = path / "weights.json" if path.is_dir() else path
    if not file.is_file():
        raise DataError(
            f"{file}: cannot be read: no such file", fix="make it: lmtools hyre adapt --pairs FILE"
        )
    return file


def read_weights(path: Path, ensemble: str, count: int) -> Weights:
    """The weights in a file, or in a run that holds one.

    Args:
        ensemble: the digest of the ensemble they are to be used with, and ``count`` its number of heads.

    Raises:
        DataError: the file is missing or no such file.
        ModelError: the weights are for another ensemble.
    """
    file = weights_file(path)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        settings = AdaptSettings.model_validate(
            {name: value[name] for name in AdaptSettings.model_fields if name in value}
        )
        found = Weights(
            weights=np.array(value["weights"], dtype=np.float64),
            losses=np.array(value["losses"], dtype=np.float64),
            settings=settings,
            examples=tuple(map(str, value["examples"])),
            sources=tuple(map(str, value["sources"])),
            ensemble=str(value["ensemble"]),
        )
        if not np.isfinite(found.weights).all():
            raise ValueError("a weight is not finite")
        if not found.weights.shape == found.losses.shape == (len(found.sources),):
            raise ValueError("not a weight, a loss and a source of each head")
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: no weights of `lmtools hyre adapt` ({str(error).splitlines()[0]})",
            fix="make it again: lmtools hyre adapt --pairs FILE",
        ) from error
    if found.ensemble != ensemble or len(found.weights) != count:
        raise ModelError(
            f"{file}: weights of {len(found.weights)} heads for another ensemble than this one of {count}",
            fix="name the run they were made for (--run), or adapt this one: lmtools hyre adapt",
        )
    return found
