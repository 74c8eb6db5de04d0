"""``lmtools generate``: text from any model and backend, for one prompt or a file of them."""

import json as json_module
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from lmtools.cli.options import (
    Backend,
    BackendName,
    BestOf,
    Calibrated,
    Confidence,
    Json,
    Model,
    Reward,
    Seed,
    Set,
    Weights,
    overrides,
)
from lmtools.cli.output import echo, emit
from lmtools.core.errors import LmtoolsError, RecipeError
from lmtools.core.files import check_output, write_jsonl
from lmtools.core.progress import say
from lmtools.core.recipe_faults import describe_faults
from lmtools.core.recipe_yaml import apply_override, as_given
from lmtools.models.precision import resolve_dtypes

if TYPE_CHECKING:
    from lmtools.calibration.recipe import ConfidenceName
    from lmtools.generation.protocol import Completion, Generator
    from lmtools.generation.requests import GenerateConfig, Opener, Request
    from lmtools.hyre.reward import RewardModel
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
    named = {"max_tokens": max_tokens, "temperature": temperature, "samples": samples, "raw": raw or None}
    ranker = None
    if best_of is not None or reward is not None or weights is not None:
        check(best_of, reward, weights, samples, raw, temperature)
        named |= sampling(best_of or 1, temperature)
    settings = [*_model_of(calibrated), *(settings or [])]
    check_output(output)
    config = resolve_dtypes(_config(settings, model, backend, seed, named))
    requests = _requests(prompt, input)
    from lmtools.generation.requests import answer

    opened = None if calibrated is None else _opener(calibrated)
    kind = None if calibrated is None else confidence or "mean"
    if reward is not None and weights is not None:
        ranker = open_ranker(reward, weights, config.system)
    answered = list(answer(requests, config, opened))
    rows = [row(request, completions, kind) for request, completions in answered]
    if ranker is not None:
        ranker.rank([request for request, _ in answered], rows)
    if output is not None:
        write_jsonl(output, rows)
        say(f"wrote {output}: {len(rows)} prompts")
    emit({"results": rows, "output": output}, json)
    if output is None and not json:
        for result in rows:
            echo(json_module.dumps(result) if input else texts(result))


def row(
    request: "Request", completions: "list[Completion]", confidence: "ConfidenceName | None" = None
) -> dict[str, Any]:
    """A request and its completions as one line of the output; ``logprob`` is the sum over the tokens.

    With a kind of ``confidence``, each completion has one, and the ``probabilities`` of its tokens.
    """
    answers = [
        {
            "text": completion.text,
            "finish": completion.finish,
            "tokens": len(completion.tokens),
            "logprob": sum(completion.logprobs),
        }
        | ({} if confidence is None else certainty(completion, confidence))
        for completion in completions
    ]
    return {**request.model_dump(mode="json", by_alias=True, exclude_none=True), "completions": answers}


def certainty(completion: "Completion", kind: "ConfidenceName") -> dict[str, Any]:
    """The ``confidence`` in a completion, and the ``probabilities`` of all its tokens."""
    from lmtools.calibration.answering import answer_confidence, answer_tokens

    probabilities = [math.exp(value) for value in completion.logprobs]
    value = answer_confidence(answer_tokens(probabilities, completion), kind)
    return {"confidence": value, "confidence_kind": kind, "probabilities": probabilities}


def texts(result: dict[str, Any]) -> str:
    """The completions of one prompt, numbered where there are several, with their confidence if they have."""
    answers = [
        completion["text"].strip()
        + (f"\n(confidence {completion['confidence']:.2f})" if "confidence" in completion else "")
        for completion in result["completions"]
    ]
    if "reward" in result["completions"][0]:  # the best one is first
        return str(answers[0])
    if len(answers) == 1:
        return str(answers[0])
    return "\n".join(f"[{number}] {text}" for number, text in enumerate(answers, start=1))


def _model_of(fitted: Path | None) -> list[str]:
    """The setting that names the model of a fitted run; none for a head alone."""
    if fitted is None:
        return []
    from lmtools.ats.api import model_settings

    return [*model_settings(fitted), "model.dtype=auto"]  # not bound to the precision it was fitted at


