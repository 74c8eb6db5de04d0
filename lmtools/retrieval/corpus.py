"""The passages a retriever searches, and the cache that indexes lie in.

A corpus is held in memory, or is a JSONL file read by position and never loaded whole: that costs 16 bytes of
memory per passage, most of them mapped, for where its line begins and its rank by id.
"""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError, MachineError
from lmtools.core.files import cache_dir, sha256_file, sha256_text
from lmtools.core.progress import say
from lmtools.data.records import Passage
from lmtools.data.rows import iter_records, read_passages
from lmtools.data.stream import BOM, is_plain

# Folders of the cache that are either whole or absent, however the process that fills them ends.

T = TypeVar("T")
BLANK = b" \t\r\n"
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, EOFError, RuntimeError)
DIGESTS = "digests.json"
"""The file of an index folder with the SHA-256 of each of the others."""
PART = ".part"


def content_key(*parts: str) -> str:
    """One hash for everything that decides what an index, or a retriever, gives."""
    return sha256_text("\n".join(parts))


def cached(name: str, build: Callable[[Path], None], load: Callable[[Path], T]) -> T:
    """``load`` the cache's index folder ``name``, after ``build`` has filled it where it is missing.

    ``build`` writes into a temporary neighbour, which is renamed once it is complete; of several processes
    one builds and the others wait for it. A folder whose files are not those that were written (somebody
    removed one, a disk fault), or that cannot be loaded, is built again, and a line says so.

    Raises:
        MachineError: the cache cannot be written.
    """
    folder = cache_dir("indexes", name)
    if (loaded := _try(folder, load)) is not None:
        return loaded
    with _alone(folder):
        if (loaded := _try(folder, load)) is not None:  # another process was first
            return loaded
        if folder.exists():
            say(f"the index {folder} is damaged, or was made by an older version: it is built again")
        _build_folder(folder, build)
    return load(folder)


def _try(folder: Path, load: Callable[[Path], T]) -> T | None:
    try:
        digests = json.loads((folder / DIGESTS).read_bytes())
        whole = all(sha256_file(folder / file) == digest for file, digest in digests.items())
        return load(folder) if whole else None
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
        _sweep(folder)
        yield
    finally:
        lock.release()


def _sweep(folder: Path) -> None:
    """Remove what killed builds left behind, of any index that nobody builds now.

    The caller holds the lock of ``folder``.
    """
    from filelock import FileLock, Timeout

    for leftover in folder.parent.glob(f".*{PART}"):
        name = leftover.name.removesuffix(PART).rpartition(".")[0]  # .NAME.RANDOM.part
        lock = FileLock(folder.parent / f"{name}.lock", timeout=0)
        try:
            with nullcontext() if name == f".{folder.name}" else lock:
                shutil.rmtree(leftover, ignore_errors=True)
        except (Timeout, OSError):
            continue


def _build_folder(folder: Path, build: Callable[[Path], None]) -> None:
    """Fill a temporary neighbour of ``folder`` and let it take the place of what may be there."""
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=PART))
        build(temporary)
        digests = {path.name: sha256_file(path) for path in temporary.iterdir()}
        (temporary / DIGESTS).write_text(json.dumps(digests), encoding="utf-8")
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


# The corpus.


class Corpus(Protocol):
    """Passages by position, 0 to ``len - 1``, in the order of the file.

    ``identity`` is a hash of the content. ``rank[position]`` is the passage's place in the order of ids
    (compared as strings), int32, shape [n]: what ties are broken by.
    """

    @property
    def identity(self) -> str: ...

    @property
    def rank(self) -> NDArray[np.int32]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> Passage: ...

    def __iter__(self) -> Iterator[Passage]: ...

    def find(self, id: str) -> Passage:
        """The passage of that id.

        Raises:
            DataError: there is none.
        """
        ...


