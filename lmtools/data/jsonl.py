r"""JSONL files in the data contract: one JSON object a line, UTF-8, optionally gzipped.

    questions = read_questions(Path("questions.jsonl"))
    passages = read_passages(Path("corpus.jsonl.gz"))

A file is read to its end before anything is said, and then all its faults are told together. Blank lines and
a byte order mark are skipped. Texts with NUL (``\u0000``), half a surrogate pair (``\ud800``) or more than a
million characters are faults: what comes after would break on them, or change them silently.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lmtools.core.errors import DataError
from lmtools.data.explain import MAX_TEXT, explain
from lmtools.data.faults import Faults
from lmtools.data.raw import BOM, foreign_format, open_data
from lmtools.data.records import Passage, Question

T = TypeVar("T", bound=BaseModel)


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


def expect_jsonl(path: Path, first: bytes) -> None:
    """Raises: DataError: the first line shows that the file is of another format; says how to convert it."""
    found = foreign_format(first)
    if found:
        raise DataError(
            f"{path}: {found}, where one JSON object a line (JSONL) is expected",
            fix=f"convert it: lmtools data prepare {path} --to KIND --out FILE.jsonl",
        )


def json_object(record: BaseModel) -> dict[str, Any]:
    """A record as the JSON object that reads back as the same record; defaults are left out."""
    return record.model_dump(mode="json", exclude_defaults=True)
