"""A conversation and its answer as the tokens of a prompt and of an answer, cut to a length."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from lmtools.core.errors import DataError
from lmtools.models.chat import Message, after_answer, end_of_turn, render, render_answer

ANSWER_SHARE = 3, 4
"""The most of ``max_tokens`` that an answer takes."""


@dataclass(frozen=True)
class Answered:
    """A conversation that ends with the user's turn, and an answer to it."""

    turns: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class Text:
    """Token ids of a prompt and of the answer that follows it, its end marker included."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Texts:
    """Texts in the order they were given in, and how many of them lost tokens to the length limit."""

    texts: tuple[Text, ...]
    cut: int


def tokenised(tokenizer: Any, answered: Sequence[Answered], max_tokens: int) -> Texts:
    """Prompts and answers, tokenised apart, so that a prompt has the same tokens whatever answers it.

    Raises:
        DataError: an answer is empty.
        ModelError: the chat template refuses a conversation.
    """
    for item in answered:
        if not item.answer.strip():
            asked = item.turns[-1].content[:60] if item.turns else ""
            raise DataError(
                f"the answer to {asked!r} is empty", fix="give every answer some text, or leave the pair out"
            )
    prompt_of = cache(lambda turns: render(tokenizer, turns))
    prompts = [prompt_of(item.turns) for item in answered]
    answers = [render_answer(tokenizer, item.turns, item.answer) for item in answered]
    endings = (after_answer(tokenizer), end_of_turn(tokenizer))
    ids = _encode(tokenizer, [*prompts, *answers, *endings])
    texts, cut = [], 0
    for prompt, answer in zip(prompts, answers, strict=True):
        end = next((end for end in endings if end and answer.endswith(end)), "")
        text = shorten(ids[prompt], ids[answer], ids.get(end, ()), max_tokens)
        cut += len(text) < len(ids[prompt]) + len(ids[answer])
        texts.append(text)
    return Texts(tuple(texts), cut)


def shorten(prompt: tuple[int, ...], answer: tuple[int, ...], end: tuple[int, ...], max_tokens: int) -> Text:
    """A text of at most ``max_tokens`` tokens.

    The answer keeps its first tokens and its ``end``, 3/4 of ``max_tokens`` at most; the prompt its last
    tokens, as many as there is room for.
    """
    if len(prompt) + len(answer) <= max_tokens:
        return Text(prompt, answer)
    share, whole = ANSWER_SHARE
    most = max(1, max_tokens * share // whole)
    if len(answer) > most:
        end = end[: most - 1]  # something of the answer itself stays
        answer = answer[: most - len(end)] + end
    room = max_tokens - len(answer)
    return Text(prompt[max(0, len(prompt) - room) :], answer)


def _encode(tokenizer: Any, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Text -> its token ids, without special tokens added."""
    different = list(dict.fromkeys(texts))
    found = tokenizer(different, add_special_tokens=False)["input_ids"]
    return {text: tuple(ids) for text, ids in zip(different, found, strict=True)}
