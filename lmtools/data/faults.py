"""The faults of a data source: each names place, field and mend, and all are told together, up to 20."""

from collections.abc import Iterable
from dataclasses import dataclass

from lmtools.core.errors import DataError

MAX_SHOWN = 20


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

    def at(self, place: object, unit: str = "") -> str:
        """``PLACE:LINE: FIELD: problem``."""
        return (
            f"{self.file or place}:{unit}{self.line}: "
            + (f"{self.field}: " if self.field else "")
            + self.problem
        )


class BrokenRecordsError(DataError):
    """All faults of one source together: the first 20 spelled out in ``faults``, ``total`` counted."""

    def __init__(self, place: object, faults: tuple[Fault, ...], total: int, unit: str = "") -> None:
        self.faults, self.total = faults, total
        if total == 1:
            super().__init__(faults[0].at(place, unit), fix=faults[0].mend)
            return
        lines = [
            f"{place}: {total} faults",
            *(f"  {fault.at(place, unit)} ({fault.mend})" for fault in faults),
        ]
        if total > len(faults):
            lines.append(f"  and {total - len(faults)} more")
        super().__init__("\n".join(lines), fix=f"mend these; `lmtools data check {place}` looks again")


class Faults:
    """Collects the faults of one source while it is read on to its end.

    Args:
        place: the file or source, as the messages name it.
        unit: what is counted, if not lines: ``record ``.
    """

    def __init__(self, place: object, unit: str = "") -> None:
        self._place, self._unit = place, unit
        self._shown: list[Fault] = []
        self._total = 0
        self._ids: dict[str, tuple[str, int]] = {}

    def add(self, faults: Iterable[Fault]) -> None:
        """Note faults; only the first 20 are kept."""
        for fault in faults:
            self._total += 1
            if len(self._shown) < MAX_SHOWN:
                self._shown.append(fault)

    def see_id(self, line: int, id: str, file: str = "") -> None:
        """Note a fault if an earlier line has this id."""
        first = self._ids.setdefault(id, (file, line))
        if first != (file, line):
            where = f"{self._unit or 'line '}{first[1]}" + (f" of {first[0]}" if first[0] != file else "")
            problem = f"{id!r} is the id of {where} too"
            self.add([Fault(line, "id", problem, "give every record its own id", file)])

    def check(self) -> None:
        """Raises: BrokenRecordsError: there is a fault."""
        if self._total:
            raise BrokenRecordsError(self._place, tuple(self._shown), self._total, self._unit)
