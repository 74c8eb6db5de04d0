"""Generation by any server with an OpenAI-compatible completions API, several requests at a time.

    python -m vllm.entrypoints.openai.api_server --model DIR --max-logprobs -1    # add, on a CPU:
        --no-enable-chunked-prefill --max-num-batched-tokens 4096 --max-model-len 4096 --block-size 32

A vLLM server answers exactly as ``VllmGenerator`` does: token ids, log-probabilities, scores and options.
From other servers come texts, and as much of the rest as they offer; what they cannot do is an error that
says so. Only ``/completions`` is used: a prompt is finished text, which a chat endpoint would wrap again.
"""

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field, model_validator

from lmtools.core import http
from lmtools.core.errors import BackendError, ModelError
from lmtools.core.http import JsonClient, Reply, Service, Text, shown_address
from lmtools.core.strings import cut, printable, well_formed
from lmtools.generation.protocol import ROUNDING, Completion, Sampling, by_prompt, draws, sample_seed
from lmtools.models.spec import BUILTIN_LM, ModelSpec

# What an OpenAI-compatible server sends back, validated.

IMPOSSIBLE = -9999.0
"""vLLM's log-probability of what cannot come, since JSON has no infinity."""
LARGEST_TOTAL = 1.1
"""Of the probabilities of distinct next tokens; above 1 by what half precision adds to them."""


def at_most_0(logprob: float) -> float:
    """A log-probability without the rounding of a certain token.

    Raises:
        ValueError: it is further above 0, or NaN.
    """
    if not logprob <= ROUNDING:
        raise ValueError(f"a log-probability is at most 0, not {logprob}")
    return min(logprob, 0.0)


TokenId = Annotated[int, Field(strict=True, ge=0, lt=2**31)]
LogProb = Annotated[float, Field(strict=True), AfterValidator(at_most_0)]
FiniteLogProb = Annotated[float, Field(strict=True, allow_inf_nan=False), AfterValidator(at_most_0)]


class Served(BaseModel):
    """One entry of ``/models``."""

    id: Annotated[Text, Field(min_length=1)]
    owned_by: Text | None = None


class Models(BaseModel):
    """The answer of ``/models``."""

    data: list[Served]


class Tokens(BaseModel):
    """The answer of vLLM's ``/tokenize``."""

    tokens: list[TokenId]


class Entry(BaseModel):
    """One token's log-probability, natural log."""

    logprob: FiniteLogProb


class Logprobs(BaseModel):
    """Log-probabilities of the returned tokens, one entry each; a server may leave out any of the lists."""

    token_logprobs: list[FiniteLogProb | None] | None = None
    top_logprobs: list[dict[Text, LogProb] | None] | None = None
    text_offset: list[Annotated[int, Field(strict=True)]] | None = None

    @model_validator(mode="after")
    def _one_entry_a_token(self) -> "Logprobs":
        lists = {name: len(entries) for name, entries in self if entries}
        if len(set(lists.values())) > 1:
            raise ValueError(f"entries differ in number: {lists}")
        return self


class Choice(BaseModel):
    """One completion. ``token_ids`` and ``prompt_logprobs`` are vLLM's additions."""

    text: Text
    finish_reason: Text | None = None
    logprobs: Logprobs | None = None
    token_ids: list[TokenId] | None = None
    prompt_logprobs: list[dict[int, Entry] | None] | None = None

    def completion(self) -> Completion:
        """As a ``Completion``; without token ids or log-probabilities where the server gives none.

        Raises:
            BackendError: it ended for another reason than ``stop`` or ``length``, or has not one
                log-probability for each token.
        """
        entries = (self.logprobs.token_logprobs if self.logprobs else None) or []
        tokens, logprobs = tuple(self.token_ids or ()), tuple(value for value in entries if value is not None)
        expected = len(tokens or entries)
        if self.finish_reason not in ("stop", "length"):
            fault = f"a completion ended with finish_reason {cut(repr(self.finish_reason), 80)}"
        elif logprobs and len(logprobs) != expected:
            fault = f"a completion has {len(logprobs)} log-probabilities for {expected} tokens"
        else:
            return Completion(self.text, tokens, logprobs, self.finish_reason)
        raise BackendError(fault, fix="run the command again; if that changes nothing, use --backend hf")


class Completions(BaseModel):
    """The answer of ``/completions``: a request asks for one."""

    choices: list[Choice] = Field(min_length=1, max_length=1)


