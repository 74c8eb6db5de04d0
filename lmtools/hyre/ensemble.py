"""An ensemble of heads, and its form on disk: ``ensemble.safetensors`` and ``ensemble.json``.

Tensors: ``standard.mean`` and ``standard.scale`` (D,), the scaler, and those of each group of heads by number
(``0.weight``, ``1.trunk.0.weight`` ...) in float32; ``size``, the heads' root mean square margins, and
``fit``, their training losses, (K,) in float64. ``ensemble.json``: ``format``, ``info`` and ``lmtools`` (the
version that wrote it).
"""

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, field_validator
from safetensors.torch import load_file, save

from lmtools import __version__
from lmtools.core.arrays import Floats
from lmtools.core.config import Config
from lmtools.core.errors import ModelError
from lmtools.core.files import atomic_writer, sha256_text, write_json
from lmtools.core.stored import MALFORMED, describe, read_json
from lmtools.hyre.heads import Heads
from lmtools.hyre.settings import AdaptSettings, Task
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.files import fingerprint
from lmtools.models.load import filled_module

# Features on one scale: each to mean 0 and standard deviation 1 on the training data.

Features = NDArray[np.float32]
LEAST_SCALE = 1e-6
"""Features that vary less are constant, and become 0."""


@dataclass(frozen=True)
class Scaler:
    """``mean`` (D,) and ``scale`` (D,), the factor that brings the standard deviation to 1."""

    mean: Features
    scale: Features

    @classmethod
    def of(cls, features: Features) -> "Scaler":
        """Of training data (n, D).

        Raises:
            ModelError: a feature is NaN or infinite.
        """
        check_finite(features)
        wide = features.astype(np.float64)
        deviation = wide.std(axis=0)
        scale = np.where(deviation > LEAST_SCALE, 1 / np.maximum(deviation, LEAST_SCALE), 0.0)
        return cls(wide.mean(axis=0).astype(np.float32), scale.astype(np.float32))

    def __call__(self, features: Features) -> Features:
        """Standardised features, (n, D) float32.

        Raises:
            ModelError: a feature is NaN or infinite, or their number is another.
        """
        if features.shape[-1] != len(self.mean):
            raise ModelError(
                f"{features.shape[-1]} features, where the ensemble has {len(self.mean)}",
                fix="use the model and the `features` settings that the ensemble was trained with",
            )
        check_finite(features)
        return np.asarray((features - self.mean) * self.scale, dtype=np.float32)


def check_finite(features: Features) -> None:
    """Whether all features are numbers.

    Raises:
        ModelError: naming the first row that is not.
    """
    wrong = np.flatnonzero(~np.isfinite(features).all(axis=tuple(range(1, features.ndim))))
    if len(wrong):
        raise ModelError(
            f"the features of text {wrong[0] + 1} are not finite ({len(wrong)} of {len(features)} texts)",
            fix="read the texts with model.dtype=float32, or leave these out",
        )


FORMAT = 1
WEIGHTS, SETTINGS = "ensemble.safetensors", "ensemble.json"
LEAST = 1e-12
"""The least size of margins that is not taken for none."""
ROWS = 4096
"""Texts whose rewards are computed at a time."""


class Group(Config):
    """Heads of one source, ``SOURCE/NUMBER`` by their place in the ensemble.

    ``kind`` is that of their module, which ``arguments`` rebuild (``heads.Heads``).
    """

    source: str
    count: int
    kind: str
    arguments: dict[str, float] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _is_known(cls, kind: str) -> str:
        if kind not in Heads.KINDS:
            raise ValueError(f"kind: {kind}: none of {', '.join(Heads.KINDS)}")
        return kind

    @classmethod
    def of(cls, source: str, heads: Heads) -> "Group":
        """The description of heads that were made."""
        return cls(source=source, count=heads.count, kind=heads.kind, arguments=heads.arguments)

    def module(self, width: int, outputs: int) -> Heads:
        """The heads again, on features of that width, with other weights than theirs."""
        return Heads.KINDS[self.kind].rebuilt(width, self.count, outputs, self.arguments)


class EnsembleInfo(Config):
    """What an ensemble is, without its weights."""

    task: Task
    groups: tuple[Group, ...]
    outputs: int = 1
    backbone: str = ""
    """The name of the model whose features it takes; empty for tables."""
    identity: str = ""
    """That model and the settings of its features, by content."""
    features: FeatureSettings = FeatureSettings()
    target_mean: float = 0.0
    target_scale: float = 1.0
    """Regression: predictions are in units of this many, from this mean."""
    noise: float = 1.0
    """Regression: the variance of the targets around a head's predictions on held-out rows, in their unit."""


