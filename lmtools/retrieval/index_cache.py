"""Folders of the cache that are either whole or absent, however the process that fills them ends."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    ``build`` writes into a temporary neighbour, which is renamed once it is complete; of several processes
    one builds and the others wait for it. A folder that cannot be loaded (somebody removed a file, an old
    disk fault) is built again, once.

    Raises:
        MachineError: the cache cannot be written.
    """
    folder = cache_dir("indexes", name)
    if (loaded := _try(folder, load)) is not None:
        return loaded
    with _alone(folder):
        if (loaded := _try(folder, load)) is not None:  # another process was first
            return loaded
        _build_folder(folder, build)
    return load(folder)


def _try(folder: Path, load: Callable[[Path], T]) -> T | None:
    if not folder.is_dir():
        return None
    try:
        return load(folder)
    except DAMAGED:
        return None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder``; without what killed builds left behind."""
    from filelock import FileLock

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise cannot_cache(folder, error) from error
    try:
        for leftover in folder.parent.glob(f".{folder.name}.*.part"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
    finally:
        lock.release()


def _build_folder(folder: Path, build: Callable[[Path], None]) -> None:
    """Fill a temporary neighbour of ``folder`` and let it take the place of what may be there."""
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
        build(temporary)
        _flush_files(temporary)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(temporary, folder)
    except OSError as error:
        raise cannot_cache(folder, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def cannot_cache(folder: Path, error: OSError) -> MachineError:
    """The message for a cache on a full or read-only disk."""
    return MachineError(
        f"cannot write the index {folder}: {error.strerror or error}",
        fix="free some space, or set LMTOOLS_CACHE to a directory that can be written",
    )


def _flush_files(folder: Path) -> None:
    """Push the files to the disk, so that the rename is not written before what it names."""
    for path in folder.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
