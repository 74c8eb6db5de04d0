"""One temperature for all tokens, found exactly.

With any loss of ``lmtools.ats.losses`` the mean loss is a weighted sum, weights positive, of terms
``log Z(s) + s g``. Each is convex in the multiplier s, so there is one minimum inside the clip, and a bounded
search over ``log s`` finds it.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lmtools.ats.head_config import MULTIPLIERS
from lmtools.ats.summary import Summary
from lmtools.core.errors import DataError, ModelError

Loss = Callable[[Summary, Tensor], Tensor]
"""Summaries (n,) and their multipliers (n,) to the loss of each (n,), or of all."""

CHUNK = 4096
"""Tokens whose bins are exponentiated at a time."""
CLOSE = 1e-4
"""How near to the best ``log s`` the search ends."""


class InChunks(Summary):
    """A summary whose partition function needs little memory beside it."""

    def log_partition(self, multiplier: Tensor) -> Tensor:
        """See ``Summary``; in float64 where the multiplier is."""
        chunks = [slice(start, start + CHUNK) for start in range(0, len(self.label), CHUNK)]
        return torch.cat([self[chunk].log_partition(multiplier[chunk]) for chunk in chunks])


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
    parts = InChunks(**vars(summary))

    def mean(log_multiplier: float) -> float:
        s = torch.full_like(summary.label, math.exp(log_multiplier), dtype=torch.float64)
        value = float(loss(parts, s).mean())
        if not math.isfinite(value):
            raise ModelError(
                "the loss of a temperature is not a number",
                fix="delete the feature cache and fit again, with the model at float32",
            )
        return value

    low, high = math.log(clip[0]), math.log(clip[1])
    inside = float(minimize_scalar(mean, bounds=(low, high), method="bounded", options={"xatol": CLOSE}).x)
    return min((low, inside, high), key=mean)  # the search comes near to an end, never to it
