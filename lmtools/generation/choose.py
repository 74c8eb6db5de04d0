"""The next token of every row, from its logits and one uniform number."""

import torch
from torch import Tensor

from lmtools.generation.protocol import Sampling

CANDIDATES = 1024
"""Tokens sorted at first for ``top_p``; only where their mass is not enough the whole vocabulary is."""


def choose(logits: Tensor, sampling: Sampling, uniforms: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tokens, and their log-probabilities under the unmodified distribution (temperature 1, no limits).

    Args:
        logits: (rows, vocabulary), float32.
        sampling: temperature first, then ``top_k``, then ``top_p`` on what that leaves.
        uniforms: (rows,), float64 in [0, 1); not needed for greedy choice.

    Returns:
        Token ids and log-probabilities in nats, each (rows,).
    """
    if sampling.temperature <= 0 or uniforms is None:
        tokens = logits.argmax(dim=-1)
    else:
        tokens = draw(*limit(logits / sampling.temperature, sampling.top_k, sampling.top_p), uniforms)
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    return tokens, chosen - logits.logsumexp(dim=-1)


def limit(logits: Tensor, top_k: int, top_p: float) -> tuple[Tensor, Tensor | None]:
    """The tokens that may be drawn.

    ``top_k`` keeps the k most probable ones; ``top_p`` the fewest whose probabilities reach p, at least one.

    Returns:
        Probabilities (rows, candidates), float64, not normalised, and the candidates' token ids; None for ids
        means that candidate i is token i.
    """
    vocabulary = logits.shape[1]
    ids: Tensor | None = None
    whole = logits.double().logsumexp(dim=-1, keepdim=True)
    if 0 < top_k < vocabulary:
        logits, ids = logits.topk(top_k, dim=-1)
        whole = logits.double().logsumexp(dim=-1, keepdim=True)
    elif top_p < 1:
        best = logits.topk(min(CANDIDATES, vocabulary), dim=-1)
        enough = bool(((best.values.double() - whole).exp().sum(dim=-1) >= top_p).all())
        logits, ids = best if enough else logits.sort(dim=-1, descending=True)
    probabilities = (logits.double() - whole).exp()
    if top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        outside = before >= top_p
        outside[:, 0] = False
        probabilities = probabilities.masked_fill(outside, 0.0)
    return probabilities, ids


def draw(probabilities: Tensor, ids: Tensor | None, uniforms: Tensor) -> Tensor:
    """The token at which the cumulated probability passes ``uniforms`` of the whole; (rows,)."""
    cumulated = probabilities.cumsum(dim=-1)
    target = (uniforms * cumulated[:, -1])[:, None]
    at = torch.searchsorted(cumulated, target, right=True).clamp(max=cumulated.shape[1] - 1)
    return (at if ids is None else ids.gather(1, at))[:, 0]


def uniforms(seeds: list[int], steps: int) -> Tensor:
    """One row of uniform numbers for each seed: (rows, ``steps``), float64, the same on every machine."""
    rows = [
        torch.rand(steps, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    return torch.stack(rows) if rows else torch.empty(0, steps, dtype=torch.float64)
