"""Features on disk, by key: one SQLite file a model, which several processes may use at once.

Every batch is a transaction of its own: a pass that is killed has lost one batch.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import MachineError
from lmtools.models.answered import Text

KEYS_AT_ONCE = 500  # SQLite's oldest limit on variables in a statement is 999
STORED = np.dtype("<f4")


def key_of(text: Text) -> bytes:
    """The key of a text: a hash of its token ids and of where the answer begins."""
    ids = np.array([len(text.prompt), *text.prompt, *text.answer], dtype="<i8")
    return hashlib.sha256(ids.tobytes()).digest()


class FeatureCache:
    """Rows of ``width`` float32 numbers, each under its key.

    Raises:
        MachineError: the file cannot be written or is no such cache.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._path, self._width = path, width
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(path, error) from error
        with self._open() as store:
            store.execute("PRAGMA journal_mode=WAL")
            store.execute("CREATE TABLE IF NOT EXISTS features (key BLOB PRIMARY KEY, value BLOB NOT NULL)")

    def read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The rows that are there; one of another width counts as absent."""
        found: dict[bytes, NDArray[np.float32]] = {}
        with self._open() as store:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[start : start + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                for key, value in store.execute(
                    f"SELECT key, value FROM features WHERE key IN ({marks})", some
                ):
                    if len(value) == self._width * STORED.itemsize:
                        found[key] = np.frombuffer(value, dtype=STORED).astype(np.float32)
        return found

    def write(self, keys: Sequence[bytes], values: NDArray[np.float32]) -> None:
        """Keep rows (len(keys), width)."""
        rows = [
            (key, row.astype(STORED, copy=False).tobytes()) for key, row in zip(keys, values, strict=True)
        ]
        with self._open() as store:
            store.executemany("INSERT OR REPLACE INTO features VALUES (?, ?)", rows)

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
        f"the cache of features {path} cannot be used: {error}",
        fix=f"free some space, delete {path} if it is damaged, or set LMTOOLS_CACHE to another directory",
    )
