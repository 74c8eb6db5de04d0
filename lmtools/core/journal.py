"""The journal: an append-only JSONL file with one record per finished unit of work.

It is what a run is resumed from. A process killed while it writes leaves at most a torn last line, which is
cut off when the journal is opened again: that unit of work is simply done once more.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

from lmtools.core.errors import RunError
from lmtools.core.files import cannot_write
from lmtools.core.stored import MALFORMED, describe, parse_json
from lmtools.core.strings import well_formed

T = TypeVar("T")
SYNC_SECONDS = 2.0
"""Longest stretch of work that a power cut (not a kill) can cost."""


class Journal:
    """A dictionary on disk to which entries are only ever added.

    Args:
        path: the JSONL file; made, with its folder, if absent.
        writable: whether appends reach the file. A process beside the one that writes keeps them in memory.

    Raises:
        RunError: a line other than the last is broken.
        MachineError: the file cannot be written to.
    """

    def __init__(self, path: Path, writable: bool = True) -> None:
        self.path = path
        self._entries: dict[str, dict[str, Any]] = {}
        self._file: int | None = None
        self._synced = time.monotonic()
        data = path.read_bytes() if path.exists() else b""
        self._size = self._read(data)
        if writable:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
                os.ftruncate(self._file, self._size)
                os.lseek(self._file, self._size, os.SEEK_SET)
            except OSError as error:
                raise cannot_write(path, error) from error

    def _read(self, data: bytes) -> int:
        """Take in the records of ``data``; returns the offset after the last whole one."""
        offset = 0
        for number, line in enumerate(data.splitlines(keepends=True), start=1):
            last = offset + len(line) == len(data)
            record = _parse(line)
            if record is None:
                if last:
                    return offset
                raise RunError(
                    f"{self.path}:{number}: not a journal record, though it is not the last line",
                    fix=f"delete line {number}; the work it recorded is then done again",
                )
            key, value = record
            if key in self._entries:
                raise RunError(
                    f"{self.path}:{number}: {key!r} is recorded twice", fix=f"delete line {number}"
                )
            self._entries[key] = value
            offset += len(line)
        return offset

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def keys(self) -> list[str]:
        """The keys, in the order in which the work was finished."""
        return list(self._entries)

    def get(self, key: str) -> dict[str, Any] | None:
        """What was recorded under ``key``, or None where that work is still to be done."""
        return self._entries.get(key)

    def read(self, key: str, parse: Callable[[dict[str, Any]], T]) -> T:
        """What ``parse`` makes of the record under ``key``.

        Raises:
            RunError: the record is not what this version writes there.
        """
        try:
            return parse(self._entries.get(key) or {})
        except MALFORMED as error:
            raise RunError(
                f"{self.path}: the record {key!r} is damaged: {describe(error)}",
                fix="delete its line; the work it recorded is then done again",
            ) from error

    def append(self, key: str, value: dict[str, Any]) -> None:
        """Record a finished unit of work; after return it survives a kill of this process.

        Raises:
            ValueError: ``key`` is recorded already, or ``value`` holds NaN or an infinity.
            MachineError: the disk is full or gone; the journal is left as it was.
        """
        if key in self._entries:
            raise ValueError(f"{key!r} is in the journal already")
        # ASCII keeps lone surrogates and line separators of other alphabets out of the file.
        line = json.dumps({"key": key, "value": value}, allow_nan=False).encode("ascii") + b"\n"
        if self._file is not None:
            self._write(self._file, line)
        # What a later process would read, so that resumed and uninterrupted runs see the same types.
        self._entries[key] = _writable(json.loads(line)["value"])

    def _write(self, file: int, line: bytes) -> None:
        try:
            rest = line
            while rest:
                rest = rest[os.write(file, rest) :]
            self._size += len(line)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(file)
                self._synced = time.monotonic()
        except OSError as error:
            os.ftruncate(file, self._size)
            os.lseek(file, self._size, os.SEEK_SET)
            raise cannot_write(self.path, error) from error

    def close(self) -> None:
        """Bring everything to the disk and let go of the file; reading stays possible."""
        if self._file is not None:
            os.fsync(self._file)
            os.close(self._file)
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parse(line: bytes) -> tuple[str, dict[str, Any]] | None:
    """A line's key and value; None for anything that is not a whole record."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or record.keys() != {"key", "value"}:
        return None
    key, value = record["key"], record["value"]
    if not isinstance(key, str) or not isinstance(value, dict):
        return None
    return key, _writable(value) if b"\\ud" in line else value


def _writable(value: Any) -> Any:
    """``value`` with every text in it as a file of UTF-8 can hold it, which JSON's escapes go beyond."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, list):
        return [_writable(item) for item in value]
    if isinstance(value, dict):
        return {well_formed(name): _writable(item) for name, item in value.items()}
    return value
