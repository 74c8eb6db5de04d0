"""The decoding loop over one batch: rows are prefilled, grow token by token, and leave when they are done."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmtools.generation.choose import choose, uniforms
from lmtools.generation.past import Past
from lmtools.generation.protocol import Completion, Sampling

Decode = Callable[[Sequence[int]], str]
"""Token ids to text, special tokens left out."""

DROP = 0.8
"""Finished rows are cut out of the batch once no more than this share is still running: cutting copies."""
MARGIN = 4
"""Tokens decoded before those in which a stop string is looked for: decoders treat a first token apart."""


@dataclass
class Row:
    """One completion that is being written."""

    prompt: int
    """Which of the batch's prompts it continues."""
    limit: int
    """The most tokens it may have."""
    seed: int = 0
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    text: str | None = None
    """Set once a stop string ended it."""
    done: bool = False

    def add(
        self, token: int, logprob: float, ends: frozenset[int], stop: Sequence[str], decode: Decode
    ) -> None:
        """Append a token and see whether it is the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token not in ends and stop:
            self.text = cut_at_stop(self.tokens, stop, decode)
        self.done = token in ends or self.text is not None or len(self.tokens) >= self.limit

    def again(self, prompt: int) -> "Row":
        """The same completion, unwritten, as a continuation of the batch's prompt number ``prompt``."""
        return Row(prompt, self.limit, self.seed)

    def take(self, other: "Row") -> None:
        """Take over what another row has written."""
        self.tokens, self.logprobs, self.text, self.done = (
            other.tokens,
            other.logprobs,
            other.text,
            other.done,
        )

    def completion(self, ends: frozenset[int], decode: Decode) -> Completion:
        """What was written."""
        if not self.tokens:
            return Completion("", finish="length")
        ended = self.tokens[-1] in ends
        text = decode(self.tokens[:-1] if ended else self.tokens) if self.text is None else self.text
        finish = "stop" if ended or self.text is not None else "length"
        return Completion(text, tuple(self.tokens), tuple(self.logprobs), finish)


def decode_batch(
    past: Past,
    prompts: Sequence[Sequence[int]],
    rows: Sequence[Row],
    sampling: Sampling,
    ends: frozenset[int],
    decode: Decode,
    device: str,
) -> None:
    """Write all rows to their ends.

    Args:
        past: fresh, for ``len(prompts)`` rows.
        prompts: token ids of each prompt after the shared prefix, none empty; each is computed once.
        rows: the completions to write; several may continue one prompt.
        ends: token ids that end a completion.
    """
    last = past.forward(*pad(prompts, device), keep=1)[:, 0]
    start = torch.tensor([row.prompt for row in rows], device=device)
    if start.tolist() != list(range(len(prompts))):
        past.select(start)
        last = last[start]
    steps = max(row.limit for row in rows)
    random = uniforms([row.seed for row in rows], steps).to(device) if sampling.temperature > 0 else None
    running = list(rows)
    for step in range(steps):
        tokens, logprobs = choose(last, sampling, None if random is None else random[:, step])
        for row, token, logprob in zip(running, tokens.tolist(), logprobs.tolist(), strict=True):
            if not row.done:
                row.add(token, logprob, ends, sampling.stop, decode)
        live = [index for index, row in enumerate(running) if not row.done]
        if not live:
            return
        if len(live) <= DROP * len(running):
            kept = torch.tensor(live, device=device)
            past.select(kept)
            tokens, random = tokens[kept], None if random is None else random[kept]
            running = [running[index] for index in live]
        new = tokens[:, None]
        last = past.forward(new, torch.ones_like(new, dtype=torch.bool), keep=1)[:, 0]


def pad(sequences: Sequence[Sequence[int]], device: str) -> tuple[Tensor, Tensor]:
    """Left-padded token ids and their validity, each (rows, longest)."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[0] * (width - len(sequence)) + list(sequence) for sequence in sequences])
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    valid = torch.arange(width)[None, :] >= width - lengths[:, None]
    return ids.to(device), valid.to(device)


def cut_at_stop(tokens: Sequence[int], stop: Sequence[str], decode: Decode) -> str | None:
    """The text before the first stop string, if the last token completed one; else None.

    A stop string may span tokens and begin or end inside one. A token is at least one byte, so the string
    lies within as many last tokens as it has bytes; only those are decoded at first.
    """
    window = max(len(string.encode()) for string in stop) + MARGIN
    tail = decode(tokens[-window:])
    if not any(string in tail for string in stop):
        return None
    text = decode(tokens)
    found = [at for string in stop if (at := text.find(string)) >= 0]
    return text[: min(found)] if found else None
