"""From a few labelled examples to weights over the heads, in milliseconds and without a gradient step.

`prior_weights` and `posterior` are the weights before and after the examples, `informativeness` says which
pair to label next, and `Weights` is what is kept of a user: the file ``weights.json``.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError, ModelError
from lmtools.core.files import write_text
from lmtools.core.stored import MALFORMED, describe, read_json
from lmtools.hyre.ensemble import Ensemble
from lmtools.hyre.reweighting import (
    blend,
    margin_variances,
    normal_scores,
    pair_losses,
    posterior_mode,
    reduced,
    reweight,
    scores,
)
from lmtools.hyre.settings import Acquisition, AdaptSettings, LossName
from lmtools.metrics.preference import effective_heads

# Prior and posterior


class Labelled(Protocol):
    """Labelled examples as a rule sees them: pairs (``Margins``) or the rows of a table."""

    @property
    def outputs(self) -> Floats:
        """Of the heads: margins of pairs or predictions (n, K), or the logits of classes (n, K, C)."""
        ...

    def losses(self, loss: LossName) -> Floats:
        """Each head's loss on each example: (n, K)."""
        ...


@dataclass(frozen=True)
class Margins:
    """Labelled pairs: ``outputs`` (n, K) are the heads' margins, chosen less rejected; n may be 0."""

    outputs: Floats

    def losses(self, loss: LossName) -> Floats:
        """Each head's loss on each pair, (n, K); raises ``ValueError`` where a margin is NaN."""
        return pair_losses(self.outputs, loss)


def head_prior(train_loss: Floats, settings: AdaptSettings) -> Floats:
    """The heads' shares of the prior, p_k in the rule: (K,), with a sum of 1.

    ``train`` weighs a head by exp(-f_k / T), f_k its mean loss on a training pair in nats, as if one labelled
    pair had been an average one of training.
    """
    if settings.prior == "uniform":
        return np.full(len(train_loss), 1 / len(train_loss))
    return reweight(train_loss, temperature=settings.temperature)


def prior_weights(train_loss: Floats, settings: AdaptSettings) -> Floats:
    """The weights (K,) without an example: the prior, or zeros, which prefer nothing, of a normal prior."""
    nothing = np.zeros(len(train_loss))
    if settings.rule == "gaussian":
        return nothing
    return reweight(nothing, head_prior(train_loss, settings), settings.temperature)


def posterior(labelled: Labelled, prior: Floats, settings: AdaptSettings) -> tuple[Floats, Floats]:
    """The weights (K,) and the heads' losses (K,) over labelled examples.

    Args:
        labelled: margins or outputs, standardised if the settings say so; n may be 0.
        prior: (K,), of ``head_prior``; the rule ``gaussian`` has one of its own, N(0, I / K).

    Raises:
        ValueError: an output is NaN.
    """
    losses = reduced(labelled.losses(settings.loss), settings.reduction)
    if settings.rule == "gaussian":
        return posterior_mode(labelled.outputs, 1 / len(losses)), losses
    return reweight(losses, prior, settings.temperature), losses


def informativeness(
    kind: Acquisition, pool: Floats, labelled: Floats, weights: Floats, settings: AdaptSettings, seed: int
) -> Floats:
    """How much the label of each pair of a pool would tell: (m,), higher is more.

    Args:
        pool: (m, K), margins of pairs without labels, in any orientation.
        labelled: (n, K), of the labelled ones, chosen less rejected.
        weights: (K,), the posterior of those.
    """
    if settings.rule == "reweight":
        return scores(kind, pool, weights, seed)
    variances = margin_variances(pool, labelled, weights, 1 / pool.shape[1])
    return normal_scores(kind, pool @ weights, variances, seed)


def check_examples(available: int, examples: int, source: str) -> None:
    """Whether there are enough labelled pairs.

    Raises:
        DataError: there are fewer than asked for.
    """
    if examples > available:
        raise DataError(
            f"{source}: {available} pairs, and {examples} examples were asked for",
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
    # Whatever is wrong with the content is one fault: this is no such file.
    try:
        value = read_json(file)
        settings = AdaptSettings.model_validate(
            {name: value[name] for name in AdaptSettings.model_fields if name in value}
        )
        weights = Weights(
            weights=np.array(value["weights"], dtype=np.float64),
            losses=np.array(value["losses"], dtype=np.float64),
            settings=settings,
            examples=tuple(map(str, value["examples"])),
            sources=tuple(map(str, value["sources"])),
            ensemble=str(value["ensemble"]),
        )
        if not np.isfinite(weights.weights).all():
            raise ValueError("a weight is not finite")
        if not weights.weights.shape == weights.losses.shape == (len(weights.sources),):
            raise ValueError("not a weight, a loss and a source of each head")
    except MALFORMED as error:
        raise DataError(
            f"{file}: no weights of `lmtools hyre adapt` ({describe(error)})",
            fix="make it again: lmtools hyre adapt --pairs FILE",
        ) from error
    # The digest is of the ensemble's content: a copy elsewhere is the same one.
    if weights.ensemble != ensemble or len(weights.weights) != count:
        raise ModelError(
            f"{file}: weights of {len(weights.weights)} heads for another ensemble than this one of {count}",
            fix="name the run they were made for (--run), or adapt this one: lmtools hyre adapt",
        )
    return weights
