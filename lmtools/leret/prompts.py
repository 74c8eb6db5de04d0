"""The text a policy reads and writes. Exploring, training, measuring and searching all come through here,
so the tokens a policy is trained on are the tokens it is asked with.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lmtools.core.errors import RunError
from lmtools.core.files import write_json
from lmtools.core.stored import MALFORMED, describe, read_json
from lmtools.models.chat import Message, end_of_turn

SYSTEM = "You write search queries."
FIRST = "Write a search query that finds the passages needed to answer the question."
LATER = "Write a search query that finds the passages still missing to answer the question."
ANSWER = "Answer the question from the passages, in as few words as possible."

Render = Callable[[Sequence[Message]], str]
"""Chat messages to prompt text with the generation prompt at its end."""


@dataclass(frozen=True)
class PassageText:
    """A passage as the policy sees it."""

    title: str
    text: str


@dataclass(frozen=True)
class Demonstration:
    """A worked example of one hop: what was asked, what was known, and the query that found something."""

    question: str
    passages: tuple[PassageText, ...]
    query: str


@dataclass(frozen=True)
class Prompt:
    """One way to ask for a query: ``zero-shot``, or ``few-shot-N`` with its demonstrations."""

    id: str
    demonstrations: tuple[Demonstration, ...] = ()


ZERO_SHOT = Prompt("zero-shot")


def shorten(title: str, text: str, words: int) -> PassageText:
    """A passage cut to its first ``words`` words."""
    return PassageText(title, " ".join(text.split()[:words]))


def request(question: str, passages: Sequence[PassageText]) -> str:
    """What the user asks: the instruction, what was found so far, the question."""
    if not passages:
        return f"{FIRST}\n\nQuestion: {question}"
    context = "\n".join(f"{passage.title}: {passage.text}" for passage in passages)
    return f"{LATER}\n\n{context}\n\nQuestion: {question}"


def query_messages(prompt: Prompt, question: str, passages: Sequence[PassageText]) -> list[Message]:
    """The conversation whose next turn is the query; demonstrations are earlier turns of it."""
    messages = [Message("system", SYSTEM)]
    for demonstration in prompt.demonstrations:
        messages += [
            Message("user", request(demonstration.question, demonstration.passages)),
            Message("assistant", demonstration.query),
        ]
    return [*messages, Message("user", request(question, passages))]


def answer_messages(question: str, passages: Sequence[PassageText]) -> list[Message]:
    """The conversation whose next turn is the answer."""
    context = "\n".join(f"{passage.title}: {passage.text}" for passage in passages)
    return [Message("system", ANSWER), Message("user", f"{context}\n\nQuestion: {question}")]


def clean_query(text: str) -> str:
    """The query in a completion: its first line that is not empty, without quotation marks around the whole.

    >>> clean_query('"Lund cathedral"'), clean_query('"Lund" or "Oslo"')
    ('Lund cathedral', '"Lund" or "Oslo"')
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    line = lines[0]
    quote, inside = line[0], line[1:-1]
    if len(line) > 1 and quote in "\"'" and line[-1] == quote and quote not in inside:
        return inside.strip()
    return line


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that carries its own markup: nothing is added."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def training_tokens(tokenizer: Any, prompt: str, completion: str) -> tuple[list[int], list[int]]:
    """(prompt ids, completion ids with one end-of-turn token): exactly what generation reads and writes.

    The two are tokenised apart, as they are when a completion is generated.
    """
    end = end_of_turn(tokenizer)
    return encode(tokenizer, prompt), encode(tokenizer, completion.removesuffix(end)) + encode(tokenizer, end)


# `prompts.json`: the few-shot prompts that a run found, for measuring and for reading.


def write_prompts(path: Path, prompts: dict[str, tuple[Prompt, ...]]) -> None:
    """`prompts.json`: the few-shot prompts that a run uses."""
    write_json(path, {stage: [asdict(prompt) for prompt in group] for stage, group in prompts.items()})


def read_prompts(path: Path) -> tuple[Prompt, Prompt] | None:
    """The best few-shot prompts (first hop, later hops) of a run; None where it has none."""
    if not path.is_file():
        return None
    try:
        data = read_json(path)
        if not data.get("first"):
            return None
        return _prompt(data["first"][0]), _prompt(data["later"][0]) if data.get("later") else ZERO_SHOT
    except MALFORMED as error:
        raise RunError(
            f"{path}: no prompts: {describe(error)}", fix="restore the file, or train again"
        ) from error


def _prompt(data: dict[str, list[dict[str, object]] | str]) -> Prompt:
    demonstrations = tuple(
        Demonstration(
            str(demonstration["question"]),
            tuple(PassageText(**passage) for passage in demonstration["passages"]),  # type: ignore[attr-defined]
            str(demonstration["query"]),
        )
        for demonstration in data["demonstrations"]
        if isinstance(demonstration, dict)
    )
    return Prompt(str(data["id"]), demonstrations)
