"""What the language model computed of a set of sequences, on disk: all that fitting a head ever needs.

A folder ``ats/KEY`` of the cache holds one memory-mapped ``.npy`` file a field. Over the N rows (a token of a
sequence that is followed by another, up to the last one before a response token):

    hidden (N, hidden)    wanted (N,): whether the next token is a response's
    max_logit (N,)  log_std (N,)  argmax (N,): where a head's features ask for them

over the n response tokens, in the order of the wanted rows: ``labels`` (n,), their ids, and the fields of
``Summary``; and over the sequences ``rows`` and ``tokens`` (S + 1,), where each one's rows and response
tokens begin. The longest sequence is the first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lmtools.ats.sequences import Marked
from lmtools.ats.summary import BINS, EVEN, FARTHEST, TOP, WIDTH, Summary
from lmtools.core.files import sha256_text

FORMAT = 2
SUMMARY = tuple(field.name for field in fields(Summary))
FROM_LOGITS = ("max_logit", "log_std", "argmax")
Array = NDArray[Any]


@dataclass(frozen=True)
class FeatureCache:
    """The fields of an open cache, by name; see the module. Nothing is read before it is asked for."""

    arrays: Mapping[str, Array]

    def __len__(self) -> int:
        """The number of sequences."""
        return len(self.arrays["rows"]) - 1

    def lengths(self) -> NDArray[np.int64]:
        """The number of rows of each sequence."""
        return np.diff(self.arrays["rows"])

    def counts(self) -> NDArray[np.int64]:
        """The number of response tokens of each sequence."""
        return np.diff(self.arrays["tokens"])

    def of_rows(self, name: str, sequence: int) -> Array:
        """A field of one sequence's rows."""
        start, end = self.arrays["rows"][sequence : sequence + 2]
        return self.arrays[name][start:end]

    def tokens(self, sequences: Sequence[int]) -> NDArray[np.int64]:
        """The places of the response tokens of these sequences, one sequence after the other."""
        starts = self.arrays["tokens"]
        return np.concatenate([np.arange(starts[i], starts[i + 1]) for i in sequences] or [np.arange(0)])

    def of_tokens(self, name: str, sequences: Sequence[int]) -> Array:
        """A field of the response tokens of these sequences, one sequence after the other; a copy."""
        starts, array = self.arrays["tokens"], self.arrays[name]
        parts = [array[starts[i] : starts[i + 1]] for i in sequences]
        return np.concatenate(parts) if parts else array[:0].copy()

    def summary(self, sequences: Sequence[int]) -> Summary:
        """The summaries of the response tokens of these sequences, one sequence after the other."""
        return Summary(**{name: torch.from_numpy(self.of_tokens(name, sequences)) for name in SUMMARY})

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The row of every response token."""
        return np.flatnonzero(self.arrays["wanted"])

    def states(self, tokens: NDArray[np.int64]) -> torch.Tensor:
        """The hidden states that response tokens are predicted from, by the tokens' places."""
        places = self._places[tokens]
        return torch.from_numpy(np.ascontiguousarray(self.arrays["hidden"][places]))


@dataclass(frozen=True)
class SequenceRows:
    """A set of sequences in the order of the cache, and what is known of their rows before any model runs."""

    marked: tuple[Marked, ...]

    @classmethod
    def of(cls, marked: Sequence[Marked]) -> "SequenceRows":
        """In the cache's order, which depends on the sequences alone: long ones first."""
        return cls(tuple(sorted(marked, key=lambda one: (-_rows(one), one.ids, one.response))))

    def known(self) -> dict[str, Array]:
        """The fields that need no model."""
        wanted = [np.array(one.response[1 : _rows(one) + 1]) for one in self.marked]
        following = [np.array(one.ids[1 : _rows(one) + 1]) for one in self.marked]
        return {
            "rows": np.cumsum([0, *map(len, wanted)], dtype=np.int64),
            "tokens": np.cumsum([0, *(int(one.sum()) for one in wanted)], dtype=np.int64),
            "wanted": np.concatenate(wanted),
            "labels": np.concatenate([ids[mask] for ids, mask in zip(following, wanted, strict=True)]).astype(
                np.int64
            ),
        }

    def inputs(self, sequence: int) -> tuple[int, ...]:
        """The tokens of a sequence's rows."""
        one = self.marked[sequence]
        return one.ids[: _rows(one)]


def shapes(known: Mapping[str, Array], hidden: int, dtype: str, from_logits: bool) -> dict[str, Any]:
    """Name -> (shape, type) of the fields that a model fills."""
    rows, tokens = int(known["rows"][-1]), int(known["tokens"][-1])
    wide = {"top": (tokens, len(TOP))} | dict.fromkeys(("log_count", "centre", "variance"), (tokens, BINS))
    found: dict[str, Any] = {"hidden": ((rows, hidden), dtype)}
    found |= {name: (wide.get(name, (tokens,)), "float32") for name in SUMMARY}
    if from_logits:
        found |= {name: ((rows,), "int64" if name == "argmax" else "float32") for name in FROM_LOGITS}
    return found


def cache_key(model: str, sequences: SequenceRows, dtype: str, from_logits: bool) -> str:
    """What decides the content, as one hash: the model by content, every token, and what is kept of each.

    Data, template, layouts and limits all show in the tokens, so that nothing else needs to be named.
    """
    settings = (FORMAT, model, dtype, from_logits, WIDTH, EVEN, FARTHEST, TOP)
    tokens = (f"{one.ids}{[int(mark) for mark in one.response]}" for one in sequences.marked)
    return sha256_text("\n".join([repr(settings), *map(sha256_text, tokens)]))


def open_arrays(folder: Path, names: Sequence[str]) -> dict[str, Array]:
    """The fields in a folder, mapped into memory.

    Raises:
        OSError: a file is missing.
        ValueError: a file is truncated.
    """
    return {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in sorted(names)
    }


def _rows(one: Marked) -> int:
    """Tokens up to the last one that a response token follows."""
    return max(place for place, mark in enumerate(one.response) if mark)
