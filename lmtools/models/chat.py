"""Chat messages to prompt text and to token ids: the one module where a model's markup is applied.

    render(tokenizer, [Message("user", "Which river flows through Paris?")])

The text carries everything the model expects, so it is tokenised without adding special tokens. Prompts and
answers that are read or learnt from (``encode_answers``) are tokenised apart and cut to a length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from lmtools.core.errors import DataError, ModelError

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


def render(tokenizer: Any, messages: Sequence[Message], *, system: str | None = None) -> str:
    """The prompt text of a conversation, up to where the model's answer begins.

    A tokenizer without a chat template (a base model) gets ``render_plain``.

    Args:
        tokenizer: a transformers tokenizer.
        messages: the turns; the last one is the user's.
        system: put in front as a system message, unless the conversation opens with one.

    Raises:
        ModelError: the template refuses the conversation.
    """
    turns = list(messages)
    if system is not None and not (turns and turns[0].role == "system"):
        turns.insert(0, Message("system", system))
    if not getattr(tokenizer, "chat_template", None):
        return render_plain(turns, tokenizer.bos_token or "" if adds_bos(tokenizer) else "")
    return _rendered(tokenizer, turns)


def render_answer(tokenizer: Any, messages: Sequence[Message], answer: str) -> str:
    """The text that follows ``render(tokenizer, messages)`` once the assistant has given ``answer``.

    It is what the chat template writes for that turn, markers included, as in a model's training. Where the
    template writes the conversation before it differently then, it is the answer and ``end_of_turn``.

    Raises:
        ModelError: the template refuses the conversation, or there is no end-of-sequence token.
    """
    if getattr(tokenizer, "chat_template", None):
        prompt = render(tokenizer, messages)
        conversation = _rendered(tokenizer, [*messages, Message("assistant", answer)], generation=False)
        if conversation.startswith(prompt) and len(conversation) > len(prompt):
            return conversation[len(prompt) :]
    return answer + end_of_turn(tokenizer)


def render_plain(messages: Sequence[Message], bos: str = "") -> str:
    r"""A conversation as plain text, for models without markup.

    >>> render_plain([Message("system", "Be brief."), Message("user", "Hi")])
    'Be brief.\n\nUser: Hi\nAssistant:'
    """
    names = {"user": "User", "assistant": "Assistant"}
    system = "".join(f"{turn.content}\n\n" for turn in messages if turn.role == "system")
    turns = "".join(f"{names[turn.role]}: {turn.content}\n" for turn in messages if turn.role != "system")
    return f"{bos}{system}{turns}Assistant:"


def end_of_turn(tokenizer: Any) -> str:
    r"""The text that ends an answer: what a training completion ends with.

    For a chat template it is what the template writes between an answer and the end of the conversation
    (``<|im_end|>``), cut after the token that generation stops at; otherwise the end-of-sequence token.

    Raises:
        ModelError: the tokenizer has no end-of-sequence token.
    """
    eos = tokenizer.eos_token
    if not eos:
        raise ModelError(
            "the tokenizer has no end-of-sequence token", fix="add `eos_token` to its tokenizer_config.json"
        )
    if getattr(tokenizer, "chat_template", None):
        written = _end_written_by_template(tokenizer)
        if written:
            return written
    return str(eos)


def after_answer(tokenizer: Any) -> str:
    r"""All that the chat template writes from an answer to the end of the conversation: ``<|im_end|>\n``.

    Empty without a template, or where it refuses to write a conversation of two turns.
    """
    answer = "lmtoolsanswer"
    try:
        text = _apply(tokenizer, [Message("user", "a"), Message("assistant", answer)], generation=False)
    except Exception:
        return ""
    return text.rpartition(answer)[2]


def end_ids(tokenizer: Any, generation_config: Any = None) -> tuple[int, ...]:
    """Every token id that ends an answer: the model's own list, the tokenizer's, and that of the template."""
    listed = getattr(generation_config, "eos_token_id", None)
    ids = [] if listed is None else list(listed) if isinstance(listed, (list, tuple)) else [listed]
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
        turn = tokenizer(end_of_turn(tokenizer), add_special_tokens=False)["input_ids"]
        ids += turn if len(turn) == 1 else []
    return tuple(sorted({int(id) for id in ids}))


def adds_bos(tokenizer: Any) -> bool:
    """Whether the tokenizer puts a begin-of-sequence token before plain text."""
    ids = tokenizer("a")["input_ids"]
    return bool(ids) and tokenizer.bos_token_id is not None and ids[0] == tokenizer.bos_token_id


def _rendered(tokenizer: Any, turns: list[Message], generation: bool = True) -> str:
    """The template's text. Some templates (Gemma, early Mistral) have no system role: there it opens the
    first user turn."""
    try:
        return _apply(tokenizer, turns, generation)
    except Exception as error:  # jinja2's errors, and whatever a template raises
        if turns and turns[0].role == "system" and len(turns) > 1:
            system, first, *rest = turns
            merged = Message(first.role, f"{system.content}\n\n{first.content}")
            return _rendered(tokenizer, [merged, *rest], generation)
        raise ModelError(f"the model's chat template refuses the conversation: {error}") from error


def _apply(tokenizer: Any, turns: Sequence[Message], generation: bool = True) -> str:
    conversation = [{"role": turn.role, "content": turn.content} for turn in turns]
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=generation))


def _end_written_by_template(tokenizer: Any) -> str:
    """What the template writes right after an answer, if it is a special token; else empty."""
    tail = after_answer(tokenizer).lstrip()
    named = {str(token) for token in tokenizer.all_special_tokens}
    added = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
    specials = sorted(named | added, key=len, reverse=True)
    return next((token for token in specials if tail.startswith(token)), "")


# Prompts and answers as token ids.

ANSWER_SHARE = 3, 4
"""The most of ``max_tokens`` that an answer takes."""


@dataclass(frozen=True)
class AnsweredPrompt:
    """A conversation that ends with the user's turn, and an answer to it."""

    turns: tuple[Message, ...]
    answer: str


