"""The faults of a data source: each names file, line, field and mend, and up to 20 are one error.

``Faults`` collects them while a source is read to its end; ``explain`` and ``explain_value`` say what is
wrong with one line or value, in the words of the data contract.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from lmtools.core.errors import DataError
from lmtools.core.strings import cut, near_miss

MAX_SHOWN = 20
"""Faults that a message spells out."""
MAX_TEXT = 1_000_000
"""The longest text of a field, in characters: far above any passage, and too long for any prompt."""
MAX_DEPTH = 100
"""The deepest nesting of lists and objects in a record."""
MAX_NAMES = 200
"""Fields of a record that are compared with one that is missing."""
EXPECTED = {
    "string_type": "text", "int_type": "a whole number", "float_type": "a number",
    "bool_type": "true or false", "list_type": "a list", "tuple_type": "a list",
    "dict_type": "an object", "model_type": "an object",
}  # fmt: skip
"""Pydantic's type of error -> what should stand there."""
MENDS = {"string_type": "put it in quotes", "tuple_type": "write [...]", "list_type": "write [...]"}
"""The same -> how to mend it, where it is not `write WHAT IS EXPECTED`."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong: ``line`` (or record, where lines mean nothing) counts from 1; ``field`` may be ''.

    ``file`` is named where the source is a folder of several.
    """

    line: int
    field: str
    problem: str
    mend: str
    file: str = ""

    def at(self, source: object, unit: str = "") -> str:
        """``SOURCE:LINE: FIELD: problem``."""
        return (
            f"{self.file or source}:{unit}{self.line}: "
            + (f"{cut(self.field, 80)}: " if self.field else "")
            + self.problem
        )


class BrokenRecordsError(DataError):
    """All faults of one source together: the first 20 spelled out in ``faults``, ``total`` counted."""

    def __init__(self, source: object, faults: tuple[Fault, ...], total: int, unit: str = "") -> None:
        self.faults, self.total = faults, total
        if total == 1:
            super().__init__(faults[0].at(source, unit), fix=faults[0].mend)
            return
        lines = [
            f"{source}: {total} faults",
            *(f"  {fault.at(source, unit)} ({fault.mend})" for fault in faults),
        ]
        if total > len(faults):
            lines.append(f"  and {total - len(faults)} more")
        super().__init__("\n".join(lines), fix=f"mend these; `lmtools data check {source}` looks again")


class Faults:
    """Collects the faults of one source while it is read on to its end.

    Args:
        source: the file or source, as the messages name it.
        unit: what is counted, if not lines: ``record ``.
    """

    def __init__(self, source: object, unit: str = "") -> None:
        self._source, self._unit = source, unit
        self._kept: list[Fault] = []
        self._total = 0
        self._ids: dict[str, tuple[str, int]] = {}

    def add(self, faults: Iterable[Fault]) -> None:
        """Note faults; only the first 20 are kept."""
        for fault in faults:
            self._total += 1
            if len(self._kept) < MAX_SHOWN:
                self._kept.append(fault)

    def see_id(self, line: int, id: str, file: str = "") -> None:
        """Note a fault if an earlier line has this id."""
        first = self._ids.setdefault(id, (file, line))
        if first != (file, line):
            where = f"{self._unit or 'line '}{first[1]}" + (f" of {first[0]}" if first[0] != file else "")
            problem = f"{cut(id, 80)!r} is the id of {where} too"
            self.add([Fault(line, "id", problem, "give every record its own id", file)])

    def check(self) -> None:
        """Raises: BrokenRecordsError: there is a fault."""
        if self._total:
            raise BrokenRecordsError(self._source, tuple(self._kept), self._total, self._unit)


# Why a line or a JSON value is not the record it should be.


def explain(line: int, data: bytes, model: type[BaseModel]) -> list[Fault]:
    """Why ``data``, line ``line`` of a file, is no record of ``model``; empty if it is one."""
    value, faults = decode(line, data)
    return faults or explain_value(line, value, model) or _rejected(line, data, model)


def decode(line: int, data: bytes) -> tuple[Any, list[Fault]]:
    """The JSON value of a line, or what is wrong with it."""
    try:
        return json.loads(data.decode("utf-8")), []
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} (0x{data[error.start]:02x}) is not UTF-8"
        mend = "save the file as UTF-8: iconv -f LATIN1 -t UTF-8 OLD > NEW, if it is Latin-1"
        return None, [Fault(line, "", problem, mend)]
    except json.JSONDecodeError as error:
        if "\x00" in error.doc:
            problem = f"a NUL byte at column {error.doc.index(chr(0)) + 1}"
            return None, [Fault(line, "", problem, "remove it: the file may be damaged")]
        problem = f"broken JSON at column {error.colno}: {error.msg.removesuffix(' at')}"
        if error.msg == "Extra data":
            problem = f"something after the JSON value, at column {error.colno}"
        return None, [Fault(line, "", problem, "write one JSON object on the line")]
    except RecursionError:
        return None, [Fault(line, *TOO_DEEP)]
    except ValueError as error:
        return None, [Fault(line, "", f"JSON that cannot be read: {error}", "simplify the record")]


