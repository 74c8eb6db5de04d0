"""How good each method is on held-out tokens: loss, NLL, calibration error of the top choice, multiplier."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.ats.baselines import InChunks
from lmtools.ats.cache import Summary
from lmtools.ats.fit import Fit
from lmtools.ats.heads import TemperatureHead
from lmtools.ats.losses import Objective
from lmtools.ats.train import log_multipliers
from lmtools.calibration.scoring import UNCALIBRATED
from lmtools.core.arrays import Floats
from lmtools.core.files import write_jsonl
from lmtools.core.results import Difference, Row, bootstrap_mean, paired_difference
from lmtools.metrics.calibration_intervals import clustered_ece, clustered_ece_difference


@dataclass(frozen=True)
class TokenScores:
    """What a method makes of n tokens.

    ``means`` are (n,) each and are averaged; ``confidence`` (n,) is the probability of the top choice, and
    ``correct`` (n,) whether that is the right token.
    """

    means: Mapping[str, Floats]
    confidence: Floats
    correct: NDArray[np.bool_]


def of_multipliers(summary: Summary, multiplier: Tensor, objective: Objective, masked: int) -> TokenScores:
    """The scores of multipliers, (n,) one a token.

    Args:
        masked: tokens beside these, see ``Objective``.
    """
    parts, s = InChunks(**vars(summary)), multiplier.double()
    partition = parts.log_partition(s)
    return TokenScores(
        {
            "loss": objective.each(parts, s, masked).numpy(),
            "nll": (partition + s * summary.label).numpy(),
            "multiplier": s.numpy(),
        },
        partition.neg().exp().clamp(max=1).numpy(),
        summary.right.numpy(),
    )


def of_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """NLL, top probability and whether the top choice is right, (k,) each, of logits (k, vocabulary)."""
    chances = logits.float().log_softmax(dim=-1)
    top, choice = chances.max(dim=-1)
    return -chances.gather(1, labels[:, None])[:, 0], top.exp(), choice == labels


def table(
    scores: Mapping[str, TokenScores], clusters: Sequence[int], resamples: int, seed: int
) -> tuple[list[Row], list[Difference]]:
    """A row for each method, and each one's differences from the uncalibrated model.

    Args:
        scores: by method, of the same n tokens; "uncalibrated" is among them.
        clusters: (n,), the sequence of each token: tokens of a sequence are not independent.
    """
    rows, differences = [], []
    base = scores[UNCALIBRATED]
    for name, mine in scores.items():
        metrics = {
            metric: bootstrap_mean(values, clusters, resamples, seed) for metric, values in mine.means.items()
        }
        metrics["token-ece"] = clustered_ece(mine.confidence, mine.correct, clusters, resamples, seed)
        rows.append(Row(name, metrics))
        if name == UNCALIBRATED:
            continue
        for metric, values in mine.means.items():
            if metric in base.means and metric != "multiplier":
                found = paired_difference(values, base.means[metric], clusters, resamples, seed)
                differences.append(Difference.of(name, UNCALIBRATED, metric, found))
        both = (mine.confidence, mine.correct, base.confidence, base.correct)
        found = clustered_ece_difference(*both, clusters, resamples, seed)
        differences.append(Difference.of(name, UNCALIBRATED, "token-ece", found))
    return rows, differences


def joined(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> TokenScores:
    """The scores of groups of tokens, as ``of_logits`` gives them."""
    nll, confidence, correct = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return TokenScores({"nll": nll.double().numpy()}, confidence.double().numpy(), correct.numpy())


# `tokens.jsonl`: a dozen texts token by token, with what the head makes of each; for the report.
#
#     {"title", "method", "tokens", "temperature", "before", "after", "top_before", "top_after"}
#
# ``title`` is how the text begins, ``method`` the head's name in tables. All others are lists with one
# value a token: its text, special tokens included; the temperature that the head predicts for it; the
# probability of the very token that stands there, without the head and with it; that of the most probable
# token, likewise. Tokens of prompts are predicted by nobody: their values are null.
#
# Probabilities come from the cache's summaries of logits, which are within 0.1 % of the model's own.

FILE = "tokens.jsonl"
TEXTS, LONGEST = 12, 400
"""Texts, and tokens of each."""
TITLE = 80
UNFINISHED = "\ufffd"
"""How a tokenizer writes the first bytes of a character whose others are in the next token."""


def write_token_texts(path: Path, found: Fit, method: str, head: TemperatureHead, tokenizer: Any) -> None:
    """Write the file: of the sequences that methods are measured on some long, some short ones."""
    measured = found.setup.split.measured
    chosen = [
        measured[place]
        for place in sorted(set(np.linspace(0, len(measured) - 1, TEXTS).astype(int).tolist()))
    ]
    write_jsonl(path, _lines(found, chosen, method, head, tokenizer))


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text: joined they are the text, spaces and special tokens included.

    The bytes of a character that several tokens share belong to the last of them.
    """
    found: list[str] = []
    start = end = 0  # what is decoded again so that a token is seen after the one before it; what is written
    for place in range(len(ids)):
        before, now = _decoded(tokenizer, ids[start:end]), _decoded(tokenizer, ids[start : place + 1])
        if now.endswith(UNFINISHED) and place + 1 < len(ids):
            found.append("")
            continue
        found.append(now[len(before) :])
        start, end = end, place + 1
    return found


def _lines(
    found: Fit, chosen: Sequence[int], method: str, head: TemperatureHead, tokenizer: Any
) -> Iterator[dict[str, Any]]:
    logs = log_multipliers(head, found.batches(head.config), chosen)
    counts = found.cache.counts()[list(chosen)].tolist()
    for sequence, log in zip(chosen, torch.split(logs, counts), strict=True):
        marked = found.setup.rows.marked[sequence]
        ids = marked.ids[: int(found.cache.lengths()[sequence]) + 1][:LONGEST]
        wanted = [False, *marked.response[1 : len(ids)]]
        columns = {
            name: _placed(values, wanted)
            for name, values in _values(found.cache.summary([sequence]), log).items()
        }
        begins = str(tokenizer.decode(list(ids), skip_special_tokens=True))
        yield {
            "title": " ".join(begins.split())[:TITLE],
            "method": method,
            "tokens": pieces(tokenizer, ids),
            **columns,
        }


def _values(summary: Summary, log: Tensor) -> dict[str, Tensor]:
    """What is told of every response token, (n,) each."""
    summary = Summary(**{name: value.double() for name, value in vars(summary).items()})
    after = log.double().exp()
    found = {"temperature": 1 / after}
    for name, s in (("before", torch.ones_like(after)), ("after", after)):
        partition = summary.log_partition(s)
        found[name] = (-partition - s * summary.label).exp().clamp(max=1)
        found[f"top_{name}"] = (-partition).exp().clamp(max=1)
    return {name: found[name] for name in ("temperature", "before", "after", "top_before", "top_after")}


def _placed(values: Tensor, wanted: Sequence[bool]) -> list[float | None]:
    """The values at the tokens that they belong to, five digits of each."""
    each = iter(values.tolist())
    return [float(f"{next(each):.5g}") if mark else None for mark in wanted]


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
