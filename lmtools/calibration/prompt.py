"""A question with its demonstrations, as plain text or through a model's chat template."""

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from lmtools.core.errors import LmtoolsError, ModelError
from lmtools.core.progress import say
from lmtools.models.chat import Message, adds_bos, render
from lmtools.models.files import resolve_without_weights
from lmtools.models.load import load_tokenizer
from lmtools.models.spec import ModelSpec

LETTERS = ascii_uppercase
SEPARATOR = "\n\n"


@dataclass(frozen=True)
class Prompt:
    """What is asked: ``question`` is its text, ``shots`` are the demonstrations before it, (text, answer)."""

    header: str
    shots: tuple[tuple[str, str], ...]
    question: str

    def text(self) -> str:
        r"""Plain few-shot text, without a space at its end.

        >>> Prompt("Capitals.", (("Q: France?\nA:", "Paris"),), "Q: Japan?\nA:").text()
        'Capitals.\n\nQ: France?\nA: Paris\n\nQ: Japan?\nA:'
        """
        shots = [f"{question} {answer}" for question, answer in self.shots]
        return SEPARATOR.join(filter(None, [self.header, *shots, self.question]))

    def messages(self) -> list[Message]:
        """Demonstrations as earlier turns; the header opens the first of the user's."""
        turns = [
            turn
            for question, answer in self.shots
            for turn in (Message("user", question), Message("assistant", answer))
        ]
        first, *following = [*turns, Message("user", self.question)]
        opening = SEPARATOR.join(filter(None, [self.header, first.content]))
        return [Message("user", opening), *following]


def lettered(choices: Sequence[str]) -> str:
    r"""Options as lines.

    >>> lettered(["Paris", "Rome"])
    'A. Paris\nB. Rome'
    """
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=False))


@dataclass(frozen=True)
class Rendering:
    """Prompts to the text that a model continues.

    Without ``chat`` prompts stay plain; ``bos`` is put before them, for models that were trained to see a
    begin-of-sequence token there. ``tokenizer`` is None where a server's model is not known here.
    """

    tokenizer: Any = None
    chat: bool = False
    bos: str = ""

    def text(self, prompt: Prompt) -> str:
        """The whole prompt, as it is tokenised."""
        return render(self.tokenizer, prompt.messages()) if self.chat else self.bos + prompt.text()

    def continuation(self, answer: str) -> str:
        """An answer as the model writes it: after plain text it begins with a space."""
        return answer if self.chat else f" {answer}"

    def count_tokens(self, prompts: Sequence[str]) -> list[int]:
        """The tokens of each prompt; nothing where there is no tokenizer."""
        if self.tokenizer is None or not prompts:
            return []
        return [len(ids) for ids in self.tokenizer(list(prompts), add_special_tokens=False)["input_ids"]]


def open_rendering(spec: ModelSpec, chat: bool) -> Rendering:
    """How prompts are written for a model; loads its tokenizer, but no weights.

    A server's model need not be known here: its plain prompts are then sent as they are.

    Raises:
        ModelError: ``chat``, and the model has no chat template; or it cannot be found.
    """
    try:
        tokenizer = load_tokenizer(spec, resolve_without_weights(spec))
    except LmtoolsError as error:
        if chat or spec.backend != "server":
            raise
        say(f"note: no tokenizer of {spec.name} here: prompts have no begin-of-sequence token ({error})")
        return Rendering()
    if not chat:
        return Rendering(tokenizer, bos=str(tokenizer.bos_token or "") if adds_bos(tokenizer) else "")
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            f"{spec.name} has no chat template", fix="set chat=false, for plain few-shot prompts"
        )
    return Rendering(tokenizer, chat=True)
