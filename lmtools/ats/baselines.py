"""What temperature heads are compared with: one temperature, confidence maps, vector scaling.

    fit_scalar(summary, loss)                  one multiplier for all logits, solved for
    fit_maps(confidence, correct)              Platt, histogram binning, scaling-binning, isotonic
    fit_vector(logits_of, labels, ...)         a scale and a bias for every entry of the vocabulary

A scalar multiplies logits, a map changes the probability of the top choice, a vector scaling maps logits and
may change which token is the most probable.
"""

import copy
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, TypeAdapter, model_validator
from safetensors.torch import load_file, save
from torch import Tensor

from lmtools.ats.cache import ChunkedSummary, Summary
from lmtools.ats.losses import Loss
from lmtools.ats.recipe import MULTIPLIERS
from lmtools.core.arrays import Floats
from lmtools.core.config import Config
from lmtools.core.errors import DataError, ModelError
from lmtools.core.files import atomic_writer
from lmtools.core.stored import describe
from lmtools.core.tracking import Point, StepCallback, no_callback
from lmtools.metrics.calibration import BINS

Bools = NDArray[np.bool_]
Chance = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

# One temperature for all tokens.
#
# With any loss of ``lmtools.ats.losses`` the mean loss is a weighted sum, weights positive, of terms ``log
# Z(s) + s g``. Each is convex in the multiplier s, so there is one minimum inside the clip, and a bounded
# search over ``log s`` finds it.

CLOSE = 1e-4
"""How near to the best ``log s`` the search ends."""


def fit_scalar(summary: Summary, loss: Loss, clip: tuple[float, float] = MULTIPLIERS) -> float:
    """The log multiplier with the lowest mean loss inside ``clip``.

    Args:
        summary: the tokens to fit on.
        loss: what is minimised.
        clip: the lowest and the highest multiplier.

    Raises:
        DataError: there are no tokens.
        ModelError: the loss is not a number.
    """
    from scipy.optimize import minimize_scalar

    if not len(summary.label):
        raise DataError(
            "there are no response tokens to fit a temperature on",
            fix="give instructions whose completions are not empty",
        )
    chunked = ChunkedSummary.of(summary)

    def mean(log_multiplier: float) -> float:
        s = torch.full_like(summary.label, math.exp(log_multiplier), dtype=torch.float64)
        value = float(loss(chunked, s).mean())
        if not math.isfinite(value):
            raise ModelError(
                "the loss of a temperature is not a number",
                fix="delete the feature cache and fit again, with the model at float32",
            )
        return value

    low, high = math.log(clip[0]), math.log(clip[1])
    inside = float(minimize_scalar(mean, bounds=(low, high), method="bounded", options={"xatol": CLOSE}).x)
    return min((low, inside, high), key=mean)  # the search comes near to an end, never to it


# Confidence maps: functions from a probability to a better one, as numbers that go into a JSON file.
#
# Every map takes any array of probabilities in [0, 1], the ends included, to one of its shape, in [0, 1].

NEAREST = 1e-7
"""How near to 0 and 1 a log-odds is taken: about float32's step below 1."""


class Logistic(Config):
    """``sigmoid(slope logit(p) + intercept)``; never falling."""

    kind: Literal["logistic"] = "logistic"
    slope: Finite = Field(ge=0)
    intercept: Finite

    def __call__(self, confidence: ArrayLike) -> Floats:
        """The map of every probability."""
        from scipy.special import expit

        mapped: Floats = expit(self.slope * log_odds(confidence) + self.intercept)
        return mapped


class Steps(Config):
    """The value of the bin: bin k is ``(edges[k-1], edges[k]]``, the first and the last are open."""

    kind: Literal["steps"] = "steps"
    edges: tuple[Finite, ...] = Field(description="Inner edges, rising; one fewer than values.")
    values: tuple[Chance, ...]

    @model_validator(mode="after")
    def _match(self) -> "Steps":
        if len(self.values) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} values")
        _check_rising(self.edges)
        return self

    def __call__(self, confidence: ArrayLike) -> Floats:
        """The map of every probability."""
        bins = np.searchsorted(self.edges, np.asarray(confidence, dtype=np.float64), side="left")
        mapped: Floats = np.asarray(self.values)[bins]
        return mapped


class Line(Config):
    """Straight lines from point to point; level before the first and after the last."""

    kind: Literal["line"] = "line"
    x: tuple[Finite, ...] = Field(min_length=1, description="Rising.")
    y: tuple[Chance, ...]

    @model_validator(mode="after")
    def _match(self) -> "Line":
        if len(self.x) != len(self.y):
            raise ValueError("x and y must be as many")
        _check_rising(self.x)
        return self

    def __call__(self, confidence: ArrayLike) -> Floats:
        """The map of every probability."""
        mapped: Floats = np.interp(np.asarray(confidence, dtype=np.float64), self.x, self.y)
        return mapped


