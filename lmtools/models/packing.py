"""Texts in rows. Answers to one prompt share a row, [prompt][answer][answer] ..., and see it and themselves.

The prompt is then read once. The price is that attention is computed over the whole row, so a short prompt
before long answers is read again instead.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lmtools.models.answered import Text

PADDING, PROMPT = -1, 0
PAIRS_OF_A_TOKEN = 6
"""A token's matrix products cost about as much as its attention to this many tokens for each unit of width:
24 width^2 against 4 width operations a layer."""


@dataclass(frozen=True)
class Row:
    """A prompt's tokens, and the places in the list of texts of the answers that follow it."""

    prompt: tuple[int, ...]
    members: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded on the right, all (rows, tokens).

    ``part`` is 0 in a prompt, 1, 2 ... in the first, second ... answer, -1 in padding; ``spans`` has, for
    each text, its place in the list of texts, its row, and where its answer begins and ends in it.
    """

    ids: Tensor
    part: Tensor
    positions: Tensor
    spans: tuple[tuple[int, int, int, int], ...]

    @property
    def shared(self) -> bool:
        """Whether a row has more than one answer."""
        return bool(self.part.max() > 1)

    def seen(self) -> Tensor:
        """Whether a token (third axis) sees another (last axis): (rows, 1, tokens, tokens), bool.

        It sees the prompt and its own part, up to itself. Padding sees itself at least, so that no softmax
        is over nothing.
        """
        length = self.part.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=self.part.device).tril()
        keys, queries = self.part[:, None, :], self.part[:, :, None]
        return (((keys == PROMPT) | (keys == queries)) & before)[:, None]


def rows(texts: Sequence[Text], width: int, most: int, *, share: bool) -> list[Row]:
    """Every text in a row, the longest row first.

    Args:
        texts: prompts and answers.
        width: the model's hidden size, on which it depends what sharing a prompt is worth.
        most: tokens of a row with more than one answer.
        share: whether answers may share a row at all.
    """
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    found: list[tuple[list[int], int]] = []
    last: dict[tuple[int, ...], int] = {}
    for at in order:
        text = texts[at]
        here = last.get(text.prompt) if share else None
        if here is not None:
            members, length = found[here]
            if length + len(text.answer) <= most and worth_sharing(text, length, width):
                found[here] = ([*members, at], length + len(text.answer))
                continue
        last[text.prompt] = len(found)
        found.append(([at], len(text)))
    made = [Row(texts[members[0]].prompt, tuple(members), length) for members, length in found]
    return sorted(made, key=lambda row: -row.length)


def worth_sharing(text: Text, length: int, width: int) -> bool:
    """Whether it costs less to append a text's answer to a row of ``length`` tokens than to read it alone."""
    alone = len(text) ** 2 + PAIRS_OF_A_TOKEN * width * len(text.prompt)
    return 2 * length * len(text.answer) + len(text.answer) ** 2 <= alone


def batches(made: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """Runs of rows, longest first, of at most ``most`` padded tokens or of one row."""
    start = 0
    while start < len(made):
        end = start + max(1, most // made[start].length)
        yield made[start:end]
        start = end


def tensors(some: Sequence[Row], texts: Sequence[Text], device: str) -> Batch:
    """One batch on ``device``."""
    shape = (len(some), max(row.length for row in some))
    ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    part = torch.full(shape, PADDING)
    spans = []
    for at, row in enumerate(some):
        end = opening = len(row.prompt)
        ids[at, :end] = torch.tensor(row.prompt, dtype=torch.long)
        positions[at, :end] = torch.arange(end)
        part[at, :end] = PROMPT
        for number, member in enumerate(row.members, start=1):
            answer = texts[member].answer
            here = slice(end, end + len(answer))
            ids[at, here] = torch.tensor(answer)
            positions[at, here] = torch.arange(opening, opening + len(answer))
            part[at, here] = number
            spans.append((member, at, here.start, here.stop))
            end = here.stop
    return Batch(ids.to(device), part.to(device), positions.to(device), tuple(spans))
