"""The decoding loop over one batch: rows are prefilled, grow token by token, and leave when complete.

``decode_batch`` is the loop. ``choose`` picks the next token of every row from its logits and one uniform
number of the row's own stream, so that a completion does not depend on the rows that are computed beside it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lmtools.generation.past import Past
from lmtools.generation.protocol import Completion, Sampling

# The next token of every row.

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
    log_total = logits.double().logsumexp(dim=-1, keepdim=True)
    if 0 < top_k < vocabulary:
        logits, ids = logits.topk(top_k, dim=-1)
        log_total = logits.double().logsumexp(dim=-1, keepdim=True)
    elif top_p < 1:
        # Sorting a whole vocabulary for every token is slow, and nearly always its head has the mass.
        best = logits.topk(min(CANDIDATES, vocabulary), dim=-1)
        enough = bool(((best.values.double() - log_total).exp().sum(dim=-1) >= top_p).all())
        logits, ids = best if enough else logits.sort(dim=-1, descending=True)
    probabilities = (logits.double() - log_total).exp()
    if top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        outside = before >= top_p
        outside[:, 0] = False  # the most probable token stays, however small p is
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


# The loop over one batch: rows are prefilled, grow token by token, and leave when they are done.

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
    finished: bool = False

    def add(
        self, token: int, logprob: float, ends: frozenset[int], stop: Sequence[str], decode: Decode
    ) -> None:
        """Append a token and see whether it is the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        if token not in ends and stop:
            self.text = cut_at_stop(self.tokens, stop, decode)
        self.finished = token in ends or self.text is not None or len(self.tokens) >= self.limit

    def restarted(self, prompt: int) -> "Row":
        """The same completion, unwritten, as a continuation of the batch's prompt number ``prompt``."""
        return Row(prompt, self.limit, self.seed)

    def copy_from(self, source: "Row") -> None:
        """Take over what another row has written."""
        self.tokens, self.logprobs, self.text, self.finished = (
            source.tokens,
            source.logprobs,
            source.text,
            source.finished,
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
    last = past.forward(*pad(prompts, device), keep=1)[
        :, 0
    ]  # (prompts, vocabulary): logits of the next token
    # Several completions of a prompt go on from copies of the one row that it was computed in.
    start = torch.tensor([row.prompt for row in rows], device=device)
    if start.tolist() != list(range(len(prompts))):
        past.select(start)
        last = last[start]
    steps = max(row.limit for row in rows)
    # All random numbers at once: step t of a row takes number t of its seed, whatever happened to other rows.
    random = uniforms([row.seed for row in rows], steps).to(device) if sampling.temperature > 0 else None
    running = list(rows)
    for step in range(steps):
        tokens, logprobs = choose(last, sampling, None if random is None else random[:, step])
        for row, token, logprob in zip(running, tokens.tolist(), logprobs.tolist(), strict=True):
            if not row.finished:  # finished rows are computed until they are cut out, and dropped
                row.add(token, logprob, ends, sampling.stop, decode)
        # Rows that are finished are cut out of the past, but not each alone: cutting copies keys and values.
        live = [index for index, row in enumerate(running) if not row.finished]
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
    starts = [at for string in stop if (at := text.find(string)) >= 0]
    return text[: min(starts)] if starts else None
