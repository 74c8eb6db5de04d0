"""Instructions as token sequences in which the response tokens are marked: what a head is fitted on.

A head learns the look of the text it is fitted on. ``chat`` shows one conversation at a time in the model's
own markup; the plain layouts show several instructions one after the other, as few-shot prompts do. Name
those that the calibrated model will meet; sequences take turns among them.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmtools.core.errors import DataError
from lmtools.data.records import Instruction
from lmtools.models.chat import Message, adds_bos, end_of_turn, render

Layout = Literal["chat", "question-answer", "q-a", "instruction-response", "answer", "bare"]
PLAIN: dict[str, tuple[str, str]] = {
    "question-answer": ("Question: {}\nAnswer:", " "),
    "q-a": ("Q: {}\nA:", " "),
    "instruction-response": ("Instruction: {}\nResponse:", " "),
    "answer": ("{}\nAnswer:", " "),
    "bare": ("{}\n", ""),
}
"""Text before a response, and what stands between the two; a line end closes it, an empty line follows."""


@dataclass(frozen=True)
class MarkedSequence:
    """Token ids of one sequence; ``response`` says of each whether it is part of a response."""

    ids: tuple[int, ...]
    response: tuple[bool, ...]


@dataclass(frozen=True)
class Sequences:
    """All sequences, and how many instructions lost their end to the length limit."""

    marked: tuple[MarkedSequence, ...]
    cut: int


def sequences(
    tokenizer: Any, instructions: Sequence[Instruction], layouts: Sequence[Layout], max_tokens: int, seed: int
) -> Sequences:
    """Every instruction once, in an order drawn by ``seed``; each sequence is in one layout.

    Chat gets one instruction a sequence. A plain layout gets as many as fit in ``max_tokens``, after the mark
    of a text's beginning where the tokenizer writes one.

    Raises:
        DataError: no response begins within ``max_tokens``.
    """
    order = list(instructions)
    draw = random.Random(seed)
    draw.shuffle(order)
    marked: list[MarkedSequence] = []
    cut = 0
    opening = [int(tokenizer.bos_token_id)] if adds_bos(tokenizer) else []
    while order:
        layout = draw.choice(list(layouts))
        ids: list[int] = [] if layout == "chat" else list(opening)
        response: list[bool] = [False] * len(ids)
        start = len(ids)
        while order:
            piece = _piece(tokenizer, layout, order[-1])
            if len(ids) > start and (layout == "chat" or len(ids) + len(piece.ids) > max_tokens):
                break
            order.pop()
            ids += piece.ids
            response += piece.response
        cut += len(ids) > max_tokens
        ids, response = ids[:max_tokens], response[:max_tokens]
        # The first token has nothing before it to be predicted from.
        if any(response[1:]):
            marked.append(MarkedSequence(tuple(ids), tuple(response)))
    if not marked:
        raise DataError(
            f"no response begins within data.max_tokens={max_tokens} tokens",
            fix="raise data.max_tokens, or give shorter prompts",
        )
    return Sequences(tuple(marked), cut)


def _piece(tokenizer: Any, layout: Layout, instruction: Instruction) -> MarkedSequence:
    """One instruction: prompt, response with what ends it, and what stands before the next."""
    turns, answer = instruction.split()
    if layout == "chat":
        prompt = render(tokenizer, [Message(turn.role, turn.content) for turn in turns])
        parts = [(prompt, False), (answer + end_of_turn(tokenizer), True)]
    else:
        frame, before = PLAIN[layout]
        question = frame.format("\n".join(turn.content for turn in turns).strip())
        parts = [(question, False), (before + answer.strip(), True), ("\n", True), ("\n", False)]
    ids: list[int] = []
    response: list[bool] = []
    for text, answers in parts:
        new = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids += new
        response += [answers] * len(new)
    return MarkedSequence(tuple(ids), tuple(response))
