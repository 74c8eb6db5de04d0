"""Values on disk, by key: a table of two columns in an SQLite file, which several processes may use at once.

Every write is a transaction of its own: a process that is killed has lost one.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from lmtools.core.errors import MachineError

KEYS_AT_ONCE = 500  # SQLite's oldest limit on variables in a statement is 999


class KeyedTable:
    """A table of the file at ``path``.

    Args:
        path: the file; made, with its folder, if absent.
        what: is kept, in messages: ``the cache of WHAT``.
        name: of the table.
        kind: SQLite's type of keys and values.

    Raises:
        MachineError: the file cannot be written or is no such store.
    """

    def __init__(self, path: Path, what: str, name: str, kind: str) -> None:
        self._path, self._what, self._name = path, what, name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        with self._open() as store:
            store.execute("PRAGMA journal_mode=WAL")
            store.execute(
                f"CREATE TABLE IF NOT EXISTS {self._name} (key {kind} PRIMARY KEY, value {kind} NOT NULL)"
            )

    def read(self, keys: Sequence[Any]) -> dict[Any, Any]:
        """The values that are there, by key."""
        values: dict[Any, Any] = {}
        with self._open() as store:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                batch = keys[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(batch))
                values |= store.execute(f"SELECT key, value FROM {self._name} WHERE key IN ({marks})", batch)
        return values

    def write(self, rows: Iterable[tuple[Any, Any]], *, replace: bool = False) -> None:
        """Keep (key, value) rows; a key that is there keeps its value unless it is to be replaced."""
        how = "REPLACE" if replace else "IGNORE"
        with self._open() as store:
            store.executemany(f"INSERT OR {how} INTO {self._name} VALUES (?, ?)", rows)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: none outlives a call, so threads and forks are safe."""
        try:
            with closing(sqlite3.connect(self._path, timeout=60)) as store, store:
                yield store
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> MachineError:
        return MachineError(
            f"the cache of {self._what} {self._path} cannot be used: {error}",
            fix=f"free some space, delete {self._path} if it is damaged, or set LMTOOLS_CACHE to another "
            "directory",
        )
