"""The passages a retriever searches: in memory, or a JSONL file read by position and never loaded whole.

A file costs 16 bytes of memory per passage, most of them mapped: where its line begins, its place by id.
"""

import hashlib
import mmap
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from lmtools.core.errors import DataError
from lmtools.core.files import sha256_file
from lmtools.data.records import Passage
from lmtools.retrieval.index_cache import cached


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
    """A corpus from a JSONL file or from passages.

    Raises:
        DataError: no passage at all, an id used twice, or a line of the file that is no passage.
    """
    return FileCorpus(source) if isinstance(source, Path) else MemoryCorpus(source)


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
            digest.update(passage.model_dump_json().encode("utf-8", "surrogatepass") + b"\n")
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
        try:
            self.identity = sha256_file(path)
            with path.open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError as error:  # mmap's word for a file of no bytes
            raise _empty(path) from error
        except OSError as error:
            raise DataError(
                f"cannot read the corpus {path}: {error.strerror or error}",
                fix="name a JSONL file that exists",
            ) from error
        self._offsets, self._order = cached(
            f"corpus-{self.identity[:32]}", partial(_build_tables, path), _load_tables
        )
        self.rank = inverse(self._order)

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


def _empty(path: Path) -> DataError:
    return DataError(f"{path}: the corpus is empty", fix="give it at least one passage")


def _build_tables(path: Path, folder: Path) -> None:
    """Write where every line begins (offsets.npy) and the positions sorted by id (order.npy)."""
    offsets, ids = _scan(path)
    if not ids:
        raise _empty(path)
    order = id_order(ids)
    for before, after in pairwise(order):
        if ids[before] == ids[after]:
            raise _broken(path, int(after) + 1, f"the id {ids[after]!r} is used twice")
    np.save(folder / "offsets.npy", np.array(offsets, dtype=np.int64), allow_pickle=False)
    np.save(folder / "order.npy", order, allow_pickle=False)


def _scan(path: Path) -> tuple[list[int], list[str]]:
    """Byte offset and id of every passage; blank lines are passed over."""
    offsets: list[int] = []
    ids: list[str] = []
    offset = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                try:
                    ids.append(Passage.model_validate_json(line).id)
                except ValidationError as error:
                    first = error.errors()[0]
                    field = ".".join(map(str, first["loc"])) or "line"
                    raise _broken(path, number, f"{field}: {first['msg']}") from error
                offsets.append(offset)
            offset += len(line)
    return offsets, ids


def _broken(path: Path, number: int, fault: str) -> DataError:
    return DataError(
        f"{path}, line {number}: {fault}",
        fix='write every passage as {"id": "...", "title": "...", "text": "..."}; '
        f"`lmtools data check {path}` lists all faults",
    )


def _load_tables(folder: Path) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    offsets = np.load(folder / "offsets.npy", mmap_mode="r", allow_pickle=False)
    order = np.load(folder / "order.npy", mmap_mode="r", allow_pickle=False)
    return np.asarray(offsets), np.asarray(order)
