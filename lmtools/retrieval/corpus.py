"""The passages a retriever searches, the cache that indexes lie in, and how text becomes terms.

A corpus is held in memory, or is a JSONL file read by position and never loaded whole: that costs 16 bytes of
memory per passage, most of them mapped, for where its line begins and its rank by id.
"""

import gzip
import hashlib
import json
import mmap
import os
import re
import shutil
import tempfile
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError, MachineError
from lmtools.core.files import cache_dir, sha256_file, sha256_text
from lmtools.data.records import Passage
from lmtools.data.rows import BOM, iter_records, open_data, read_passages
from lmtools.retrieval.config import Stemmer, StopWords

# Folders of the cache that are either whole or absent, however the process that fills them ends.

T = TypeVar("T")
BLANK = b" \t\r\n"
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


# Text to terms, for both BM25s: lower case, words of two or more letters or digits, no stop words, stems.

WORD = re.compile(r"(?u)\b\w\w+\b")
STOP_WORD_LISTS: dict[StopWords, str] = {
    "en": "STOPWORDS_EN",
    "da": "STOPWORDS_DANISH",
    "de": "STOPWORDS_GERMAN",
    "es": "STOPWORDS_SPANISH",
    "fr": "STOPWORDS_FRENCH",
    "it": "STOPWORDS_ITALIAN",
    "nl": "STOPWORDS_DUTCH",
    "no": "STOPWORDS_NORWEGIAN",
    "pt": "STOPWORDS_PORTUGUESE",
    "ru": "STOPWORDS_RUSSIAN",
    "sv": "STOPWORDS_SWEDISH",
    "tr": "STOPWORDS_TURKISH",
}


def passage_text(passage: Passage) -> str:
    """What is indexed of a passage: its title and its text."""
    return f"{passage.title} {passage.text}"


class TermSplitter:
    """Splits texts into terms; remembers the stems of the words it has seen. One per thread.

    Args:
        stemmer: the name of a Snowball stemmer, or ``none``.
        stopwords: the language of the stop-word list, or ``none``.
    """

    def __init__(self, stemmer: Stemmer = "english", stopwords: StopWords = "en") -> None:
        self._stops = _stop_words(stopwords)
        self._stem = _stem_function(stemmer)
        self._stems: dict[str, str] = {}

    def terms(self, text: str) -> list[str]:
        """The terms of ``text`` in order, repeated as often as they occur."""
        terms = []
        for word in WORD.findall(text.lower()):
            if word in self._stops:
                continue
            stem = self._stems.get(word)
            if stem is None:
                stem = self._stems[word] = self._stem(word)
            terms.append(stem)
        return terms


def _stop_words(language: StopWords) -> frozenset[str]:
    if language == "none":
        return frozenset()
    from bm25s import stopwords

    return frozenset(getattr(stopwords, STOP_WORD_LISTS[language]))


def _stem_function(name: Stemmer) -> Callable[[str], str]:
    if name == "none":
        return lambda word: word
    import Stemmer as snowball

    stem: Callable[[str], str] = snowball.Stemmer(name, 0).stemWord
    return stem
