"""How good each method is on held-out tokens, and `tokens.jsonl`, which shows a head at work."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lmtools.ats.artefact import Baselines, in_order
from lmtools.ats.baselines import VECTOR
from lmtools.ats.cache import ChunkedSummary, Summary
from lmtools.ats.fit import FitData
from lmtools.ats.heads import TemperatureHead
from lmtools.ats.losses import loss_function
from lmtools.ats.recipe import LossSettings
from lmtools.ats.train import log_multipliers
from lmtools.calibration.scoring import UNCALIBRATED
from lmtools.core.arrays import Floats
from lmtools.core.files import write_jsonl
from lmtools.core.intervals import mean_interval, paired_difference
from lmtools.core.progress import say
from lmtools.core.results import Difference, Row
from lmtools.metrics.calibration_intervals import clustered_ece, clustered_ece_difference
from lmtools.report.sentences import HEADS

# Loss, NLL, calibration error of the top choice and mean multiplier, with intervals clustered by sequence.

VECTOR_TOKENS = 256
"""Tokens whose whole logits are computed at a time."""


def measure_tokens(
    data: FitData, heads: Mapping[str, TemperatureHead], baselines: Baselines
) -> tuple[list[Row], list[Difference]]:
    """A row for every method, on the held-out tokens, or on all where none are held out.

    Args:
        heads: by method, fitted on ``data``; of a scalar that is a baseline too, the head is measured.
    """
    recipe, measured = data.inputs.recipe, data.inputs.split.measured
    if not data.inputs.split.validation:
        say("nothing is held out (data.validation=0): every method is measured on what it was fitted on")
    summary, masked = data.cache.summary(measured), data.masked(measured)
    # What multiplies logits: one number for all tokens, or a head's for each.
    numbers = {UNCALIBRATED: 0.0, **{name: s for name, s in baselines.scalars.items() if name not in heads}}
    logs = {name: torch.full_like(summary.label, value) for name, value in numbers.items()}
    for name, head in heads.items():
        logs[name] = log_multipliers(head, data.batches(head.config), measured)
    scores: dict[str, TokenScores] = {}
    for name, log in logs.items():
        scores[name] = multiplier_scores(summary, log.exp(), recipe.loss, masked)
    # What maps the uncalibrated confidence, and what maps whole logits.
    base = scores[UNCALIBRATED]
    for name, confidence_map in baselines.maps.items():
        scores[name] = TokenScores({}, confidence_map(base.confidence), base.correct)
    if baselines.vector is not None:
        scores[VECTOR] = _vector_scores(data, baselines, measured)
    clusters = np.repeat(np.arange(len(measured)), data.cache.counts()[list(measured)]).tolist()
    ordered = {name: scores[name] for name in in_order(scores)}
    return compare_methods(ordered, clusters, recipe.resamples, recipe.seed)


@dataclass(frozen=True)
class TokenScores:
    """What a method makes of n tokens.

    ``means`` are (n,) each and are averaged; ``confidence`` (n,) is the probability of the top choice, and
    ``correct`` (n,) whether that is the right token.
    """

    means: Mapping[str, Floats]
    confidence: Floats
    correct: NDArray[np.bool_]


def multiplier_scores(
    summary: Summary, multiplier: Tensor, loss: LossSettings, masked: int = 0
) -> TokenScores:
    """The scores of multipliers, (n,) one a token.

    Args:
        masked: tokens beside these, see ``loss_function``.
    """
    chunked, s = ChunkedSummary.of(summary), multiplier.double()
    partition = chunked.log_partition(s)
    return TokenScores(
        {
            "loss": loss_function(loss, masked)(chunked, s).numpy(),
            "nll": (partition + s * summary.label).numpy(),
            "multiplier": s.numpy(),
        },
        partition.neg().exp().clamp(max=1).numpy(),
        summary.right.numpy(),
    )


def _vector_scores(data: FitData, baselines: Baselines, measured: tuple[int, ...]) -> TokenScores:
    """Vector scaling works on whole logits, a few tokens at a time."""
    tokens, labels = data.cache.tokens(measured), torch.from_numpy(data.cache.of_tokens("labels", measured))
    output = data.output
    assert baselines.vector is not None
    vector = baselines.vector.to(str(output.device))
    parts = []
    for start in range(0, len(tokens), VECTOR_TOKENS):
        group = slice(start, start + VECTOR_TOKENS)
        logits = vector(output(data.cache.states(tokens[group])).float())
        parts.append(logit_scores(logits, labels[group].to(logits.device)))
    return joined(parts)


def logit_scores(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """NLL, top probability and whether the top choice is right, (k,) each, of logits (k, vocabulary)."""
    logprobs = logits.float().log_softmax(dim=-1)
    top, choice = logprobs.max(dim=-1)
    return -logprobs.gather(1, labels[:, None])[:, 0], top.exp(), choice == labels


def joined(parts: Sequence[tuple[Tensor, Tensor, Tensor]]) -> TokenScores:
    """The scores of groups of tokens, as ``logit_scores`` gives them."""
    nll, confidence, correct = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
    return TokenScores({"nll": nll.double().numpy()}, confidence.double().numpy(), correct.numpy())


def compare_methods(
    scores: Mapping[str, TokenScores], clusters: Sequence[int], resamples: int, seed: int
) -> tuple[list[Row], list[Difference]]:
    """A row for each method, each one's differences from the uncalibrated model, and the head's from all.

    Args:
        scores: by method, of the same n tokens; "uncalibrated" is among them.
        clusters: (n,), the sequence of each token: tokens of a sequence are not independent.
    """
    rows, differences = [], []
    for name, method in scores.items():
        metrics = {
            metric: mean_interval(values, clusters, resamples, seed, by="text")
            for metric, values in method.means.items()
        }
        metrics["token-ece"] = clustered_ece(
            method.confidence, method.correct, clusters, resamples, seed, by="text"
        )
        rows.append(Row(name, metrics))
    head = next((name for name in HEADS if name in scores), UNCALIBRATED)
    pairs = [(name, UNCALIBRATED) for name in scores]
    pairs += [(head, name) for name in scores if head != UNCALIBRATED]
    for name, other in dict.fromkeys(pair for pair in pairs if pair[0] != pair[1]):
        method, base = scores[name], scores[other]
        for metric, values in method.means.items():
            if metric in base.means and metric != "multiplier":
                difference = paired_difference(
                    values, base.means[metric], clusters, resamples, seed, by="text"
                )
                differences.append(Difference.of(name, other, metric, difference))
        difference = clustered_ece_difference(
            method.confidence,
            method.correct,
            base.confidence,
            base.correct,
            clusters,
            resamples,
            seed,
            by="text",
        )
        differences.append(Difference.of(name, other, "token-ece", difference))
    return rows, differences


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


def write_token_texts(path: Path, data: FitData, method: str, head: TemperatureHead, tokenizer: Any) -> None:
    """Write the file: of the sequences that methods are measured on some long, some short ones."""
    measured = data.inputs.split.measured
    # The cache's order is by length.
    positions = sorted(set(np.linspace(0, len(measured) - 1, TEXTS).astype(int).tolist()))
    chosen = [measured[position] for position in positions]
    write_jsonl(path, _lines(data, chosen, method, head, tokenizer))


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text: joined they are the text, spaces and special tokens included.

    The bytes of a character that several tokens share belong to the last of them.
    """
    texts: list[str] = []
    start = end = 0  # what is decoded again so that a token is seen after the one before it; what is written
    for position in range(len(ids)):
        before, now = _decoded(tokenizer, ids[start:end]), _decoded(tokenizer, ids[start : position + 1])
        if now.endswith(UNFINISHED) and position + 1 < len(ids):
            texts.append("")
            continue
        texts.append(now[len(before) :])
        start, end = end, position + 1
    return texts


