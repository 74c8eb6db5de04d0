r"""JSONL files in the data contract: one JSON object a line, UTF-8, optionally gzipped.

    questions = read_questions(Path("questions.jsonl"))
    passages = read_passages(Path("corpus.jsonl.gz"))

A file is read to its end before anything is said, and then all its faults are told together. Blank lines and
a byte order mark are skipped. Texts with NUL (``\u0000``), half a surrogate pair (``\ud800``) or more than a
million characters are faults: what comes after would break on them, or change them silently.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from pydantic import BaseModel, ValidationError

from lmtools.core.errors import DataError
from lmtools.data.faults import MAX_TEXT, Faults, explain, near_miss
from lmtools.data.records import Passage, Question

T = TypeVar("T", bound=BaseModel)

BOM = b"\xef\xbb\xbf"
FOREIGN = {
    b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip archive",
    b"\xff\xfe": "UTF-16 text", b"\xfe\xff": "UTF-16 text",
}  # fmt: skip


def read_questions(path: Path) -> list[Question]:
    """The questions of a JSONL file, in order.

    Raises:
        DataError: the file is missing, empty or of another format, or a record breaks the contract.
    """
    return read_records(path, Question)


def read_passages(path: Path) -> list[Passage]:
    """The passages of a JSONL corpus, in order; raises as ``read_questions`` does."""
    return read_records(path, Passage)


def read_records(path: Path, model: type[T]) -> list[T]:
    """All records of a JSONL file; ids, where the model has them, must be unique.

    Raises:
        DataError: the file is missing, empty or of another format, or a record breaks the contract.
    """
    return list(iter_records(path, model))


def iter_records(path: Path, model: type[T]) -> Iterator[T]:
    """The records of a JSONL file one by one, for files larger than memory.

    What is wrong is raised after the last line, so use what was yielded only once the iterator is exhausted.
    """
    faults = Faults(path)
    with_id = "id" in model.model_fields
    count = 0
    for number, line in jsonl_lines(path):
        count += 1
        record = _parse(line, model)
        if record is None:
            faults.add(explain(number, line, model))
            continue
        if with_id:
            faults.see_id(number, record.id)  # type: ignore[attr-defined]
        yield record
    faults.check()
    if not count:
        raise DataError(f"{path}: empty: it holds no record", fix="write one JSON object on each line")


def _parse(line: bytes, model: type[T]) -> T | None:
    """The record of a line, or None where it has a fault (which ``explain`` then finds)."""
    if (b"\\u0000" in line or len(line) > MAX_TEXT) and explain(1, line, model):
        return None
    try:
        return model.model_validate_json(line)
    except ValidationError:
        return None


def jsonl_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something, with their numbers from 1.

    Raises:
        DataError: the file is missing, cannot be read, or starts as no JSONL file does.
    """
    first = True
    with open_data(path) as stream:
        for number, raw in enumerate(stream, start=1):
            line = (raw.removeprefix(BOM) if number == 1 else raw).strip(b" \t\r\n")
            if not line:
                continue
            if first:
                expect_jsonl(path, line)
                first = False
            yield number, line


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
        near = (
            near_miss(path.name, (entry.name for entry in path.parent.glob("*")))
            if path.parent.is_dir()
            else None
        )
        fix = f"did you mean {path.parent / near}?" if near else "check the path"
        raise DataError(f"{path}: no such file", fix=fix) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: damaged gzip: {error}", fix="fetch or compress the file again") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}", fix="give a readable file"
        ) from error


def expect_jsonl(path: Path, first: bytes) -> None:
    """Raises: DataError: the first line shows that the file is of another format; says how to convert it."""
    found = foreign_format(first)
    if found:
        raise DataError(
            f"{path}: {found}, where one JSON object a line (JSONL) is expected",
            fix=f"convert it: lmtools data prepare {path} --to questions|corpus --out FILE.jsonl",
        )


def foreign_format(first: bytes) -> str | None:
    """What a file that begins with this line is, if it is not JSONL and that can be told."""
    for magic, name in FOREIGN.items():
        if first.startswith(magic):
            return name
    if first.startswith(b"["):
        return "a JSON array"
    if first.rstrip() == b"{":
        return "JSON spread over several lines"
    cells = max(first.count(b","), first.count(b"\t"))
    return "a CSV or TSV table" if cells and not any(sign in first for sign in (b"{", b"}", b'":')) else None


def json_object(record: BaseModel) -> dict[str, Any]:
    """A record as the JSON object that reads back as the same record; defaults are left out."""
    return record.model_dump(mode="json", exclude_defaults=True)
