"""``lmtools report``: the page of a run, or of several side by side."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from lmtools.cli import completion
from lmtools.cli.options import Json
from lmtools.cli.output import emit
from lmtools.core.progress import say

Runs = Annotated[
    list[Path],
    typer.Argument(
        metavar="RUN...",
        help="Run directories. Of one the page shows everything; several are compared, paired where they "
        "measured the same examples.",
        file_okay=False,
        autocompletion=completion.runs(),
    ),
]


def report(
    runs: Runs,
    page: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Where to write the page; without it report.html in the run, or of several runs here.",
            dir_okay=False,
        ),
    ] = None,
    show: Annotated[
        bool, typer.Option("--open", help="Open the page in the default browser when it is written.")
    ] = False,
    json: Json = False,
) -> None:
    """Write report.html: one self-contained page with the figures, plots and examples of a run.

    Every command that makes a run writes it at its end; this makes it again, also of a run that is not
    finished, or compares several runs. The page asks the network for nothing. Takes seconds.
    """
    from lmtools.report.page import write_report

    written = write_report(list(dict.fromkeys(runs)), page)
    emit({"runs": [str(run) for run in runs], "report": str(written)}, json)
    say(f"wrote {written}; open it in a browser")
    if show:
        webbrowser.open(written.resolve().as_uri())
