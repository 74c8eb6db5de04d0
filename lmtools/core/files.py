"""Files that are either whole or absent, hashes of content, and where shipped files and the cache lie.

A file is written under a temporary name, flushed and renamed: whoever reads it sees all of it or none,
however the writing process ends. A full or read-only disk is a ``MachineError`` that names the path.
"""

import errno
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from lmtools.core.errors import MachineError

MAX_NAME = 120
"""Characters of a file's name that is made from a text."""
STALE = 86_400.0
"""Seconds after which nobody writes a temporary file any more."""
REFUSED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}
"""What the system answers where a disk cannot be written to."""
REFUSALS = (
    "No space left", "File too large", "I/O error", "PytorchStreamWriter", "inline_container", "Disk quota",
    "Read-only",
)  # fmt: skip
"""The same in the messages of libraries that raise errors of their own."""
PACKAGE = Path(__file__).resolve().parent.parent
"""The folder of the package ``lmtools``."""


@contextmanager
def atomic_writer(path: Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary neighbour of ``path``; on a clean exit it replaces ``path``, otherwise it is removed.

    Raises:
        MachineError: the directory cannot be written to, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    except OSError as error:
        raise cannot_write(path, error) from error
    temporary = Path(name)
    try:
        encoding = None if "b" in mode else "utf-8"
        with os.fdopen(handle, mode, encoding=encoding, newline=None if "b" in mode else "\n") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise cannot_write(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(path: Path) -> None:
    """Remove the temporary neighbours, a day old, that killed processes left of the file or folder ``path``.

    A younger one may be another process's, which still writes it.
    """
    for part in path.parent.glob(f".{glob.escape(path.name)}.{'?' * 8}.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > STALE:
                shutil.rmtree(part) if part.is_dir() else part.unlink()


def cannot_write(path: Path, error: OSError) -> MachineError:
    """The message for a directory that is read-only, full or missing."""
    return MachineError(
        f"cannot write {path}: {error.strerror or error}",
        fix="free some space, or choose another directory with --out DIR",
    )


def check_output(path: Path | str | None) -> None:
    """Hold ``path`` to be a file that can be written, before the work whose result it is to take.

    Raises:
        MachineError: it is a folder, or lies where nothing can be written.
    """
    if path is None:
        return
    target = Path(path)
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        number = errno.EISDIR if target.is_dir() else errno.EACCES if folder.is_dir() else errno.ENOTDIR
        raise MachineError(f"cannot write {path}: {os.strerror(number)}", fix="name another file")


@contextmanager
def library_writes(folder: Path) -> Iterator[None]:
    """Around a library that writes into ``folder`` itself and raises errors of its own where it cannot.

    Raises:
        MachineError: one of their writes failed.
    """
    try:
        yield
    except OSError as error:
        if error.errno in REFUSED:
            raise cannot_write(folder, error) from error
        raise
    except Exception as error:  # RuntimeError of torch, SafetensorError ...: only their text tells
        text = str(error)
        if type(error).__module__.startswith("lmtools") or not any(words in text for words in REFUSALS):
            raise
        raise cannot_write(folder, OSError(text.splitlines()[0])) from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` in one step."""
    with atomic_writer(path) as stream:
        stream.write(text)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with a final newline, in one step."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Write one JSON object a line, in one step; returns the number of lines."""
    count = 0
    with atomic_writer(path) as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count


def file_name(text: str) -> str:
    """A text as the name of a file in a folder: no part of it is a path, and none is too long.

    >>> file_name("dsp-academy"), file_name("../a b")
    ('dsp-academy', '..%2Fa%20b')
    """
    quoted = quote(text, safe="").replace(".", "%2E") if text.strip(".") == "" else quote(text, safe="")
    return quoted if len(quoted) <= MAX_NAME else f"{quoted[: MAX_NAME - 17]}-{sha256_text(text)[:16]}"


def absolute(path: str) -> str:
    """A path that means in any directory what ``path``, where ``~`` is a home, means here.

    One that no UTF-8 file can hold stays as it is.
    """
    try:
        whole = os.path.abspath(os.path.expanduser(path))
        whole.encode()
    except (OSError, UnicodeEncodeError):  # the working directory is gone, or has such a name
        return path
    return whole


def moved_along(path: str, before: str, now: str) -> str:
    """Where an absolute path is after everything around it was moved, as the folder ``before`` to ``now``."""
    return os.path.normpath(os.path.join(now, os.path.relpath(path, before)))


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """The SHA-256 of a text's UTF-8 bytes (lone surrogates kept), in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


# Where things live: the files shipped with lmtools, and the user's cache.


def bundled(*parts: str) -> Path:
    """A file or folder shipped with lmtools: ``bundled("recipes", "leret")``.

    In a wheel they lie inside the package, in a checkout beside it.
    """
    inside = PACKAGE / "bundled"
    return (inside if inside.is_dir() else PACKAGE.parent).joinpath(*parts)


def cache_dir(*parts: str) -> Path:
    """A folder of the cache: ``$LMTOOLS_CACHE``, else ``$XDG_CACHE_HOME/lmtools``, else ``~/.cache/lmtools``.

    The folder is not created.
    """
    base = os.environ.get("LMTOOLS_CACHE")
    if base:
        return Path(base).expanduser().joinpath(*parts)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).joinpath("lmtools", *parts)
