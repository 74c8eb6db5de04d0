"""The lines of a run's JSONL files, one by one; a damaged one is told by its place."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from lmtools.core.errors import DataError
from lmtools.data.jsonl import jsonl_lines

T = TypeVar("T")
FIX = "restore the file from where the run was made, or delete it: the page then leaves that part out"


def records(path: Path, make: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """``make`` of every line's object; nothing where the file is absent.

    Raises:
        DataError: a line is no JSON object, or ``make`` finds something missing or of the wrong type in it.
    """
    if not path.is_file():
        return
    for number, line in jsonl_lines(path):
        try:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise TypeError("no JSON object")
            made = make(found)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path}:{number}: damaged: {what}", fix=FIX) from error
        yield made


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise TypeError("a list of texts is expected")
    return tuple(value)


def text(value: Any) -> str:
    """A text.

    Raises:
        TypeError: it is something else.
    """
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {value!r:.40}")
    return value


def number(value: Any) -> float:
    """A finite number.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise TypeError(f"a number is expected, not {value!r:.40}")
    return float(value)
