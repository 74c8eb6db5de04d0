"""`tokens.jsonl`: a dozen texts token by token, with what the head makes of each; for the report.

    {"title", "method", "tokens", "temperature", "before", "after", "top_before", "top_after"}

``title`` is how the text begins, ``method`` the head's name in tables. All others are lists with one value a
token: its text, special tokens included; the temperature that the head predicts for it; the probability of
the very token that stands there, without the head and with it; that of the most probable token, likewise.
Tokens of prompts are predicted by nobody: their values are null.

Probabilities come from the cache's summaries of logits, which are within 0.1 % of the model's own.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lmtools.ats.fit import Fit
from lmtools.ats.heads import TemperatureHead
from lmtools.ats.summary import Summary
from lmtools.ats.train import log_multipliers
from lmtools.core.files import write_jsonl

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
