"""The passages a retriever searches: in memory, or a JSONL file read by position and never loaded whole.

A file costs 16 bytes of memory per passage, most of them mapped: where its line begins, its place by id.
"""

import gzip
import hashlib
import json
import mmap
from array import array
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError
from lmtools.core.files import sha256_file
from lmtools.data.jsonl import iter_records, read_passages
from lmtools.data.raw import BOM, open_data
from lmtools.data.records import Passage
from lmtools.retrieval.index_cache import cached

BLANK = b" \t\r\n"


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
    """A corpus from passages or a JSONL file; a gzipped one, which has no positions, is read into memory.

    Raises:
        DataError: no passage at all, an id used twice, or a file that breaks the data contract.
    """
    if not isinstance(source, Path):
        return MemoryCorpus(source)
    with open_data(source) as stream:
        compressed = isinstance(stream, gzip.GzipFile)
    return MemoryCorpus(read_passages(source)) if compressed else FileCorpus(source)


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