def _lines(
    data: FitData, chosen: Sequence[int], method: str, head: TemperatureHead, tokenizer: Any
) -> Iterator[dict[str, Any]]:
    logs = log_multipliers(head, data.batches(head.config), chosen)
    counts = data.cache.counts()[list(chosen)].tolist()
    for sequence, log in zip(chosen, torch.split(logs, counts), strict=True):
        marked = data.inputs.rows.marked[sequence]
        ids = marked.ids[: int(data.cache.lengths()[sequence]) + 1][:LONGEST]
        response = [False, *marked.response[1 : len(ids)]]
        columns = {
            name: _per_token(values, response)
            for name, values in _values(data.cache.summary([sequence]), log).items()
        }
        begins = str(tokenizer.decode(list(ids), skip_special_tokens=True))
        yield {
            "title": " ".join(begins.split())[:TITLE],
            "method": method,
            "tokens": pieces(tokenizer, ids),
            **columns,
        }


def _values(summary: Summary, log: Tensor) -> dict[str, Tensor]:
    """The columns of the response tokens, (n,) each."""
    summary = Summary(**{name: value.double() for name, value in vars(summary).items()})
    after = log.double().exp()
    columns = {"temperature": 1 / after}
    for name, s in (("before", torch.ones_like(after)), ("after", after)):
        partition = summary.log_partition(s)
        columns[name] = (-partition - s * summary.label).exp().clamp(max=1)
        columns[f"top_{name}"] = (-partition).exp().clamp(max=1)
    return {name: columns[name] for name in ("temperature", "before", "after", "top_before", "top_after")}


def _per_token(values: Tensor, response: Sequence[bool]) -> list[float | None]:
    """The values at the tokens that they belong to, five digits of each; of a prompt's token None."""
    following = iter(values.tolist())
    return [float(f"{next(following):.5g}") if mark else None for mark in response]


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
