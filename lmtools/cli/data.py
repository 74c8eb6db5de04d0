"""``lmtools data``: look a data file over, and convert public formats."""

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lmtools.cli.invocation import as_called
from lmtools.cli.options import Json
from lmtools.cli.output import echo, emit
from lmtools.core.progress import say

app = typer.Typer(no_args_is_help=True, help="Check data files and convert public formats.")

SOURCE_HELP = (
    "A file (JSONL, JSON, CSV, Parquet; .gz and .zst too), a folder of MMLU tables, of JSONL files of pairs "
    "or of Parquet files, `atlas`, `atlas:PART`, `data:FILE` of the data folder, or "
    "`hf:REPO[:CONFIG][:SPLIT]`."
)


class KindName(StrEnum):
    """What to make of a source."""

    questions = "questions"
    corpus = "corpus"
    instructions = "instructions"
    choices = "choices"
    truthful = "truthful"
    preferences = "preferences"


@app.command("check")
def check(
    source: Annotated[str, typer.Argument(metavar="FILE", help=SOURCE_HELP)],
    corpus: Annotated[
        str | None,
        typer.Option(
            "--corpus",
            metavar="FILE",
            help="Passages among which every gold title of the questions must be; read whole, so large ones "
            "take a while.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Say what a data file is and what is wrong in it, all faults at once. Exit code 2 if anything is."""
    from lmtools.data.check import check as check_source

    checked = check_source(source, corpus=corpus)
    emit(checked, json)
    if not json:
        counts = ", ".join([f"{checked.records} records", *checked.counts()])
        echo(f"{source}: {checked.label}; {counts}; no faults")
        for remark in checked.remarks:
            echo(f"  note: {remark}")
        passages = source if checked.passages else corpus
        kinds = {
            "questions": checked.questions and (checked.format == "questions" or passages is not None),
            "corpus": checked.passages, "preferences": checked.preferences,
            "truthful": checked.truthful, "choices": checked.choices or checked.questions,
            "instructions": checked.instructions,
        }  # fmt: skip
        _say_next(source, next((kind for kind, count in kinds.items() if count), "corpus"), passages)


@app.command("prepare")
def prepare(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE_HELP)],
    to: Annotated[
        KindName, typer.Option("--to", help="What to write of it: which records; `corpus` are its passages.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", help="The JSONL file to write; replaced if it exists.", dir_okay=False
        ),
    ],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="The source's format, where its fields do not tell: a wrong name is told, with those there "
            "are.",
        ),
    ] = "auto",
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            min=1,
            help="Write the first N records; the rest is still read and checked, so it saves disk, not time.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Convert a public data set to JSONL as lmtools reads it. The file appears whole or not at all."""
    from lmtools.data.check import prepare as prepare_source
    from lmtools.data.reader import NOUNS

    prepared = prepare_source(source, to.value, out, limit=limit, format=format)
    emit(prepared, json)
    say(f"{out}: {prepared.written} {NOUNS[to.value]} from {prepared.records} records ({prepared.format})")
    for reason, count in prepared.left_out.items():
        say(f"  left out: {count} ({reason})")
    _say_next(str(out), to.value)


NEXT = {
    "questions": "leret train --set data.train={} --set data.test=TEST --set data.corpus={corpus}",
    "corpus": "leret train --set data.train=QUESTIONS --set data.test=TEST --set data.corpus={}",
    "preferences": "hyre train --set data.train={}",
    "choices": "eval calibration --task {}",
    "truthful": "data prepare {} --to questions --out FILE.jsonl",
    "instructions": "ats fit --set data.train={}",
}
"""What is done with a source of each kind."""


def _say_next(source: str, kind: str, corpus: str | None = None) -> None:
    """The command that a source is for."""
    line = NEXT[kind].format(shlex.quote(source), corpus=shlex.quote(corpus or "PASSAGES"))
    say(as_called(f"next: lmtools {line}"))