def open_corpus(source: Path | Sequence[Passage]) -> Corpus:
    """A corpus from passages or a JSONL file; one that is no plain text (gzip, UTF-16) is read into memory.

    Raises:
        DataError: no passage at all, an id used twice, or a file that breaks the data contract.
    """
    if not isinstance(source, Path):
        return MemoryCorpus(source)
    return FileCorpus(source) if is_plain(source) else MemoryCorpus(read_passages(source))


class MemoryCorpus:
    """A corpus held in memory."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = tuple(passages)
        ids = [passage.id for passage in self._passages]
        if not ids:
            raise DataError("the corpus is empty", fix="give it at least one passage")
        self._positions = {id: position for position, id in enumerate(ids)}
        if len(self._positions) < len(ids):
            twice = next(id for position, id in enumerate(ids) if self._positions[id] != position)
            raise DataError(f"the corpus has two passages with the id {twice!r}", fix="make the ids unique")
        digest = hashlib.sha256()
        for passage in self._passages:
            digest.update(json.dumps([passage.id, passage.title, passage.text]).encode("ascii") + b"\n")
        self.identity = digest.hexdigest()
        self.rank = inverse(id_order(ids))

    def __len__(self) -> int:
        return len(self._passages)

    def __getitem__(self, position: int) -> Passage:
        return self._passages[position]

    def __iter__(self) -> Iterator[Passage]:
        return iter(self._passages)

    def find(self, id: str) -> Passage:
        try:
            return self._passages[self._positions[id]]
        except KeyError:
            raise unknown_id(id) from None


class FileCorpus:
    """A JSONL file of passages, mapped into memory; checked line by line the first time it is seen."""

    def __init__(self, path: Path) -> None:
        self.identity = sha256_file(path)
        self._offsets, self._order = cached(
            f"corpus-{self.identity[:32]}", partial(_build_tables, path), _load_tables
        )
        self.rank = inverse(self._order)
        with path.open("rb") as stream:
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, position: int) -> Passage:
        start = int(self._offsets[position])
        end = self._bytes.find(b"\n", start)
        return Passage.model_validate_json(self._bytes[start : end if end >= 0 else None])

    def __iter__(self) -> Iterator[Passage]:
        return (self[position] for position in range(len(self)))

    def find(self, id: str) -> Passage:
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            passage = self[int(self._order[middle])]
            if passage.id == id:
                return passage
            low, high = (middle + 1, high) if passage.id < id else (low, middle)
        raise unknown_id(id)


def id_order(ids: Sequence[str]) -> NDArray[np.int32]:
    """Positions sorted by id, as strings."""
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int32)


def inverse(order: NDArray[np.int32]) -> NDArray[np.int32]:
    """The inverse permutation: from positions in order to each position's place."""
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank


def unknown_id(id: str) -> DataError:
    """The message for a passage that is asked for and not there."""
    return DataError(
        f"the corpus has no passage with the id {id!r}", fix="search the corpus that the hit came from"
    )


def _build_tables(path: Path, folder: Path) -> None:
    """Write where every passage begins (offsets.npy) and the positions sorted by id (order.npy)."""
    ids = [passage.id for passage in iter_records(path, Passage)]
    np.save(folder / "offsets.npy", line_offsets(path), allow_pickle=False)
    np.save(folder / "order.npy", id_order(ids), allow_pickle=False)


def line_offsets(path: Path) -> NDArray[np.int64]:
    """The byte at which each line with a record begins: blank lines and a byte order mark are passed over."""
    offsets, offset = array("q"), 0
    with path.open("rb") as stream:
        for line in stream:
            mark = len(BOM) if offset == 0 and line.startswith(BOM) else 0
            if line[mark:].strip(BLANK):
                offsets.append(offset + mark)
            offset += len(line)
    return np.array(offsets, dtype=np.int64)


def _load_tables(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
    order = np.load(folder / "order.npy", mmap_mode="r", allow_pickle=False)
    return np.asarray(offsets), np.asarray(order)
