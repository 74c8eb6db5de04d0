"""Folders of the cache that are either whole or absent, however the process that fills them ends."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lmtools.core.errors import MachineError
from lmtools.core.files import sha256_text
from lmtools.core.paths import cache_dir

T = TypeVar("T")
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError)


def content_key(*parts: str) -> str:
    """One hash for everything that decides what an index, or a retriever, gives."""
    return sha256_text("\n".join(parts))


def cached(name: str, build: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """``load`` the cache's index folder ``name``, after ``build`` has filled it where it is missing.

    ``build`` writes into a temporary neighbour, which is renamed once it is complete. A folder that cannot
    be loaded (somebody removed a file, an old disk fault) is built again, once.

    Raises:
        MachineError: the cache cannot be written.
    """
    folder = cache_dir("indexes", name)
    if folder.is_dir():
        try:
            return load(folder)
        except DAMAGED:
            shutil.rmtree(folder, ignore_errors=True)
    build_folder(folder, build)
    return load(folder)


def build_folder(folder: Path, build: Callable[[Path], None]) -> None:
    """Fill a temporary neighbour of ``folder`` and rename it; if another process was first, its result stays.

    Raises:
        MachineError: the parent of ``folder`` cannot be written, or the disk is full.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    except OSError as error:
        raise cannot_cache(folder, error) from error
    try:
        build(temporary)
        _flush_files(temporary)
        _rename(temporary, folder)
    except OSError as error:
        raise cannot_cache(folder, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def cannot_cache(folder: Path, error: OSError) -> MachineError:
    """The message for a cache on a full or read-only disk."""
    return MachineError(
        f"cannot write the index {folder}: {error.strerror or error}",
        fix="free some space, or set LMTOOLS_CACHE to a directory that can be written",
    )


def _rename(temporary: Path, folder: Path) -> None:
    try:
        os.replace(temporary, folder)
    except OSError:
        if not folder.is_dir():
            raise


def _flush_files(folder: Path) -> None:
    """Push the files to the disk, so that the rename is not written before what it names."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
