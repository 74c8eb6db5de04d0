"""The options of commands, and those that all commands which make a run have in common.

@app.command()
@with_options()
def train(options: Options, merge: Merge = False) -> None: ...
"""

import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from lmtools.cli import completion
from lmtools.core.recipe_yaml import yaml_inline
from lmtools.core.tracking import check_tracker

if TYPE_CHECKING:
    from lmtools.runs import RunOptions

COMMON = "Common to all commands"


def _installed(name: "TrackerName | None") -> "TrackerName | None":
    """Make sure that the tracker's package is there, before anything is done."""
    if name is not None:
        check_tracker(name.value)
    return name


def _can_push(repo: str | None) -> str | None:
    """Make sure that something could be sent to the hub, before anything is done."""
    if repo is not None:
        from lmtools.models.publish import check_target

        check_target(repo)
    return repo


class TrackerName(StrEnum):
    """Where figures can also be sent."""

    trackio = "trackio"
    wandb = "wandb"
    tensorboard = "tensorboard"


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
        help="The settings: a YAML file, or a packaged recipe (`lmtools recipes ls`). What it leaves out has "
        "its default; `lmtools recipes show NAME --explain` says what each setting does and costs.",
        autocompletion=completion.recipes,
        rich_help_panel=COMMON,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one setting of the recipe, such as model.dtype=float32 (the value as YAML has it); "
        "repeatable. What the setting costs, `lmtools recipes show NAME --explain` says.",
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
        autocompletion=completion.models,
        rich_help_panel=COMMON,
    ),
]
Backend = Annotated[
    BackendName | None,
    typer.Option(
        "--backend",
        help="What generates: hf runs anywhere; vllm is several times faster, and a package of its own; "
        "server asks an OpenAI-compatible endpoint, which loads no model here.",
        rich_help_panel=COMMON,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="The run directory, where all that is made goes; without it a new one under runs/. One that "
        "holds a run is not written over.",
        file_okay=False,
        rich_help_panel=COMMON,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed",
        min=0,
        help="Where all random choices start, in place of the recipe's; the same seed gives the same run, "
        "and costs the same as any other.",
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
        help="Print the answer as one JSON object on stdout, for programs; everything for people goes to "
        "stderr. Changes nothing else.",
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

Track = Annotated[
    TrackerName | None,
    typer.Option(
        "--track",
        callback=_installed,
        help="Also send training curves and final figures to this tracker, whose package must be installed. "
        "The run directory holds them all (training.jsonl, metrics.json) in any case.",
        rich_help_panel=COMMON,
    ),
]
LmEval = Annotated[
    Path | None,
    typer.Option(
        "--lm-eval-out",
        metavar="DIR",
        help="Also write the results as lm-evaluation-harness lays them out, DIR/MODEL/results_TIME.json, "
        "for what reads its files.",
        file_okay=False,
        rich_help_panel=COMMON,
    ),
]

Merge = Annotated[
    bool,
    typer.Option(
        "--merge",
        help="Also write `merged/`, a whole model with the adapter merged in, which is loaded without PEFT: "
        "as much disk and memory as the base model takes, and seconds to minutes. Of a finished run too, "
        "with --resume; nothing is trained again.",
    ),
]
PushToHub = Annotated[
    str | None,
    typer.Option(
        "--push-to-hub",
        metavar="REPO",
        callback=_can_push,
        help="Last of all, upload what was made, with its model card, to this repository of the Hugging Face "
        "hub, a new one that only you can read unless --public. Needs a token (`hf auth login`) and sends "
        "as much as the files hold. Of a finished run too, with --resume.",
    ),
]
Public = Annotated[
    bool,
    typer.Option(
        "--public",
        help="With --push-to-hub, let everybody read a new repository; one that is there stays as it is.",
    ),
]


@dataclass(frozen=True)
class Options:
    """What the commands that make a run have in common. A field here is an option of all of them."""

    recipe: Recipe = None
    settings: Set = None
    model: Model = None
    backend: Backend = None
    out: Out = None
    seed: Seed = None
    dry_run: DryRun = False
    json: Json = False
    resume: Resume = False
    track: Track = None

    def overrides(self) -> list[str]:
        """``--set`` values, with ``--model``, ``--backend`` and ``--seed`` as the settings they stand for."""
        return overrides(self.settings, self.model, self.backend, self.seed)

    def run(self) -> "RunOptions":
        """What the function behind a command takes by keyword."""
        return {"resume": self.resume, "track": self.track, "command": command_line()}


def command_line() -> list[str]:
    """What was called, for the manifest of a run."""
    return ["lmtools", *sys.argv[1:]]


def with_options(*without: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command whose parameter ``options`` is an ``Options``: its fields become the command's options.

    Args:
        without: fields that this command does not offer; they keep their defaults.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        offered = [field for field in fields(Options) if field.name not in without]
        hints = get_type_hints(Options, include_extras=True)
        parameters: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            if parameter.name != "options":
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
                continue
            parameters += [
                inspect.Parameter(
                    field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default,
                    annotation=hints[field.name],
                )
                for field in offered
            ]  # fmt: skip

        @wraps(command)
        def called(**values: Any) -> None:
            options = Options(**{field.name: values.pop(field.name) for field in offered})
            command(options=options, **values)

        # What typer reads: the parameters as if they had been written out.
        called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return called

    return decorate


def overrides(
    settings: Sequence[str] | None,
    model: str | None = None,
    backend: BackendName | None = None,
    seed: int | None = None,
) -> list[str]:
    """``--set`` values, with ``--model``, ``--backend`` and ``--seed`` as the settings they stand for."""
    named = {"model.name": model, "model.backend": backend and backend.value, "seed": seed}
    return [
        *(settings or ()),
        *(f"{key}={yaml_inline(value)}" for key, value in named.items() if value is not None),
    ]


# The options of `lmtools generate` that put a head on the model, or choose among its answers.

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


# The options of `lmtools hyre` that are its own.

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
Acquisition = Annotated[
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
