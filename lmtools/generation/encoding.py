"""Texts to token ids and back, for prompts that carry their own markup and must fit a model's context."""

from collections.abc import Sequence
from typing import Any

from lmtools.core.errors import ModelError


class Encoding:
    """A tokenizer, and ``longest``, the length of the model's context in tokens."""

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self._tokenizer, self.longest = tokenizer, longest

    def encode(self, texts: Sequence[str], empty: bool = False) -> list[list[int]]:
        """Token ids of each text, nothing added.

        Raises:
            ModelError: one has no tokens, and they must not be ``empty``.
        """
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        if not empty and not all(encoded):
            raise ModelError("a prompt has no tokens", fix="give every prompt at least one character")
        return encoded

    def one_token(self, option: str) -> int:
        """The token of an option.

        Raises:
            ModelError: it is not exactly one.
        """
        [ids] = self.encode([option], empty=True)
        if len(ids) != 1:
            raise ModelError(
                f"option {option!r} is {len(ids)} tokens for this model, not one",
                fix="use options that are single tokens, such as ' A' or 'A'",
            )
        return ids[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def room(self, ids: Sequence[int], most: int) -> int:
        """How many tokens, up to ``most``, may follow within the context; raises as ``check_length``."""
        self.check_length(ids)
        return min(most, self.longest - len(ids))

    def check_length(self, ids: Sequence[int]) -> None:
        """Whether a prompt leaves room for a token.

        Raises:
            ModelError: it does not.
        """
        if len(ids) >= self.longest:
            raise ModelError(
                f"a prompt has {len(ids)} tokens, and the model's context is {self.longest}",
                fix="shorten the prompts, or use a model with a longer context",
            )
