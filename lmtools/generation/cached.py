"""A generator that asks each question once: completions and scores are kept on disk, by content.

    generator = Cached(HfGenerator(spec), cache_dir("generations", "model.sqlite"))

The key of a completion is the generator's identity, the prompt, the sampling parameters and the sample's
index, so that ten samples never collapse into one.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmtools.core.files import sha256_text
from lmtools.core.sqlite_store import KeyedTable
from lmtools.generation.protocol import Completion, Generator, Sampling, by_prompt, draws


def key_of(*parts: Any) -> str:
    """The key of a request: the SHA-256 of its parts as JSON."""
    return sha256_text(json.dumps(parts, sort_keys=True))


class Store:
    """Values that JSON can write, each under its key, in one SQLite file.

    Raises:
        MachineError: the file cannot be written or is no such store.
    """

    def __init__(self, path: Path) -> None:
        self._table = KeyedTable(path, "generations", "answers", "TEXT")

    def answers(
        self, keys: Sequence[Sequence[str]], compute: Callable[[list[int]], list[list[Any]]]
    ) -> list[list[Any]]:
        """The value of every key, row by row; rows that lack one are computed, equal rows once.

        Args:
            keys: rows of keys; what one row asks for is computed together.
            compute: indices of rows to their values, one list a row.
        """
        values = self._read([key for row in keys for key in row])
        lacking: dict[tuple[str, ...], int] = {}
        for at, row in enumerate(keys):
            if not all(key in values for key in row):
                lacking.setdefault(tuple(row), at)
        missing = list(lacking.values())
        if missing:
            new = {
                key: value
                for at, new_values in zip(missing, compute(missing), strict=True)
                for key, value in zip(keys[at], new_values, strict=True)
                if key not in values
            }
            self._write(new)
            values |= new
        return [[values[key] for key in row] for row in keys]

    def _read(self, keys: Sequence[str]) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._table.read(keys).items()}

    def _write(self, values: dict[str, Any]) -> None:
        self._table.write((key, json.dumps(value)) for key, value in values.items())


class Cached:
    """``generator`` behind an SQLite file, which several processes may use at once.

    A prompt is passed on when any of its samples is missing. Sample j depends on (prompt, sampling, j) alone,
    so what is then computed again is what was stored.

    Raises:
        MachineError: the file cannot be written or is no such cache.
    """

    def __init__(self, generator: Generator, path: Path) -> None:
        self._generator, self._store = generator, Store(path)

    @property
    def identity(self) -> str:
        """That of the generator behind."""
        return self._generator.identity

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt, from the cache where it has them."""
        needed = range(draws(sampling, samples))
        parameters = asdict(sampling if sampling.temperature > 0 else replace(sampling, seed=0))
        keys = [
            [self._key("generate", prompt, parameters, sample) for sample in needed] for prompt in prompts
        ]

        def compute(missing: list[int]) -> list[list[Any]]:
            answers = self._generator.generate([prompts[at] for at in missing], sampling, len(needed))
            return [[asdict(completion) for completion in group] for group in answers]

        rows = [_completion(value) for group in self._store.answers(keys, compute) for value in group]
        return by_prompt(rows, len(prompts), samples)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens, from the cache where it has them."""
        keys = [[self._key("score", *pair)] for pair in pairs]

        def compute(missing: list[int]) -> list[list[Any]]:
            return [[row] for row in self._generator.score([pairs[at] for at in missing])]

        return [tuple(value) for [value] in self._store.answers(keys, compute)]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of the options as the next token, from the cache where it has all of a prompt."""
        if not options:
            return [() for _ in prompts]
        keys = [[self._key("options", prompt, option) for option in options] for prompt in prompts]

        def compute(missing: list[int]) -> list[list[Any]]:
            return [list(row) for row in self._generator.options([prompts[at] for at in missing], options)]

        return [tuple(values) for values in self._store.answers(keys, compute)]

    def close(self) -> None:
        """Close the generator behind."""
        self._generator.close()

    def _key(self, *parts: Any) -> str:
        return key_of(self.identity, *parts)


def _completion(value: dict[str, Any]) -> Completion:
    return Completion(value["text"], tuple(value["tokens"]), tuple(value["logprobs"]), value["finish"])