ConfidenceMap = Annotated[Logistic | Steps | Line, Field(discriminator="kind")]
CONFIDENCE_MAP: TypeAdapter[ConfidenceMap] = TypeAdapter(ConfidenceMap)
"""Reads a map from JSON: ``CONFIDENCE_MAP.validate_python(map.model_dump(mode="json")) == map``."""


def log_odds(confidence: ArrayLike) -> Floats:
    """``log(p / (1 - p))``, of 0 and 1 that of the probabilities ``NEAREST`` to them."""
    from scipy.special import logit

    odds: Floats = logit(np.clip(np.asarray(confidence, dtype=np.float64), NEAREST, 1 - NEAREST))
    return odds


def _check_rising(values: tuple[float, ...]) -> None:
    if any(after <= before for before, after in pairwise(values)):
        raise ValueError("must be rising")


# Maps fitted on tokens: the probability of the top choice, and whether it was right.
#
# Everywhere ``confidence`` is (n,) in [0, 1] and ``correct`` (n,) bool. Data that are all right, or all
# wrong, or a single example give a map as well: the level that the method gives to what it has seen.


def top_confidence(summary: Summary) -> tuple[Floats, Bools]:
    """The probability of each token's most probable choice, and whether it is the right one; (n,) each."""
    if not len(summary.label):
        return np.zeros(0), np.zeros(0, dtype=np.bool_)
    ones = torch.ones_like(summary.label, dtype=torch.float64)
    # A summary is exact to some 1e-3 nats, so that a partition may come out below 1.
    confidence = ChunkedSummary.of(summary).log_partition(ones).neg().exp().clamp(max=1)
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
    binned = p[second] if len(second) else p[first]
    edges = _edges(binned, bins)  # g keeps the order, so bins of its inputs are bins of its outputs
    return Steps(edges=tuple(edges), values=tuple(_bin_means(binned, edges, scaling(binned))))


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
    edges: Floats = np.unique(inner[inner < p.max()])
    return edges


def _bin_means(p: Floats, edges: Floats, values: Floats) -> Floats:
    bins = np.searchsorted(edges, p, side="left")
    means = np.bincount(bins, weights=values) / np.bincount(bins)
    clipped: Floats = np.clip(means, 0, 1)
    return clipped


# Vector scaling (Guo et al. 2017): a scale and a bias for every entry of the vocabulary, by NLL.
#
# Calibrated logits are ``w * z + b``. Unlike a temperature this can change which token is the most
# probable. Logits are computed again in small groups, from whatever the caller has kept, so that tokens x
# vocabulary numbers are never held.

VECTOR = "vector scaling"
"""Its name in tables."""

LogitsOf = Callable[[Tensor], Tensor]
"""Indices of tokens (k,), int64, to their logits (k, vocabulary), any float type."""


@dataclass(frozen=True)
class VectorScaling:
    """``weight`` and ``bias`` (vocabulary,), float32; calibrated logits are ``weight * logits + bias``."""

    weight: Tensor
    bias: Tensor

    def __call__(self, logits: Tensor) -> Tensor:
        """Calibrated logits: (..., vocabulary) to the same."""
        return torch.addcmul(self.bias, logits, self.weight)

    @property
    def digest(self) -> str:
        """By content: a SHA-256 in hexadecimal."""
        return hashlib.sha256(_bytes(self)).hexdigest()

    def to(self, device: str) -> "VectorScaling":
        """The same on a device."""
        return VectorScaling(self.weight.to(device), self.bias.to(device))


@dataclass(frozen=True)
class VectorSettings:
    """How it is fitted: Adam at ``rate``, ``batch`` tokens a step, until ``patience`` epochs did not help."""

    rate: float = 1e-3
    batch: int = 256
    epochs: int = 10
    patience: int = 1
    seed: int = 0


