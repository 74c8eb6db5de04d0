"""What runs and artefacts hold, read back: whatever became of a file, what is wrong with it is one sentence.

try:
    value = read_json(path)
    return Weights(value["weights"], ...)
except MALFORMED as error:
    raise DataError(f"{path}: {describe(error)}") from error
"""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from lmtools.core.errors import RunError
from lmtools.core.strings import short

if TYPE_CHECKING:
    from lmtools.core.arrays import Floats

T = TypeVar("T")
MALFORMED = (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What reading a file raises that was cut off, edited, or is another's."""
MAX_DIGITS = 300
"""Digits of a whole number; longer ones are no float."""


def parse_json(content: str | bytes, *, finite: bool = True) -> Any:
    """JSON in UTF-8, all of whose numbers are finite floats or whole numbers that could be.

    Args:
        finite: False takes NaN and infinities, which the curve of a training may hold.

    Raises:
        ValueError: it is anything else, however deep.
    """
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        if not finite:
            return json.loads(text, parse_int=_whole)
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
    except RecursionError as error:
        raise ValueError("brackets too deep") from error


def read_json(path: Path) -> Any:
    """The JSON in a file; raises ``OSError``, and ``ValueError`` as ``parse_json``."""
    return parse_json(path.read_bytes())


def describe(error: Exception) -> str:
    """An error of ``MALFORMED`` on one line, with the field where it names one."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        return f"{field}: {first['msg']}" if field else first["msg"]
    if isinstance(error, UnicodeDecodeError):
        return f"not UTF-8 text (byte {error.start})"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, KeyError):
        return f"no {error}"
    return short(str(error), 200) or type(error).__name__


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a finite number")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{short(text, 20)} is not a finite number")
    return value


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits")
    return int(text)


def parse_record(line: bytes, parse: Callable[[dict[str, Any]], T], *, finite: bool = True) -> T:
    """``parse`` of the JSON object that a line holds.

    Raises:
        MALFORMED: it holds none, or ``parse`` finds something missing or of another type in it.
    """
    value = parse_json(line, finite=finite)
    if not isinstance(value, dict):
        raise TypeError("no JSON object")
    return parse(value)


def read_lines(path: Path, parse: Callable[[dict[str, Any]], T], fix: str) -> Iterator[T]:
    """``parse`` of the JSON object on every line of a file.

    Raises:
        RunError: a line is none, or ``parse`` finds something missing or of another type in it; names the
            line, with ``fix``.
    """
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                record = parse_record(line, parse)
            except MALFORMED as error:
                raise RunError(f"{path}:{number}: damaged: {describe(error)}", fix=fix) from error
            yield record


def read_arrays(path: Path) -> "dict[str, Floats]":
    """The arrays of an evaluation by name, as float64.

    Raises:
        RunError: the file is damaged.
    """
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].astype(np.float64) for name in arrays.files}
    except (*MALFORMED, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(
            f"{path}: damaged: {describe(error)}", fix="delete it, and resume the run: it is measured again"
        ) from error
