"""A generator that asks each question once: completions and scores are kept on disk, by content.

    generator = Cached(HfGenerator(spec), cache_dir("generations", "model.sqlite"))

The key of a completion is the generator's identity, the prompt, the sampling parameters and the sample's
index, so that ten samples never collapse into one.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lmtools.core.errors import MachineError
from lmtools.core.files import sha256_text
from lmtools.generation.protocol import Completion, Generator, Sampling
from lmtools.generation.samples import by_prompt, draws

KEYS_AT_ONCE = 500  # SQLite's oldest limit on variables in a statement is 999


class Cached:
    """``generator`` behind an SQLite file, which several processes may use at once.

    A prompt is passed on when any of its samples is missing. Sample j depends on (prompt, sampling, j) alone,
    so what is then computed again is what was stored.

    Raises:
        MachineError: the file cannot be written or is no such cache.
    """

    def __init__(self, generator: Generator, path: Path) -> None:
        self._generator, self._path = generator, path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        with self._open() as store:
            store.execute("PRAGMA journal_mode=WAL")
            store.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    @property
    def identity(self) -> str:
        """That of the generator behind."""
        return self._generator.identity

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt, from the cache where it has them."""
        needed = range(draws(sampling, samples))
        asked = asdict(sampling if sampling.temperature > 0 else replace(sampling, seed=0))
        keys = [[self._key("generate", prompt, asked, sample) for sample in needed] for prompt in prompts]

        def compute(missing: list[int]) -> list[list[Any]]:
            answers = self._generator.generate([prompts[at] for at in missing], sampling, len(needed))
            return [[asdict(completion) for completion in group] for group in answers]

        rows = [_completion(value) for group in self._answers(keys, compute) for value in group]
        return by_prompt(rows, len(prompts), samples)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens, from the cache where it has them."""
        keys = [[self._key("score", *pair)] for pair in pairs]

        def compute(missing: list[int]) -> list[list[Any]]:
            return [[row] for row in self._generator.score([pairs[at] for at in missing])]

        return [tuple(value) for [value] in self._answers(keys, compute)]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Log-probabilities of the options as the next token, from the cache where it has all of a prompt."""
        if not options:
            return [() for _ in prompts]
        keys = [[self._key("options", prompt, option) for option in options] for prompt in prompts]

        def compute(missing: list[int]) -> list[list[Any]]:
            return [list(row) for row in self._generator.options([prompts[at] for at in missing], options)]

        return [tuple(values) for values in self._answers(keys, compute)]

    def close(self) -> None:
        """Close the generator behind."""
        self._generator.close()

    def _answers(
        self, keys: Sequence[Sequence[str]], compute: Callable[[list[int]], list[list[Any]]]
    ) -> list[list[Any]]:
        """The value of every key, row by row; rows that lack one are computed, equal rows once."""
        known = self._read([key for row in keys for key in row])
        lacking: dict[tuple[str, ...], int] = {}
        for at, row in enumerate(keys):
            if not all(key in known for key in row):
                lacking.setdefault(tuple(row), at)
        missing = list(lacking.values())
        if missing:
            new = {
                key: value
                for at, values in zip(missing, compute(missing), strict=True)
                for key, value in zip(keys[at], values, strict=True)
                if key not in known
            }
            self._write(new)
            known |= new
        return [[known[key] for key in row] for row in keys]

    def _key(self, *parts: Any) -> str:
        return sha256_text(json.dumps([self.identity, *parts], sort_keys=True))

    def _read(self, keys: Sequence[str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        with self._open() as store:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                found |= store.execute(f"SELECT key, value FROM answers WHERE key IN ({marks})", some)
        return {key: json.loads(value) for key, value in found.items()}

    def _write(self, values: dict[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        with self._open() as store:
            store.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: none outlives a call, so threads and forks are safe."""
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as store, store:
                yield store
        except sqlite3.Error as error:
            raise _unusable(self._path, error) from error


def _completion(value: dict[str, Any]) -> Completion:
    return Completion(value["text"], tuple(value["tokens"]), tuple(value["logprobs"]), value["finish"])


def _unusable(path: Path, error: Exception) -> MachineError:
    return MachineError(
        f"the cache of generations {path} cannot be used: {error}",
        fix=f"free some space, delete {path} if it is damaged, or set LMTOOLS_CACHE to another directory",
    )
