"""Features on one scale: each to mean 0 and standard deviation 1 on the training data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import ModelError

Features = NDArray[np.float32]
LEAST = 1e-6
"""Features that vary less are constant, and become 0."""


@dataclass(frozen=True)
class Standard:
    """``mean`` (D,) and ``scale`` (D,), the factor that brings the standard deviation to 1."""

    mean: Features
    scale: Features

    @classmethod
    def of(cls, features: Features) -> "Standard":
        """Of training data (n, D).

        Raises:
            ModelError: a feature is NaN or infinite.
        """
        check_finite(features)
        wide = features.astype(np.float64)
        deviation = wide.std(axis=0)
        scale = np.where(deviation > LEAST, 1 / np.maximum(deviation, LEAST), 0.0)
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
