"""The options that all commands share, and how a command prints its answer.

def train(recipe: Recipe = None, settings: Set = None, json: Json = False) -> None: ...
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from lmtools.core.progress import first_process

COMMON = "Common to all commands"


class BackendName(StrEnum):
    """What generates text."""

    hf = "hf"
    vllm = "vllm"
    server = "server"


Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="FILE|NAME",
        help="The settings: a YAML file, or a packaged recipe (`lmtools recipes ls`).",
        rich_help_panel=COMMON,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the recipe, such as model.dtype=bfloat16; repeatable.",
        rich_help_panel=COMMON,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME|DIR",
        help="A built-in model, a Hugging Face name or a local directory, in place of the recipe's. "
        "Time and memory grow with its size.",
        rich_help_panel=COMMON,
    ),
]
Backend = Annotated[
    BackendName | None,
    typer.Option(
        "--backend",
        help="What generates: hf runs anywhere; vllm is several times faster, and a package of its own; "
        "server asks an OpenAI-compatible endpoint.",
        rich_help_panel=COMMON,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run directory; without it a new one under runs/.",
        file_okay=False,
        rich_help_panel=COMMON,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        help="Where all random choices start; the same seed gives the same run.",
        rich_help_panel=COMMON,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check everything, show one real example with its tokens and estimate the work; "
        "loads no weights, takes seconds.",
        rich_help_panel=COMMON,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on stdout; everything for people goes to stderr.",
        rich_help_panel=COMMON,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Continue an interrupted run where it stopped (the last unfinished one, or --out DIR); "
        "nothing finished is done again.",
        rich_help_panel=COMMON,
    ),
]


def overrides(
    settings: Sequence[str] | None,
    model: str | None = None,
    backend: BackendName | None = None,
    seed: int | None = None,
) -> list[str]:
    """``--set`` values, with ``--model``, ``--backend`` and ``--seed`` as the settings they stand for."""
    named = {"model.name": model, "model.backend": backend, "seed": seed}
    return [
        *(settings or ()),
        *(f"{key}={json.dumps(value)}" for key, value in named.items() if value is not None),
    ]


def emit(value: Any, as_json: bool) -> None:
    """Print a command's answer: with ``as_json`` one JSON object on stdout, otherwise nothing.

    Of several processes only the first one prints.

    Dataclasses, pydantic models and paths inside ``value`` are written as JSON has them.

    Raises:
        ValueError: a figure is NaN or infinite.
    """
    if as_json and first_process():
        text = json.dumps(value, default=_plain, ensure_ascii=True, allow_nan=False, indent=2)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} has no JSON form")
