"""The options of `lmtools hyre` that are its own."""

from pathlib import Path
from typing import Annotated

import typer

from lmtools.cli import completion

TrainedRun = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="A run of `lmtools hyre train`; without it, the last finished one under runs/, or else a new "
        "one on the bundled pairs, which takes a few minutes.",
        file_okay=False,
        autocompletion=completion.runs("ensemble"),
    ),
]
PairsFile = Annotated[
    str | None,
    typer.Option(
        "--pairs",
        metavar="FILE",
        help="The user's preference pairs; without it, those of the run's targets. The model reads each pair "
        "once, which is what takes time. `lmtools data check FILE` says what is wrong with a file.",
    ),
]
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="NAME",
        help="Of a file with several users, told apart by `distribution`, this one; without it, all pairs of "
        "--pairs are one user's (of the run's own targets, the first one's).",
    ),
]
WeightsFile = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE|RUN",
        help="Whose taste: the weights.json of `lmtools hyre adapt`, or its run; without it, the weights "
        "before any example, which are nobody's. No cost.",
        autocompletion=completion.weights,
    ),
]
Examples = Annotated[
    int,
    typer.Option(
        "--examples",
        metavar="N",
        min=0,
        help="How many labelled pairs to learn from; the others are tested on. More fit the user better, "
        "and cost milliseconds and somebody's labels.",
    ),
]
Ask = Annotated[
    bool,
    typer.Option(
        "--ask",
        help="Label pairs yourself, in the terminal: the most telling one is shown next, and a key says "
        "which answer is better. The labels in the file are not looked at.",
    ),
]
Rule = Annotated[
    str,
    typer.Option(
        "--by",
        metavar="RULE",
        help="What makes a pair telling: bald (the heads disagree, each of them sure), entropy (they are "
        "unsure together), variance (their margins differ), or random. All take as long. `adapt` looks at it "
        "with --ask only.",
        autocompletion=completion.words("bald", "entropy", "variance", "random"),
    ),
]
Count = Annotated[
    int,
    typer.Option(
        "--count", metavar="N", min=1, help="How many pairs to name; all are read and scored in any case."
    ),
]
