"""``lmtools generate``: text from any model and backend, for one prompt or a file of them."""

import json as json_module
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from lmtools.cli.generate_options import BestOf, Calibrated, Confidence, Reward, Weights
from lmtools.cli.options import Backend, BackendName, Json, Model, Seed, Set, emit, overrides
from lmtools.core.errors import LmtoolsError, RecipeError
from lmtools.core.files import write_jsonl
from lmtools.core.overrides import apply_override
from lmtools.core.progress import say
from lmtools.core.recipe_faults import describe_faults
from lmtools.models.precision import resolve_dtypes

if TYPE_CHECKING:
    from lmtools.calibration.recipe import ConfidenceName
    from lmtools.generation.protocol import Completion, Generator
    from lmtools.generation.requests import GenerateConfig, Opener, Request
    from lmtools.models.spec import ModelSpec


def generate(
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="What to say to the model, one prompt; many, in --input, take less time each.",
        ),
    ] = None,
    input: Annotated[
        Path | None,
        typer.Option(
            "--input",
            metavar="FILE",
            help="JSONL with a `prompt` or `messages` a line, and an `id` if wanted; time grows with its "
            "lines.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="JSONL to write when all is done, replaced if it exists; without it the answers are "
            "printed.",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", help="The longest completion, in tokens; time grows with it.", show_default="256"
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(
            "--temperature",
            help="0 takes the most probable token; above 0 answers are drawn, and differ more the higher it "
            "is. No cost.",
            show_default="0",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Completions of each prompt; time grows with it.", show_default="1"),
    ] = None,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Continue the text as it is, without the chat template, as base models want it."
        ),
    ] = False,
    calibrated: Calibrated = None,
    confidence: Confidence = None,
    best_of: BestOf = None,
    reward: Reward = None,
    weights: Weights = None,
    settings: Set = None,
    model: Model = None,
    backend: Backend = None,
    seed: Seed = None,
    json: Json = False,
) -> None:
    """Generate text. Answers are cached, save a server's: what was asked before costs nothing."""
    if confidence is not None and calibrated is None:
        raise LmtoolsError(
            "--confidence needs --calibrated HEAD", fix="name a run of `lmtools ats fit`, or leave it out"
        )
    own = {"max_tokens": max_tokens, "temperature": temperature, "samples": samples, "raw": raw or None}
    ranker = None
    if best_of is not None or reward is not None or weights is not None:
        from lmtools.cli.best_of import check, sampling

        check(best_of, reward, weights, samples, raw, temperature)
        own |= sampling(best_of or 1, temperature)
    settings = [*_model_of(calibrated), *(settings or [])]
    config = resolve_dtypes(_config(settings, model, backend, seed, own))
    requests = _requests(prompt, input)
    from lmtools.generation.requests import answer

    opened = None if calibrated is None else _opener(calibrated)
    kind = None if calibrated is None else confidence or "mean"
    if reward is not None and weights is not None:
        from lmtools.cli.best_of import open_ranker

        ranker = open_ranker(reward, weights, config.system)
    answered = list(answer(requests, config, opened))
    rows = [row(request, found, kind) for request, found in answered]
    if ranker is not None:
        ranker.rank([request for request, _ in answered], rows)
    if output is not None:
        write_jsonl(output, rows)
        say(f"wrote {output}: {len(rows)} prompts")
    emit({"results": rows, "output": output}, json)
    if output is None and not json:
        for found in rows:
            typer.echo(json_module.dumps(found, ensure_ascii=False) if input else texts(found))


def row(
    request: "Request", completions: "list[Completion]", confidence: "ConfidenceName | None" = None
) -> dict[str, Any]:
    """A request and its completions as one line of the output; ``logprob`` is the sum over the tokens.

    With a kind of ``confidence``, each completion has one, and the ``probabilities`` of its tokens.
    """
    answers = [
        {"text": done.text, "finish": done.finish, "tokens": len(done.tokens), "logprob": sum(done.logprobs)}
        | ({} if confidence is None else certainty(done, confidence))
        for done in completions
    ]
    return {**request.model_dump(mode="json", by_alias=True, exclude_none=True), "completions": answers}


def certainty(done: "Completion", kind: "ConfidenceName") -> dict[str, Any]:
    """The ``confidence`` in a completion, and the ``probabilities`` of all its tokens."""
    from lmtools.calibration.confidence import answer_confidence, answer_tokens

    probabilities = [math.exp(value) for value in done.logprobs]
    value = answer_confidence(answer_tokens(probabilities, done), kind)
    return {"confidence": value, "confidence_kind": kind, "probabilities": probabilities}


def texts(found: dict[str, Any]) -> str:
    """The completions of one prompt, numbered where there are several, with their confidence if they have."""
    answers = [
        completion["text"].strip()
        + (f"\n(confidence {completion['confidence']:.2f})" if "confidence" in completion else "")
        for completion in found["completions"]
    ]
    if "reward" in found["completions"][0]:  # the best one is first
        return str(answers[0])
    if len(answers) == 1:
        return str(answers[0])
    return "\n".join(f"[{number}] {text}" for number, text in enumerate(answers, start=1))


def _model_of(fitted: Path | None) -> list[str]:
    """The setting that names the model of a fitted run; none for a head alone."""
    if fitted is None:
        return []
    from lmtools.cli.eval_run import fitted_model

    named = [setting for setting in fitted_model(fitted) if setting.startswith("model=")]
    return [*named, "model.dtype=auto"]  # a head may run at another precision than it was fitted at


def _opener(head: Path) -> "Opener":
    """Opens the model with a head on it."""

    def opened(spec: "ModelSpec", cache: bool) -> "Generator":
        from lmtools.ats.open import open_calibrated

        return open_calibrated(spec, head, cache)

    return opened


def _requests(prompt: str | None, input: Path | None) -> "list[Request]":
    from lmtools.generation.requests import Request, read_requests

    if (prompt is None) == (input is None):
        raise LmtoolsError(
            "give either --prompt TEXT or --input FILE", fix='lmtools generate --prompt "Hello"'
        )
    if input is not None:
        return read_requests(input)
    if not prompt:
        raise LmtoolsError("--prompt is empty", fix='lmtools generate --prompt "Hello"')
    return [Request(prompt=prompt)]


def _config(
    settings: list[str] | None,
    model: str | None,
    backend: BackendName | None,
    seed: int | None,
    own: dict[str, Any],
) -> "GenerateConfig":
    """The settings, from the options and ``--set``; every fault at once."""
    from lmtools.generation.requests import GenerateConfig

    given = [f"{key}={json_module.dumps(value)}" for key, value in own.items() if value is not None]
    data: dict[str, Any] = {}
    places: dict[tuple[str | int, ...], str] = {(): "lmtools generate"}
    for override in [*given, *overrides(settings, model, backend, seed)]:
        keys, data = apply_override(data, override)
        option = (
            f"--{override.partition('=')[0].replace('_', '-')}" if override in given else f"--set {override}"
        )
        places[keys] = option
    try:
        return GenerateConfig.model_validate(data)
    except ValidationError as error:
        faults = describe_faults(GenerateConfig, error, places)
        raise RecipeError("\n".join(faults), fix="mend the options above") from error