def explain_value(line: int, value: Any, model: type[BaseModel]) -> list[Fault]:
    """Why a decoded JSON value is no record of ``model``; empty if it is one."""
    if not isinstance(value, dict):
        return [
            Fault(
                line, "", f"an object is expected, found {describe(value)}", "write {...} with named fields"
            )
        ]
    faults = [Fault(line, *fault) for fault in text_faults("", value)]
    if faults:
        return faults
    try:
        model.model_validate(value)
    except ValidationError as error:
        return translate(line, error, value)
    return []


def _rejected(line: int, data: bytes, model: type[BaseModel]) -> list[Fault]:
    """What is wrong with a line that only the fast way to read it objects to."""
    try:
        model.model_validate_json(data)
    except ValidationError as error:
        return translate(line, error, {})
    return []


def translate(line: int, error: ValidationError, record: Mapping[str, Any]) -> list[Fault]:
    """The errors of a record in the words of the data contract.

    A list that is too short only because its items are wrong has the faults of its items.
    """
    errors = error.errors(include_url=False)
    paths = [item["loc"] for item in errors]

    def of_items(path: tuple[str | int, ...]) -> bool:
        return any(other[: len(path)] == path != other for other in paths)

    return [
        _translate(line, dict(item), record)
        for item in errors
        if item["type"] != "too_short" or not of_items(item["loc"])
    ]


TOO_DEEP = ("", "JSON nested too deep", "simplify the record")


def text_faults(field: str, value: Any, depth: int = 1) -> Iterator[tuple[str, str, str]]:
    """(field, problem, mend) of every text that no record should hold, and of what is nested too deep."""
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        yield TOO_DEEP
        return
    if isinstance(value, str):
        if "\x00" in value:
            yield field, f"a NUL character at position {value.index(chr(0)) + 1}", "remove it"
        if (position := _lone_surrogate(value)) is not None:
            code = f"\\u{ord(value[position]):04x}"
            yield (
                field,
                f"half a surrogate pair, {code}, at position {position + 1}",
                "remove it or write the whole pair",
            )
        if len(value) > MAX_TEXT:
            problem = f"{len(value):,} characters, more than the {MAX_TEXT:,} that a field may have"
            yield field, problem, "split it into several records, each with an id of its own"
    elif isinstance(value, dict):
        for key, item in value.items():
            if list(text_faults("", key)):
                yield (
                    field,
                    f"the name {cut(key, 80)!r} has a character that no text should hold",
                    "rename the field",
                )
            yield from text_faults(f"{field}.{key}" if field else key, item, depth + 1)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from text_faults(f"{field}[{index}]", item, depth + 1)


def _lone_surrogate(text: str) -> int | None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return error.start
    return None


def _translate(line: int, error: Mapping[str, Any], record: Mapping[str, Any]) -> Fault:
    """A pydantic error in the words of the data contract."""
    kind, path = error["type"], error["loc"]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    # A misspelt key is the likeliest reason for a missing one.
    if kind == "missing":
        if _is_null(record, path):
            return Fault(line, field, "is null", "give it a value")
        near = near_miss(str(path[-1]), islice(record, MAX_NAMES)) if len(path) == 1 else None
        if near:
            return Fault(line, field, f"missing, but there is `{near}`", f"rename `{near}` to `{field}`")
        return Fault(line, field, "missing", f"add `{field}`")
    if kind == "json_invalid":
        broken = Fault(
            line, "", error["msg"].replace("Invalid", "broken"), "write one JSON object on the line"
        )
        return Fault(line, *TOO_DEEP) if "recursion" in error["msg"] else broken
    if kind == "string_too_short":
        return Fault(line, field, "is empty", "write at least one character")
    if "mend" in error.get("ctx", {}):  # raised by ``lmtools.data.records.broken``
        return Fault(line, field, error["msg"], error["ctx"]["mend"])
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace("'", "`")
        return Fault(
            line, field, f"expected {expected}, found {describe(error['input'])}", f"write {expected}"
        )
    if kind == "too_short":
        expected = f"at least {error['ctx']['min_length']}"
        problem = f"{expected} expected, found {describe(error['input'])}"
        return Fault(line, field, problem, f"write {expected}")
    # What remains are values of the wrong type; a null has a mend of its own.
    if error["input"] is None and kind in EXPECTED:
        return Fault(
            line,
            field,
            f"expected {EXPECTED[kind]}, found null",
            "give it a value, or leave an optional field out",
        )
    if kind in EXPECTED:
        problem = f"expected {EXPECTED[kind]}, found {describe(error['input'])}"
        return Fault(line, field, problem, MENDS.get(kind, f"write {EXPECTED[kind]}"))
    return Fault(line, field, f"{error['msg']}, found {describe(error['input'])}", "mend the value")


def _is_null(record: Any, path: Sequence[str | int]) -> bool:
    """Whether a null stands where something is missing."""
    for part in path[:-1]:
        try:
            record = record[part]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(record, Mapping) and path[-1] in record


def describe(value: Any) -> str:
    """A JSON value in a few words: ``a number (3)``, ``a list of 2``."""
    match value:
        case None:
            return "null"
        case bool():
            return f"{value}".lower()
        case int() | float():
            return f"a number ({cut(str(value), 30)})"
        case str():
            return f"text ({value[:30]!r})" if len(value) <= 30 else f"text ({value[:30]!r}...)"
        case list() | tuple():
            return f"a list of {len(value)}"
        case _:
            return "an object"
