"""Vector scaling (Guo et al. 2017): a scale and a bias for every entry of the vocabulary, by NLL.

Calibrated logits are ``w * z + b``. Unlike a temperature this can change which token is the most probable.
Logits are computed again in small groups, from whatever the caller has kept, so that tokens x vocabulary
numbers are never held.
"""

import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from lmtools.core.curves import Point, Told, untold
from lmtools.core.errors import DataError, ModelError
from lmtools.core.files import atomic_writer

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
    told: Told = untold,
) -> VectorScaling:
    """The scaling with the lowest NLL on the validation tokens; it starts at ``w = 1, b = 0``.

    So it is never worse there than no scaling. Without validation tokens the training tokens decide.

    Args:
        logits_of: recomputes logits; asked for at most ``settings.batch`` tokens at a time.
        labels: the right token of every index that ``logits_of`` knows, (n,), int64.
        train: indices of the tokens to fit on, (t,).
        validation: indices of the tokens that decide when to stop, (v,).
        settings: how.
        told: is told of every epoch, with the mean loss of its batches before each one's step.

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
    held = validation if len(validation) else train
    first = _finite(logits_of(train[:1]))
    current = VectorScaling(torch.ones_like(first[0]), torch.zeros_like(first[0]))
    optimizer = torch.optim.Adam([current.weight, current.bias], lr=settings.rate)
    best, lowest, waited = copy.deepcopy(current), mean_nll(current, logits_of, labels, held, settings), 0
    random = torch.Generator().manual_seed(settings.seed)
    step = 0
    for epoch in range(1, settings.epochs + 1):
        sum_of_losses = 0.0
        for batch in torch.split(train[torch.randperm(len(train), generator=random)], settings.batch):
            logits = _finite(logits_of(batch))
            loss, current.weight.grad, current.bias.grad = nll_gradient(
                current, logits, labels[batch].to(logits.device)
            )
            optimizer.step()
            step += 1
            sum_of_losses += float(loss) * len(batch)
        value = mean_nll(current, logits_of, labels, held, settings)
        told(Point(step, epoch, sum_of_losses / len(train), settings.rate, value))
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
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{path} is no vector scaling: {reason}", fix="fit again: lmtools ats fit"
        ) from error
    return VectorScaling(weight.float(), bias.float())


def _bytes(scaling: VectorScaling) -> bytes:
    tensors = {"weight": scaling.weight.cpu().contiguous(), "bias": scaling.bias.cpu().contiguous()}
    content: bytes = save(tensors)
    return content


def _finite(logits: Tensor) -> Tensor:
    found = logits.float()
    if not torch.isfinite(found).all():
        raise ModelError(
            "the model's logits hold NaN or infinity",
            fix="load it at float32, and check that its weights are whole",
        )
    return found
