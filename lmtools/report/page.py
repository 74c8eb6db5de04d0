"""`report.html`: one run, with those inside it, or several side by side.

Raises what reading a run raises: a damaged file is a DataError that names it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from lmtools.core.errors import RunError
from lmtools.core.files import write_jsonl, write_text
from lmtools.report import compare, general
from lmtools.report.compare import Outcomes
from lmtools.report.entries import Room
from lmtools.report.html import Chapter, page_html
from lmtools.report.parts import Section
from lmtools.report.source import Source, read_source

VIEWS = ("leret", "hyre", "ats", "calibration_view")
REPORT, LEFT_OUT = "report.html", "report-left-out.jsonl"


def write_report(directories: Sequence[Path], page: Path | None = None) -> Path:
    """Write the page of one run, or of several side by side; returns its path.

    Args:
        page: the file; without it `report.html` in the run, or of several runs in the working directory.
            Entries that do not fit go into `report-left-out.jsonl` beside it.

    Raises:
        RunError: a directory holds no run, or ``page`` is a file that is no page.
        DataError: a file of a run is damaged.
        MachineError: the page cannot be written.
    """
    if page is not None and page.exists() and page.suffix not in (".html", ".htm"):
        raise RunError(f"{page}: is there already, and no page", fix="name a file that ends in .html")
    runs = _told_apart([read_source(directory) for directory in directories])
    page = page or (runs[0].path(REPORT) if len(runs) == 1 else Path(REPORT))
    beside = page.with_name(LEFT_OUT if page.name == REPORT else f"{page.stem}-left-out.jsonl")
    room = Room(beside.name)
    if len(runs) == 1:
        title, chapters = runs[0].name, [Chapter(run.name, _sections(run)) for run in _with_parts(runs[0])]
    else:
        title = " and ".join(run.name for run in runs) if len(runs) == 2 else f"{len(runs)} runs"
        chapters = [Chapter(title, compare.sections(runs, outcomes))]
    write_text(page, page_html(title, chapters, room))
    if room.left_out:
        write_jsonl(beside, room.left_out)
    else:
        beside.unlink(missing_ok=True)
    return page


def outcomes(run: Source) -> Outcomes:
    """What a run, or one inside it, measured example by example."""
    found: Outcomes = {}
    for one in _with_parts(run):
        for own in _views("outcomes"):
            found |= own(one)
    return found


def _with_parts(run: Source) -> Iterator[Source]:
    yield run
    yield from run.parts()


def _sections(run: Source) -> list[Section]:
    first, origin = general.sections(run)
    return [first, *(section for own in _views("sections") for section in own(run)), origin]


def _views(name: str) -> list[Callable[[Source], Any]]:
    return [getattr(import_module(f"lmtools.report.{view}"), name) for view in VIEWS]


def _told_apart(runs: Sequence[Source]) -> list[Source]:
    """Runs of the same folder name get their whole path as a name."""
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else replace(run, name=str(run.directory)) for run in runs]
