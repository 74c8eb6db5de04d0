"""What a head sees of a token."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lmtools.ats.head_config import FeatureName

SMALLEST = 1e-6
"""Logits that are all the same have this standard deviation, whose log is finite."""


def features(
    names: Sequence[FeatureName],
    hidden: Tensor,
    logits: Tensor | None = None,
    output_rows: Tensor | None = None,
) -> Tensor:
    """The features ``names`` of tokens, joined in that order.

    Args:
        hidden: the last hidden states after the final norm, (..., hidden).
        logits: the model's logits, soft cap included, (..., vocabulary); needed by all but ``hidden``.
        output_rows: the output projection's weights, (vocabulary, hidden); needed by ``argmax-row``.

    Returns:
        (..., features), float32.

    Raises:
        ValueError: what a feature needs was not given.
    """
    return torch.cat([_feature(name, hidden, logits, output_rows) for name in names], dim=-1)


def _feature(name: FeatureName, hidden: Tensor, logits: Tensor | None, output_rows: Tensor | None) -> Tensor:
    if name == "hidden":
        return hidden.float()
    if logits is None:
        raise ValueError(f"the feature {name} needs logits")
    if name == "max-logit":
        return logits.float().amax(dim=-1, keepdim=True)
    if name == "log-std":
        return logits.float().std(dim=-1, correction=0, keepdim=True).clamp(min=SMALLEST).log()
    if output_rows is None:
        raise ValueError(f"the feature {name} needs the output projection's rows")
    return output_rows[logits.argmax(dim=-1)].float()