def _opener(head: Path) -> "Opener":
    """Opens the model with a head on it."""

    def opened(spec: "ModelSpec", cache: bool) -> "Generator":
        from lmtools.ats.calibrated import open_calibrated

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
    named: dict[str, Any],
) -> "GenerateConfig":
    """The settings, from the options and ``--set``; every fault at once."""
    from lmtools.generation.requests import GenerateConfig

    named_settings = [
        f"{key}={json_module.dumps(value)}" for key, value in named.items() if value is not None
    ]
    data: dict[str, Any] = {}
    sources: dict[tuple[str | int, ...], str] = {(): "lmtools generate"}
    for override in [*named_settings, *overrides(settings, model, backend, seed)]:
        keys, data = apply_override(data, override)
        option = (
            f"--{override.partition('=')[0].replace('_', '-')}"
            if override in named_settings
            else as_given(override)
        )
        sources[keys] = option
    try:
        return GenerateConfig.model_validate(data)
    except ValidationError as error:
        faults = describe_faults(GenerateConfig, error, sources)
        raise RecipeError("\n".join(faults), fix="mend the options above") from error


# `lmtools generate --best-of`: of several completions, the one that a user's reward model ranks first.

TEMPERATURE = 0.8
"""At 0 all completions would be the same."""


def check(
    best_of: int | None,
    reward: Path | None,
    weights: Path | None,
    samples: int | None,
    raw: bool,
    temperature: float | None,
) -> None:
    """Whether the options go together.

    Raises:
        LmtoolsError: they do not.
    """
    if best_of is None or reward is None or weights is None:
        raise LmtoolsError(
            "--best-of N, --reward RUN and --weights FILE go together",
            fix="lmtools generate --prompt TEXT --best-of 4 --reward runs/hyre-train "
            "--weights runs/hyre-adapt",
        )
    if samples is not None:
        raise LmtoolsError("--best-of says how many completions are written", fix="leave --samples out")
    if raw:
        raise LmtoolsError("--best-of compares answers to what a user says", fix="leave --raw out")
    if temperature == 0 and best_of > 1:
        raise LmtoolsError(
            f"{best_of} greedy completions are one and the same", fix="give a --temperature above 0"
        )


def sampling(best_of: int, temperature: float | None) -> dict[str, Any]:
    """The settings of generation that the options stand for."""
    return {"samples": best_of, "temperature": TEMPERATURE if temperature is None else temperature}


@dataclass(frozen=True)
class Ranker:
    """A reward model, and the system message that answers were written under, if any."""

    reward: "RewardModel"
    system: str | None

    def rank(self, requests: "Sequence[Request]", rows: list[dict[str, Any]]) -> None:
        """Give every completion its ``reward`` and put the best one of each row first, in place.

        A completion without text cannot be read: its reward is None, and it comes last.
        """
        from lmtools.models.features import AnsweredPrompt

        written = [
            (row, number)
            for row, result in enumerate(rows)
            for number, completion in enumerate(result["completions"])
            if completion["text"].strip()
        ]
        answered = [
            AnsweredPrompt(self._turns(requests[row]), rows[row]["completions"][number]["text"])
            for row, number in written
        ]
        rewards = dict(zip(written, self.reward(answered), strict=True)) if answered else {}
        self.reward.reader.close()
        for row, result in enumerate(rows):
            for number, completion in enumerate(result["completions"]):
                value = rewards.get((row, number))
                completion["reward"] = None if value is None else float(value)
            result["completions"].sort(
                key=lambda completion: (completion["reward"] is None, -(completion["reward"] or 0.0))
            )

    def _turns(self, request: "Request") -> tuple[Any, ...]:
        from lmtools.models.chat import Message

        turns = request.conversation()
        if self.system is not None and turns[0].role != "system":
            turns = [Message("system", self.system), *turns]
        return tuple(turns)


def open_ranker(run: Path, weights: Path, system: str | None) -> Ranker:
    """The ranker of a trained run under the weights of a user; raises what ``open_reward`` does."""
    from lmtools.hyre.reward import open_reward

    return Ranker(open_reward(run, weights), system)