def parse(kind: type[Reply], content: bytes, url: str) -> Reply:
    """The JSON in ``content`` as ``kind``.

    Raises:
        BackendError: it is not JSON, or has another shape; names the first field that is wrong.
    """
    try:
        return http.parse(kind, content)
    except ValueError as error:
        raise BackendError(
            f"{shown_address(url)} answered in another form than the OpenAI completions API: {error}",
            fix="check that model.server_url is the address of an OpenAI-compatible API, ending in /v1; if "
            "it is, the server is at fault: use a vLLM server, --backend vllm or --backend hf",
        ) from error


# The generator.

KEYS = ("LMTOOLS_API_KEY", "OPENAI_API_KEY")
SERVICE = Service(
    error=BackendError,
    address="model.server_url",
    key=f"put the server's API key into the environment variable {KEYS[0]}",
    relief="ask for fewer tokens",
)
TOP = 20
"""Log-probabilities of a token that servers other than vLLM are asked for."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class ServerGenerator:
    """A model behind ``spec.server_url``.

    Args:
        spec: ``name`` (or ``adapter``, where given) is the name the model is served under. Only where both
            are left as they are may a server's one model go by another name.
        concurrency: requests under way at once.
        timeout: seconds to wait for one answer.
        retries: further attempts at a request that failed for a passing reason.
        pause: seconds before the first of them, doubled for each one after it.

    Raises:
        BackendError: the server does not answer, or not in the form of the API.
        ModelError: it does not serve the model.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        concurrency: int = 16,
        timeout: float = 120.0,
        retries: int = 5,
        pause: float = 0.5,
    ) -> None:
        key = next(filter(None, (os.environ.get(name, "").strip() for name in KEYS)), None)
        self._concurrency = concurrency
        self._http = JsonClient(
            spec.server_url,
            SERVICE,
            timeout=timeout,
            retries=retries,
            pause=pause,
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        served = parse(Models, self._http.get("/models"), f"{self._http.base}/models").data
        named = spec.adapter is not None or spec.name != BUILTIN_LM
        chosen = choose_model(served, spec.adapter or spec.name, strict=named)
        self._model = chosen.id
        self._vllm = chosen.owned_by == "vllm"

    @property
    def identity(self) -> str:
        """The address and the name the model is served under; a server does not tell its weights."""
        return f"server:{self._http.base}:{self._model}"

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt; greedy ones are asked for once and repeated."""
        if sampling.max_tokens < 1:
            return [[Completion("", finish="length")] * samples for _ in prompts]
        jobs = [(prompt, draw) for prompt in prompts for draw in range(draws(sampling, samples))]
        completions = self._each(lambda job: self._sample(job[0], sampling, job[1]), jobs)
        return by_prompt(completions, len(prompts), samples)

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens.

        From servers other than vLLM, prompt and continuation are tokenised together: they take only text.

        Raises:
            BackendError: the server does not return log-probabilities of a prompt.
        """
        if not self._vllm:
            return self._each(lambda pair: self._score_echo(*pair), pairs)
        ids = self._tokenise([text for pair in pairs for text in pair])
        return self._each(lambda pair: self._score_ids(ids[pair[0]], ids[pair[1]]), pairs)

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Each option's log-probability as the next token, over the full vocabulary.

        Raises:
            ModelError: an option is not exactly one token (known from vLLM only).
            BackendError: the server does not return an option's log-probability.
        """
        if self._vllm:
            ids = self._tokenise(options)
            for option in options:
                if len(ids[option]) != 1:
                    raise ModelError(
                        f"option {option!r} is {len(ids[option])} tokens for this model, not one",
                        fix="use options that are single tokens, such as ' A' or 'A'",
                    )
            names = [f"token_id:{ids[option][0]}" for option in options]
            parameters = {"logprobs": 1, "logprob_token_ids": sorted({ids[option][0] for option in options})}
            parameters |= {"return_tokens_as_token_ids": True, "add_special_tokens": False}
        else:
            names, parameters = list(options), {"logprobs": TOP}
        return self._each(lambda prompt: self._next_token(prompt, names, parameters), prompts)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _sample(self, prompt: str, sampling: Sampling, draw: int) -> Completion:
        body: dict[str, Any] = {
            "prompt": prompt,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "logprobs": 0 if self._vllm else 1,
        }
        if sampling.temperature > 0:
            body["seed"] = sample_seed(prompt, sampling, draw)
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.top_k:
            body["top_k"] = sampling.top_k
        if self._vllm:
            # Said outright, since the server takes what is left out from the model's generation_config.json.
            body |= {"top_k": sampling.top_k, "min_p": 0.0, "repetition_penalty": 1.0}
            body |= {"add_special_tokens": False, "return_token_ids": True}
        choice = self._complete(body)
        try:
            return choice.completion()
        except BackendError as error:
            message = f"{shown_address(self._http.base)}: {error.message}"
            raise BackendError(message, fix=error.fix) from error

    def _score_ids(self, prompt: list[int], continuation: list[int]) -> tuple[float, ...]:
        if not continuation:
            return ()
        if not prompt:
            raise ModelError("a prompt has no tokens", fix="give every prompt at least one character")
        choice = self._complete(
            {"prompt": prompt + continuation, "max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        )
        rows = choice.prompt_logprobs or []
        scored = [
            row[token].logprob
            for row, token in zip(rows[len(prompt) :], continuation, strict=False)
            if row and token in row
        ]
        if len(rows) != len(prompt + continuation) or len(scored) != len(continuation):
            raise self._cannot("log-probabilities of the prompt, one for each token")
        return tuple(scored)

    def _score_echo(self, prompt: str, continuation: str) -> tuple[float, ...]:
        if not continuation:
            return ()
        choice = self._complete(
            {
                "prompt": prompt + continuation,
                "max_tokens": 0,
                "temperature": 0.0,
                "logprobs": 1,
                "echo": True,
            }
        )
        offsets = (choice.logprobs.text_offset if choice.logprobs else None) or []
        entries = (choice.logprobs.token_logprobs if choice.logprobs else None) or []
        if choice.text != well_formed(prompt + continuation) or len(prompt) not in offsets or not entries:
            raise self._cannot("log-probabilities of an echoed prompt, split where the continuation starts")
        start = max(offsets.index(len(prompt)), 1)  # nothing stands before the first token
        if None in entries[start:]:
            raise self._cannot("log-probabilities of an echoed prompt, one for each token")
        return tuple(value for value in entries[start:] if value is not None)

    def _next_token(self, prompt: str, names: list[str], parameters: dict[str, Any]) -> tuple[float, ...]:
        choice = self._complete({"prompt": prompt, "max_tokens": 1, "temperature": 0.0, **parameters})
        top = (choice.logprobs.top_logprobs if choice.logprobs else None) or [None]
        values = top[0] or {}
        missing = [name for name in names if name not in values]
        if missing:
            raise self._cannot(f"the log-probability of {missing[0]!r} as the next token")
        chosen = {name: values[name] for name in names}
        total = math.fsum(map(math.exp, chosen.values()))
        if chosen and (max(chosen.values()) <= IMPOSSIBLE or total > LARGEST_TOTAL):
            raise self._cannot(f"probabilities of the options: what it returns adds up to {total:.3g}")
        return tuple(chosen[name] for name in names)

    def _tokenise(self, texts: Sequence[str]) -> dict[str, list[int]]:
        """The token ids of each distinct text, from vLLM's own endpoint, which lies beside ``/v1``."""
        url = self._http.base.removesuffix("/v1") + "/tokenize"
        unique = list(dict.fromkeys(texts))

        def token_ids(text: str) -> list[int]:
            body = {"model": self._model, "prompt": text, "add_special_tokens": False}
            return parse(Tokens, self._http.post(url, body), url).tokens if text else []

        return dict(zip(unique, self._each(token_ids, unique), strict=True))

    def _complete(self, body: dict[str, Any]) -> Choice:
        reply = self._http.post("/completions", {"model": self._model, **body})
        return parse(Completions, reply, f"{self._http.base}/completions").choices[0]

    def _cannot(self, what: str) -> BackendError:
        return BackendError(
            f"{shown_address(self._http.base)} does not return {what}",
            fix="use a vLLM server, --backend vllm or --backend hf",
        )

    def _each(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """``function`` of every item, in order; the first failure drops what has not started."""
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            return [future.result() for future in [pool.submit(function, item) for item in items]]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def choose_model(served: Sequence[Served], name: str, *, strict: bool = False) -> Served:
    """The served model called ``name``; unless ``strict``, a server's only model answers to any name.

    Raises:
        ModelError: there is none.
    """
    named = [model for model in served if model.id == name]
    if named or (len(served) == 1 and not strict):
        return (named or list(served))[0]
    names = cut(printable(", ".join(model.id for model in served)), 500) or "nothing"
    raise ModelError(
        f"the server does not serve {name!r}; it serves {names}",
        fix="set model.name to one of these, or let it serve that model under that name",
    )