def fit_vector(
    logits_of: LogitsOf,
    labels: Tensor,
    train: Tensor,
    validation: Tensor,
    settings: VectorSettings | None = None,
    callback: StepCallback = no_callback,
) -> VectorScaling:
    """The scaling with the lowest NLL on the validation tokens; it starts at ``w = 1, b = 0``.

    So it is never worse there than no scaling. Without validation tokens the training tokens decide.

    Args:
        logits_of: recomputes logits; asked for at most ``settings.batch`` tokens at a time.
        labels: the right token of every index that ``logits_of`` knows, (n,), int64.
        train: indices of the tokens to fit on, (t,).
        validation: indices of the tokens that decide when to stop, (v,).
        settings: how.
        callback: gets every epoch, with the mean loss of its batches before each one's step.

    Raises:
        DataError: there are no tokens to fit on.
        ModelError: a logit is NaN or infinite.
    """
    settings = settings or VectorSettings()
    if not len(train):
        raise DataError(
            "there are no response tokens to fit vector scaling on",
            fix="give instructions whose completions are not empty",
        )
    # What decides when to stop.
    deciding = validation if len(validation) else train
    first = _finite(logits_of(train[:1]))
    current = VectorScaling(torch.ones_like(first[0]), torch.zeros_like(first[0]))
    optimizer = torch.optim.Adam([current.weight, current.bias], lr=settings.rate)
    best, lowest, waited = copy.deepcopy(current), mean_nll(current, logits_of, labels, deciding, settings), 0
    random = torch.Generator().manual_seed(settings.seed)
    step = 0
    for epoch in range(1, settings.epochs + 1):
        sum_of_losses = 0.0
        for batch in torch.split(train[torch.randperm(len(train), generator=random)], settings.batch):
            logits = _finite(logits_of(batch))
            # By hand: autograd would hold several more arrays of the logits' size.
            loss, current.weight.grad, current.bias.grad = nll_gradient(
                current, logits, labels[batch].to(logits.device)
            )
            optimizer.step()
            step += 1
            sum_of_losses += float(loss) * len(batch)
        value = mean_nll(current, logits_of, labels, deciding, settings)
        callback(Point(step, epoch, sum_of_losses / len(train), settings.rate, value))
        if value < lowest:
            best, lowest, waited = copy.deepcopy(current), value, 0
        else:
            waited += 1
        if waited > settings.patience:
            break
    return best.to("cpu")


def nll_gradient(scaling: VectorScaling, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean NLL of a group of tokens, and its gradients with respect to ``weight`` and ``bias``.

    ``d/db = mean(p - onehot(y))`` and ``d/dw = mean((p - onehot(y)) z)``: three arrays of the logits' size
    at most, the logits among them.

    Args:
        logits: (k, vocabulary), float32; not changed.
        labels: (k,), int64, on the same device.
    """
    scaled = scaling(logits)
    chances = scaled.log_softmax(dim=-1)
    del scaled
    rows = torch.arange(len(labels), device=labels.device)
    loss = -chances[rows, labels].mean()
    error = chances.exp_()
    error[rows, labels] -= 1
    error /= len(labels)
    bias = error.sum(dim=0)
    return loss, error.mul_(logits).sum(dim=0), bias


def mean_nll(
    scaling: VectorScaling, logits_of: LogitsOf, labels: Tensor, indices: Tensor, settings: VectorSettings
) -> float:
    """Mean NLL of the tokens ``indices``, nats."""
    total = 0.0
    for batch in torch.split(indices, settings.batch):
        scaled = scaling(_finite(logits_of(batch)))
        right = scaled.gather(1, labels[batch].to(scaled.device)[:, None])[:, 0]
        total += float((scaled.logsumexp(dim=-1) - right).double().sum())
    return total / len(indices)


def save_vector(scaling: VectorScaling, path: Path) -> None:
    """Write a scaling as safetensors.

    Raises:
        MachineError: it cannot be written.
    """
    with atomic_writer(path, "wb") as stream:
        stream.write(_bytes(scaling))


def load_vector(path: Path) -> VectorScaling:
    """Read a scaling.

    Raises:
        ModelError: the file is missing, truncated or something else.
    """
    try:
        tensors = load_file(path)
        weight, bias = tensors["weight"], tensors["bias"]
        if weight.ndim != 1 or weight.shape != bias.shape or not (weight.isfinite() & bias.isfinite()).all():
            raise ValueError("weight and bias must be finite, (vocabulary,) both")
    except Exception as error:  # OSError, SafetensorError, KeyError, ValueError
        raise ModelError(
            f"{path} is no vector scaling: {describe(error)}", fix="fit again: lmtools ats fit"
        ) from error
    return VectorScaling(weight.float(), bias.float())


def _bytes(scaling: VectorScaling) -> bytes:
    tensors = {"weight": scaling.weight.cpu().contiguous(), "bias": scaling.bias.cpu().contiguous()}
    content: bytes = save(tensors)
    return content


def _finite(logits: Tensor) -> Tensor:
    values = logits.float()
    if not torch.isfinite(values).all():
        raise ModelError(
            "the model's logits hold NaN or infinity",
            fix="load it at float32, and check that its weights are whole",
        )
    return values
