"""Values on disk, by key: a table of an SQLite file, which several processes may use at once.

Every write is a transaction of its own: a process that is killed has lost one. Each value lies beside its
digest: one that has changed since counts as absent. A damaged file is replaced. A line tells of either.
"""

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from lmtools.core.errors import MachineError
from lmtools.core.progress import say

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
"""What is done in one transaction."""
KEYS_AT_ONCE = 500  # SQLite's oldest limit on variables in a statement is 999
SECONDS = 60.0
"""Longest wait for other processes that write."""
TABLE = "digested"
FAILED = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; the second where the message quotes a damaged page."""
DAMAGE = {
    sqlite3.SQLITE_ERROR,  # no such table or column, though the file was opened
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISMATCH,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_IOERR_SHORT_READ,
}


def digest_of(key: bytes, value: bytes) -> bytes:
    """16 bytes that tell whether a value is still what was kept under its key."""
    return hashlib.sha256(key + value).digest()[:16]


class KeyedTable:
    """The values of the file at ``path``.

    Args:
        path: the file; made, with its folder, if absent.
        what: is kept, in messages: ``the cache of WHAT``.

    Raises:
        MachineError: the file cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        self._run(_prepare)

    def read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values that are there and whole, by key."""
        unique = list(dict.fromkeys(keys))
        parts = [unique[start : start + KEYS_AT_ONCE] for start in range(0, len(unique), KEYS_AT_ONCE)]

        def select(store: sqlite3.Connection) -> list[tuple[bytes, bytes, bytes]]:
            return [row for part in parts for row in store.execute(_selection(len(part)), part)]

        rows = self._run(select)
        values = {
            key: value
            for key, value, digest in rows
            if type(key) is type(value) is bytes and digest_of(key, value) == digest
        }
        if damaged := len(rows) - len(values):
            count = f"{damaged} of {len(rows)} values"
            say(f"damaged in the cache of {self._what} {self._path}, and made again: {count}")
        return values

    def write(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Keep (key, value) rows, in place of what is there."""
        digested = [(key, value, digest_of(key, value)) for key, value in rows]
        self._run(lambda store: store.executemany(f"REPLACE INTO {TABLE} VALUES (?, ?, ?)", digested))

    def _run(self, work: Work[T]) -> T:
        """``work`` in a transaction; once more, with an empty file, where the file is damaged."""
        try:
            try:
                return self._transaction(work)
            except FAILED as error:
                if not self._is_damage(error):
                    raise
                return self._again(work)
        except (*FAILED, OSError) as error:
            raise self._unusable(error) from error

    def _transaction(self, work: Work[T]) -> T:
        """On a connection of its own: none outlives a call, so threads and forks are safe."""
        with closing(sqlite3.connect(self._path, timeout=SECONDS)) as store, store:
            store.text_factory = bytes  # a damaged value may claim to be text, and not be UTF-8
            return work(store)

    def _is_damage(self, error: Exception) -> bool:
        if isinstance(error, UnicodeDecodeError):
            return True
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
        # A flipped bit of the header says that only later versions may write.
        refused = code & 0xFF == sqlite3.SQLITE_READONLY
        writable = os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)
        return code in DAMAGE or code & 0xFF in DAMAGE or (refused and writable)

    def _again(self, work: Work[T]) -> T:
        """``work`` on an empty file in place of a damaged one, unless another process has put one there."""
        from filelock import FileLock

        with FileLock(f"{self._path}.lock"):
            try:
                self._transaction(_prepare)
                return self._transaction(work)
            except FAILED as error:
                if not self._is_damage(error):
                    raise
                say(f"the cache of {self._what} {self._path} is damaged ({error}), and is made again")
            for suffix in ("-wal", "-shm", ""):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            self._transaction(_prepare)
            return self._transaction(work)

    def _unusable(self, error: Exception) -> MachineError:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            fix = "wait for the process that holds it, or set LMTOOLS_CACHE to another directory"
        else:
            fix = f"free some space, make {self._path} writable, or set LMTOOLS_CACHE to another directory"
        return MachineError(f"the cache of {self._what} {self._path} cannot be used: {error}", fix=fix)


def _prepare(store: sqlite3.Connection) -> None:
    store.execute("PRAGMA journal_mode=WAL")
    store.execute(
        f"CREATE TABLE IF NOT EXISTS {TABLE} "
        "(key BLOB PRIMARY KEY, value BLOB NOT NULL, digest BLOB NOT NULL)"
    )


def _selection(keys: int) -> str:
    marks = ",".join("?" * keys)
    return f"SELECT key, value, digest FROM {TABLE} WHERE key IN ({marks})"
