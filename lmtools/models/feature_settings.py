"""The `features:` block of a recipe: which features of an answer are kept; and the protocol of the pass."""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from lmtools.core.config import Config
from lmtools.models.chat import EncodedAnswer

Pooling = Literal["last", "mean"]


class FeatureSettings(Config):
    """From the hidden states of an answer's tokens to one row of numbers."""

    layers: tuple[int, ...] = Field(
        default=(-1,),
        min_length=1,
        description="Layers of the model: -1 is the last one, after the final norm, -2 the one before it; "
        "1, 2 ... count from the first. Each adds the model's width, once for each pooling, to disk and to "
        "training. Layers above the highest one named are not run.",
    )
    pooling: tuple[Pooling, ...] = Field(
        default=("last", "mean"),
        min_length=1,
        description="Of the answer's tokens: `last`, the one that ends its turn; `mean`, over all of them. "
        "Both together double the width, and take no more time to read.",
    )
    max_tokens: int = Field(
        default=1024,
        ge=8,
        description="The longest text, in tokens. Of a longer one the answer keeps its first tokens and "
        "its end, at most 3/4 of this, and the prompt its last ones. Time and memory grow with it.",
    )

    @field_validator("layers")
    @classmethod
    def _layers(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if 0 in value:
            raise ValueError("layers count from 1, or backwards from -1; there is no layer 0")
        if len(set(value)) < len(value):
            raise ValueError("name each layer once")
        return value

    @field_validator("pooling")
    @classmethod
    def _pooling(cls, value: tuple[Pooling, ...]) -> tuple[Pooling, ...]:
        if len(set(value)) < len(value):
            raise ValueError("name each pooling once")
        return value


# What computes features: transformers in this process (``pooling``), or an engine of the generation layer.

Pooled = tuple[list[int], NDArray[np.float32]]
"""Indices in a list of texts, and as many rows of features."""


class Pass(Protocol):
    """A loaded model that reads texts."""

    def read(self, texts: Sequence[EncodedAnswer], kept: Collection[int] = ()) -> Iterator[Pooled]:
        """Features of every text, some at a time, in any order.

        Args:
            texts: all of a request: batches are made of them, and of nothing else.
            kept: indices of texts whose features are there; a batch of these alone is left out.
        """
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...
