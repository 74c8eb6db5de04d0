"""Answers on disk, by key: one SQLite file, which several processes may use at once."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lmtools.core.files import sha256_text
from lmtools.core.table import KeyedTable


def key_of(*parts: Any) -> str:
    """The key of a question that JSON can write."""
    return sha256_text(json.dumps(parts, sort_keys=True))


class Store:
    """Values that JSON can write, each under its key.

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
        return {key: json.loads(value) for key, value in self._table.read(keys).items()}

    def _write(self, values: dict[str, Any]) -> None:
        self._table.write((key, json.dumps(value)) for key, value in values.items())
