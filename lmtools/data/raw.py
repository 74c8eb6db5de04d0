"""A data file's bytes: opened with clear errors, decompressed, and what they are if they are not JSONL."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from lmtools.core.errors import DataError
from lmtools.core.near import near_path

BOM = b"\xef\xbb\xbf"
FOREIGN = {
    b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text",
}  # fmt: skip


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """A data file's bytes, decompressed if it is gzipped, whatever its name.

    Raises:
        DataError: it is missing, no file, unreadable or damaged.
    """
    try:
        with path.open("rb") as raw:
            gzipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if gzipped:
                with gzip.open(raw) as stream:
                    yield cast("IO[bytes]", stream)
            else:
                yield raw
    except FileNotFoundError as error:
        raise no_such_file(path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip: {error}", fix="fetch or compress the file again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", fix="give a readable file"
        ) from error


def no_such_file(path: Path) -> DataError:
    """The error for a path where there is no file, with what may be meant."""
    near = near_path(path) or near_path(path, folders=True)
    where = "" if path.parent.is_dir() else f" (there is no folder {path.parent})"
    fix = f"did you mean {near}?" if near else f"check the path; you are in {Path.cwd()}"
    return DataError(f"{path}: no such file{where}", fix=fix)


def read_text(path: Path) -> str:
    """The whole of a text file.

    Raises:
        DataError: as ``open_data`` does, or it is not UTF-8.
    """
    with open_data(path) as stream:
        data = stream.read().removeprefix(BOM)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problem = f"{path}:{line}: byte 0x{data[error.start]:02x} is not UTF-8"
        raise DataError(problem, fix="save the file as UTF-8") from error


def foreign_format(first: bytes) -> str | None:
    """What a file that begins with this line is, if it is not JSONL and that can be told."""
    for magic, name in FOREIGN.items():
        if first.startswith(magic):
            return name
    odd, even = first[1:4:2], first[0:3:2]
    if odd == b"\0\0" != even or even == b"\0\0" != odd:  # without a mark in front
        return "UTF-16 text"
    if first.startswith(b"["):
        return "a JSON array"
    if first.rstrip() == b"{":
        return "JSON spread over several lines"
    cells = max(first.count(b","), first.count(b"\t"))
    return "a CSV or TSV table" if cells and not any(sign in first for sign in (b"{", b"}", b'":')) else None
