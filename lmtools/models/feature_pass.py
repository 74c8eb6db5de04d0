"""What computes features: transformers in this process (``pooled``), or an engine of the generation layer."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmtools.models.answered import Text

Pooled = tuple[list[int], NDArray[np.float32]]
"""Places in a list of texts, and as many rows of features."""


class Pass(Protocol):
    """A loaded model that reads texts."""

    def read(self, texts: Sequence[Text]) -> Iterator[Pooled]:
        """Features of every text, some at a time, in any order."""
        ...

    def close(self) -> None:
        """Free the model's memory."""
        ...
