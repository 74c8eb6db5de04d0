"""Log-probabilities of some tokens under every method that changes logits, from one set of logits."""

from collections.abc import Mapping

import torch
from torch import Tensor

from lmtools.ats.baselines.vector import VectorScaling
from lmtools.core.errors import ModelError

AT_ONCE = 1 << 22
"""Logits that are worked on at a time: 16 MiB, and as much again for what is made of them."""


def log_probabilities(
    logits: Tensor, wanted: Tensor, log_multipliers: Mapping[str, Tensor], vector: VectorScaling | None
) -> list[Tensor]:
    """Natural log-probabilities (n, k) of the tokens ``wanted`` under each method.

    In this order: the logits as they are; for each log multiplier l, ``log_softmax(exp(l) logits)``; the
    vector scaling, where there is one.

    Args:
        logits: (n, vocabulary), float32.
        wanted: (n, k), int64.
        log_multipliers: method -> (n,), or (1,) for all.
        vector: on the logits' device.

    Raises:
        ModelError: a log-probability is NaN.
    """
    step = max(1, AT_ONCE // logits.shape[-1])
    factors = [value.float().exp().expand(len(logits)) for value in log_multipliers.values()]
    parts = []
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        some, tokens = logits[rows], wanted[rows]
        found = [_at(some, tokens), *(_at(some * factor[rows, None], tokens) for factor in factors)]
        if vector is not None:
            found.append(_at(vector(some), tokens))
        parts.append(torch.stack(found))
    if not parts:
        return [logits.new_zeros(wanted.shape) for _ in range(1 + len(factors) + (vector is not None))]
    values = torch.cat(parts, dim=1)
    if values.isnan().any():
        raise ModelError(
            "the model's logits hold NaN or infinity, and so would its probabilities",
            fix="load it at float32, and check that its weights are whole",
        )
    return list(values.unbind())


def _at(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(1, tokens) - logits.logsumexp(dim=-1, keepdim=True)
