"""Features on disk, by key: one SQLite file for each model, which several processes may use at once."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lmtools.core.table import KeyedTable
from lmtools.models.answered import Text

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
        self._table, self._width = KeyedTable(path, "features", "features", "BLOB"), width

    def read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The rows that are there; one of another width counts as absent."""
        return {
            key: np.frombuffer(value, dtype=STORED).astype(np.float32)
            for key, value in self._table.read(keys).items()
            if len(value) == self._width * STORED.itemsize
        }

    def write(self, keys: Sequence[bytes], values: NDArray[np.float32]) -> None:
        """Keep rows (len(keys), width)."""
        rows = (row.astype(STORED, copy=False).tobytes() for row in values)
        self._table.write(zip(keys, rows, strict=True), replace=True)
