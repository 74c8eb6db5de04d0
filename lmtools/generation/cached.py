"""A generator that asks each question once: completions and scores are kept on disk, by content.

    generator = Cached(HfGenerator(spec), cache_dir("generations", "model.sqlite"))

The key of a completion is the generator's identity, the prompt, the sampling parameters and the sample's
index, so that ten samples never collapse into one; and all that was asked in the same call. What is computed
beside a prompt decides how a model's numbers are rounded, so an answer is given again among the same prompts
only: the same calls have the same answers to the last bit, whatever calls came before.
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
        MachineError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._table = KeyedTable(path, "generations")

    def answers(
        self, keys: Sequence[Sequence[str]], compute: Callable[[list[int]], list[list[Any]]]
    ) -> list[list[Any]]:
        """The value of every key, row by row. Where one is missing all rows are computed, equal ones once.

        Args:
            keys: rows of keys, as many in each. The values of a column are kept together, under all its keys
                in their order.
            compute: indices of rows to their values, one list a row.
        """
        first = {row: at for at, row in reversed(list(enumerate(map(tuple, keys))))}
        distinct = sorted(first.values())
        columns = [key_of(*column).encode() for column in zip(*(keys[at] for at in distinct), strict=True)]
        values = {column: json.loads(value) for column, value in self._table.read(columns).items()}
        if not all(column in values for column in columns):
            computed = zip(columns, zip(*compute(distinct), strict=True), strict=True)
            new = {column: list(column_values) for column, column_values in computed if column not in values}
            self._table.write((column, json.dumps(value).encode()) for column, value in new.items())
            values |= new
        order = {tuple(keys[at]): position for position, at in enumerate(distinct)}
        return [[values[column][order[tuple(row)]] for column in columns] for row in keys]


class Cached:
    """``generator`` behind an SQLite file, which several processes may use at once.

    Where any sample of any prompt is missing, all prompts of the call are passed on.

    Raises:
        MachineError: the file cannot be written.
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
            [self._key("generate", prompt, parameters, sample, len(needed)) for sample in needed]
            for prompt in prompts
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