@dataclass(frozen=True)
class Ensemble:
    """Heads of one or more sources on the same standardised features.

    ``margin_rms`` (K,) is the root mean square of each head's margins on the training pairs, for
    standardising them; ``train_loss`` (K,) each head's mean loss on the training data, in nats.

    >>> ensemble = load_ensemble(Path("runs/hyre-train/ensemble"))
    >>> texts = np.zeros((2, len(ensemble.scaler.mean)), dtype=np.float32)
    >>> ensemble.outputs(texts).shape == (2, ensemble.count)
    True
    """

    info: EnsembleInfo
    scaler: Scaler
    parts: tuple[Heads, ...]
    margin_rms: Floats
    train_loss: Floats

    @property
    def count(self) -> int:
        """How many heads, K."""
        return sum(part.count for part in self.parts)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The source of each head: (K,)."""
        return tuple(group.source for group in self.info.groups for _ in range(group.count))

    def outputs(self, features: Features) -> Floats:
        """What every head says, in the unit of the target: (n, K), or (n, K, C) logits of a classification.

        Each row's depends on that row alone.

        Args:
            features: (n, D), not standardised.

        Raises:
            ModelError: a feature is not finite, or their number is another.
        """
        x = torch.from_numpy(self.scaler(features))
        with torch.inference_mode():
            blocks = [
                torch.cat([part(block) for part in self.parts], dim=1).double().numpy()
                for block in (torch.split(x, ROWS) if len(x) else ())
            ]
        shape = (0, self.count, self.info.outputs)
        outputs: Floats = np.concatenate(blocks) if blocks else np.zeros(shape)
        if self.info.task == "classification":
            return outputs
        return outputs[:, :, 0] * self.info.target_scale + self.info.target_mean

    def factors(self, settings: AdaptSettings) -> Floats:
        """What brings the heads' margins to ``settings.scale``, each one or all together: (K,)."""
        rms = self.margin_rms
        if not settings.standardise:
            rms = np.full(self.count, np.sqrt(np.square(rms).mean()))
        return settings.scale / np.maximum(rms, LEAST)

    def rewards(self, features: Features, settings: AdaptSettings) -> Floats:
        """The heads' rewards at the size that the settings ask for: (n, K)."""
        return self.outputs(features) * self.factors(settings)


def save_ensemble(ensemble: Ensemble, directory: Path) -> None:
    """Write an ensemble.

    Raises:
        MachineError: the directory cannot be written.
    """
    tensors = {
        f"{number}.{name}": value.detach().cpu().contiguous().float()
        for number, part in enumerate(ensemble.parts)
        for name, value in part.state_dict().items()
    }
    arrays: dict[str, NDArray[Any]] = {
        "standard.mean": ensemble.scaler.mean, "standard.scale": ensemble.scaler.scale,
        "size": ensemble.margin_rms, "fit": ensemble.train_loss,
    }  # fmt: skip
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    with atomic_writer(directory / WEIGHTS, "wb") as stream:
        stream.write(save(tensors))
    write_json(
        directory / SETTINGS,
        {"format": FORMAT, "info": ensemble.info.model_dump(mode="json"), "lmtools": __version__},
    )


def read_info(directory: Path) -> EnsembleInfo:
    """What an ensemble is, without its weights.

    Raises:
        ModelError: there is none, or the file is broken.
    """
    path = directory / SETTINGS
    try:
        value = read_json(path)
        if value["format"] != FORMAT:
            raise ModelError(
                f"{path}: format {value['format']}; this version reads {FORMAT}", fix="train it again"
            )
        return EnsembleInfo.model_validate(value["info"])
    except MALFORMED as error:
        raise ModelError(
            f"{path} is no ensemble's settings: {describe(error)}", fix="train one: lmtools hyre train"
        ) from error


def load_ensemble(directory: Path) -> Ensemble:
    """An ensemble, on the processor.

    Raises:
        ModelError: a file is missing or broken.

    >>> load_ensemble(Path("runs/hyre-train/ensemble")).sources
    ('pca', 'pca', 'pca', 'pca')
    """
    info, path = read_info(directory), directory / WEIGHTS
    try:
        tensors = load_file(path)
        if wrong := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
            raise ValueError(f"{wrong[0]} is not finite")
        mean, scale, margin_rms, train_loss = (
            tensors.pop(name).numpy() for name in ("standard.mean", "standard.scale", "size", "fit")
        )
        parts = []
        if margin_rms.shape != (sum(group.count for group in info.groups),):
            raise ValueError(f"sizes of other heads than those of {SETTINGS}")
        for number, group in enumerate(info.groups):
            prefix = f"{number}."
            state_dict = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            heads = filled_module(partial(group.module, len(mean), info.outputs), state_dict)
            parts.append(heads.eval().requires_grad_(False))
        count = sum(part.count for part in parts)
        if margin_rms.shape != (count,) or train_loss.shape != (count,) or scale.shape != mean.shape:
            raise ValueError(f"sizes of other heads or features than those of {SETTINGS}")
    except Exception as error:  # OSError, SafetensorError, RuntimeError, KeyError: missing, truncated, others
        raise ModelError(
            f"{path} cannot be loaded: {describe(error)}", fix="train the ensemble again"
        ) from error
    margin_rms, train_loss = (values.astype(np.float64) for values in (margin_rms, train_loss))
    return Ensemble(info, Scaler(mean, scale), tuple(parts), margin_rms, train_loss)


def ensemble_digest(directory: Path) -> str:
    """An ensemble by content: a SHA-256 in hexadecimal."""
    return sha256_text(fingerprint(directory))
