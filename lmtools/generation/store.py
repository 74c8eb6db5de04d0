"""Answers on disk, by key: one SQLite file, which several processes may use at once."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lmtools.core.errors import MachineError
from lmtools.core.files import sha256_text

KEYS_AT_ONCE = 500  # SQLite's oldest limit on variables in a statement is 999


def key_of(*parts: Any) -> str:
    """The key of a question that JSON can write."""
    return sha256_text(json.dumps(parts, sort_keys=True))


class Store:
    """Values that JSON can write, each under its key.

    Raises:
        MachineError: the file cannot be written or is no such store.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        with self._open() as store:
            store.execute("PRAGMA journal_mode=WAL")
            store.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")

    def answers(
        self, keys: Sequence[Sequence[str]], compute: Callable[[list[int]], list[list[Any]]]
    ) -> list[list[Any]]:
        """The value of every key, row by row; rows that lack one are computed, equal rows once.

        Args:
            keys: rows of keys; what one row asks for is computed together.
            compute: indices of rows to their values, one list a row.
        """
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


def _unusable(path: Path, error: Exception) -> MachineError:
    return MachineError(
        f"the cache of generations {path} cannot be used: {error}",
        fix=f"free some space, delete {path} if it is damaged, or set LMTOOLS_CACHE to another directory",
    )
