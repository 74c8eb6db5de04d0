"""Confidence maps: functions from a probability to a better one, as numbers that go into a JSON file.

Every map takes any array of probabilities in [0, 1], the ends included, and gives the same shape, in [0, 1].
"""

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, TypeAdapter, model_validator

from lmtools.core.config import Config

Floats = NDArray[np.float64]
Chance = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

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

        found: Floats = expit(self.slope * log_odds(confidence) + self.intercept)
        return found


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
        found: Floats = np.asarray(self.values)[bins]
        return found


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
        found: Floats = np.interp(np.asarray(confidence, dtype=np.float64), self.x, self.y)
        return found


ConfidenceMap = Annotated[Logistic | Steps | Line, Field(discriminator="kind")]
CONFIDENCE_MAP: TypeAdapter[ConfidenceMap] = TypeAdapter(ConfidenceMap)
"""Reads a map from JSON: ``CONFIDENCE_MAP.validate_python(map.model_dump(mode="json")) == map``."""


def log_odds(confidence: ArrayLike) -> Floats:
    """``log(p / (1 - p))``, of 0 and 1 that of the probabilities ``NEAREST`` to them."""
    from scipy.special import logit

    found: Floats = logit(np.clip(np.asarray(confidence, dtype=np.float64), NEAREST, 1 - NEAREST))
    return found


def _check_rising(values: tuple[float, ...]) -> None:
    if any(after <= before for before, after in pairwise(values)):
        raise ValueError("must be rising")
