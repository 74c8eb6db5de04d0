"""A data file's bytes, whatever it is wrapped in: decompressed, as UTF-8 without a mark, with line feeds.

``open_data`` is the one door to data files: gzip and zstd are told by their first bytes, UTF-16 and UTF-32 by
their mark or their zeros, and the line ends of old tables (CR alone) become line feeds. A stream never holds
more than a few blocks, and what breaks on the way is an error that names the file.
"""

import codecs
import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from lmtools.core.errors import DataError
from lmtools.core.strings import near_path

BOM = codecs.BOM_UTF8
BLOCK = 1 << 20
HEAD = 1 << 16
"""Bytes at the start of a file that tell what it is."""
MAX_LINE = 1 << 26
"""The longest line, in bytes: a record's texts have a million characters at most."""
BOMB = (1 << 24, 200)
"""Decompressed bytes, and how many times the compressed ones, that no data come to together."""
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32",  # before UTF-16, whose mark opens it
    codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16",
}  # fmt: skip
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


@contextmanager
def open_data(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a data file as UTF-8, whatever its name, its compression, its encoding, its line ends.

    Raises:
        DataError: it is missing, no file, unreadable or damaged, also while it is read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            what, fix = "a pipe or a device", "write it to a file first"
            if path.is_dir():
                what, fix = "a folder of nothing that is read whole", "name a file in it"
            raise DataError(f"{path}: cannot be read: {what}", fix=fix)
        with io.BufferedReader(io.FileIO(path), HEAD) as raw:
            yield cast("IO[bytes]", _unwrapped(path, raw))
    except FileNotFoundError as error:
        raise no_such_file(path) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip: {error}", fix="fetch or compress the file again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", fix="give a readable file"
        ) from error
    except ValueError as error:
        if "null byte" not in str(error):
            raise
        raise DataError(f"{path}: a NUL character in the path", fix="check the path") from error


def is_plain(path: Path) -> bool:
    """Whether ``open_data`` gives the file's bytes as they are, so that its lines can be found by place."""
    with open_data(path) as stream:
        return isinstance(getattr(stream, "raw", None), io.FileIO) and not stream.tell()


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
        data = stream.read()
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise not_utf8(path, data.count(b"\n", 0, error.start) + 1, data[error.start]) from error


def not_utf8(path: Path, line: int, byte: int) -> DataError:
    """The error for a byte that no UTF-8 has there."""
    return DataError(f"{path}:{line}: byte 0x{byte:02x} is not UTF-8", fix="save the file as UTF-8")


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file with their ends, for tables.

    Raises:
        DataError: as ``read_text`` does, or a line is longer than any record.
    """
    for number, line in byte_lines(path):
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise not_utf8(path, number, line[error.start]) from error


def byte_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their ends, numbered from 1; raises as ``text_lines`` does."""
    number = 0
    with open_data(path) as stream:
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            if len(line) > MAX_LINE:
                problem = f"{path}:{number}: a line of more than {MAX_LINE >> 20} MiB"
                raise DataError(problem, fix="write one record a line; the file may be no text")
            yield number, line


# One layer for each wrapping; what is not wrapped is read as it is.


def _unwrapped(path: Path, raw: "io.BufferedReader[Any]") -> "io.BufferedReader[Any]":
    stream, head = raw, raw.peek(1)
    if head.startswith(GZIP):
        stream = _Layer.over(_limited(path, raw, _gunzipped(raw)))
    elif head.startswith(ZSTD):
        stream = _Layer.over(_limited(path, raw, _unzstd(path, raw)))
    head = stream.peek(1)
    if encoding := _encoding(head):
        stream = _Layer.over(_recoded(path, stream, encoding))
        head = stream.peek(1)
    if head.startswith(BOM):
        stream.read(len(BOM))
    if b"\r" in head[:-1] and b"\n" not in head:
        stream = _Layer.over(block.replace(b"\r", b"\n") for block in _blocks(stream))
    return stream


class _Layer(io.RawIOBase):
    """The bytes of some blocks as a stream."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    @classmethod
    def over(cls, blocks: Iterator[bytes]) -> "io.BufferedReader[Any]":
        return io.BufferedReader(cls(blocks), HEAD)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = block
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def _blocks(stream: Any) -> Iterator[bytes]:
    while block := stream.read(BLOCK):
        yield block


def _gunzipped(raw: "io.BufferedReader[Any]") -> Iterator[bytes]:
    with gzip.open(raw) as stream:
        yield from _blocks(stream)


def _unzstd(path: Path, raw: "io.BufferedReader[Any]") -> Iterator[bytes]:
    import pyarrow as pa

    try:
        yield from _blocks(pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "zstd"))
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: damaged zstd: {error}", fix="fetch or compress the file again") from error


def _limited(path: Path, raw: "io.BufferedReader[Any]", blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks of what was compressed, unless there is far more of them than data compress to."""
    total, (size, ratio) = 0, BOMB
    compressed = os.fstat(raw.fileno()).st_size
    for block in blocks:
        total += len(block)
        if total > max(size, ratio * compressed):
            problem = f"{path}: {compressed:,} compressed bytes come to more than {total:,}: no data do"
            raise DataError(problem, fix="decompress it yourself if it is what it should be")
        yield block


def _encoding(head: bytes) -> str | None:
    """The encoding of two or four bytes a character that a text is in, by its mark or by its zeros."""
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    odd, even = head[1:4:2], head[0:3:2]
    if len(head) >= 4 and b"\0\0" in (odd, even) and odd != even:
        return "utf-16-le" if odd == b"\0\0" else "utf-16-be"
    return None


def _recoded(path: Path, stream: "io.BufferedReader[Any]", encoding: str) -> Iterator[bytes]:
    """The same text in UTF-8. Halves of surrogate pairs stay, and are told where texts are looked at."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    try:
        for block in _blocks(stream):
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        name = encoding.upper().removesuffix("-LE").removesuffix("-BE")
        raise DataError(
            f"{path}: {name} text that is damaged: {error}", fix="save the file as UTF-8"
        ) from error