@dataclass(frozen=True)
class EncodedAnswer:
    """Token ids of a prompt and of the answer that follows it, its end marker included."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class EncodedAnswers:
    """Encoded answers in the order of the input, and how many of them lost tokens to the length limit."""

    texts: tuple[EncodedAnswer, ...]
    cut: int


def encode_answers(tokenizer: Any, answered: Sequence[AnsweredPrompt], max_tokens: int) -> EncodedAnswers:
    """Prompts and answers, tokenised apart, so that a prompt has the same tokens whatever answers it.

    Raises:
        DataError: an answer is empty.
        ModelError: the chat template refuses a conversation.
    """
    for item in answered:
        if not item.answer.strip():
            question = item.turns[-1].content[:60] if item.turns else ""
            raise DataError(
                f"the answer to {question!r} is empty",
                fix="give every answer some text, or leave the pair out",
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
    return EncodedAnswers(tuple(texts), cut)


def shorten(
    prompt: tuple[int, ...], answer: tuple[int, ...], end: tuple[int, ...], max_tokens: int
) -> EncodedAnswer:
    """A text of at most ``max_tokens`` tokens.

    The answer keeps its first tokens and its ``end``, 3/4 of ``max_tokens`` at most; the prompt its last
    tokens, as many as there is room for.
    """
    if len(prompt) + len(answer) <= max_tokens:
        return EncodedAnswer(prompt, answer)
    numerator, denominator = ANSWER_SHARE
    most = max(1, max_tokens * numerator // denominator)
    if len(answer) > most:
        end = end[: most - 1]  # something of the answer itself stays
        answer = answer[: most - len(end)] + end
    room = max_tokens - len(answer)
    return EncodedAnswer(prompt[max(0, len(prompt) - room) :], answer)


def _encode(tokenizer: Any, texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Text -> its token ids, without special tokens added."""
    unique = list(dict.fromkeys(texts))
    encoded = tokenizer(unique, add_special_tokens=False)["input_ids"]
    return {text: tuple(ids) for text, ids in zip(unique, encoded, strict=True)}
