"""The options of `lmtools generate` that put a head on the model, or choose among its answers."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lmtools.cli import completion

Calibrated = Annotated[
    Path | None,
    typer.Option(
        "--calibrated",
        metavar="HEAD",
        help="Put a temperature head on the model (a run of `lmtools ats fit`, or the head in it): "
        "completions then carry calibrated `probabilities` of their tokens and a `confidence`. The model "
        "is the run's unless named. hf backend only.",
        autocompletion=completion.runs("head/head.json"),
    ),
]
Confidence = Annotated[
    Literal["mean", "product", "length-normalised"] | None,
    typer.Option(
        "--confidence",
        help="With --calibrated, what the confidence is of the probabilities of the completion's "
        "tokens (without the one that ended it): their mean, product or geometric mean. No cost.",
        show_default="mean",
    ),
]
BestOf = Annotated[
    int | None,
    typer.Option(
        "--best-of",
        metavar="N",
        min=1,
        help="Write N completions and keep the one that a user's reward model ranks first; time grows "
        "with N. Needs --reward; the temperature is 0.8 unless given.",
    ),
]
Reward = Annotated[
    Path | None,
    typer.Option(
        "--reward",
        metavar="RUN",
        help="With --best-of, the ensemble: a run of `lmtools hyre train`, whose model reads every "
        "completion.",
        file_okay=False,
        autocompletion=completion.runs("ensemble"),
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE|RUN",
        help="With --best-of, whose taste: the weights.json of `lmtools hyre adapt`, or its run. No cost.",
        autocompletion=completion.weights,
    ),
]
