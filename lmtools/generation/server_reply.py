"""What an OpenAI-compatible completion server sends back, validated."""

import json
from typing import TypeVar

from pydantic import BaseModel, Field, ValidationError

from lmtools.core.errors import BackendError
from lmtools.core.http import said
from lmtools.generation.protocol import Completion


class Served(BaseModel):
    """One entry of ``/models``."""

    id: str
    owned_by: str = ""


class Models(BaseModel):
    """The answer of ``/models``."""

    data: list[Served]


class Tokens(BaseModel):
    """The answer of vLLM's ``/tokenize``."""

    tokens: list[int]


class Entry(BaseModel):
    """One token's log-probability, natural log."""

    logprob: float


class Logprobs(BaseModel):
    """Log-probabilities of the returned tokens, one entry each; a server may leave out any of the lists."""

    token_logprobs: list[float | None] = []
    top_logprobs: list[dict[str, float] | None] | None = None
    text_offset: list[int] = []


class Choice(BaseModel):
    """One completion. ``token_ids`` and ``prompt_logprobs`` are vLLM's additions."""

    text: str
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | None = None
    prompt_logprobs: list[dict[int, Entry] | None] | None = None

    def completion(self) -> Completion:
        """As a ``Completion``; without token ids or log-probabilities where the server gives none.

        Raises:
            ValueError: it ended for another reason than ``stop`` or ``length``.
        """
        if self.finish_reason not in ("stop", "length"):
            raise ValueError(f"a completion ended with finish_reason {self.finish_reason!r}")
        given = self.logprobs.token_logprobs if self.logprobs else []
        logprobs = tuple(value for value in given if value is not None)
        return Completion(self.text, tuple(self.token_ids or ()), logprobs, self.finish_reason)


class Completions(BaseModel):
    """The answer of ``/completions``."""

    choices: list[Choice] = Field(min_length=1)


Reply = TypeVar("Reply", bound=BaseModel)


def parse(kind: type[Reply], content: bytes, url: str) -> Reply:
    """The JSON in ``content`` as ``kind``.

    Raises:
        BackendError: it is not JSON, or has another shape; names the first field that is wrong.
    """
    fix = "check that model.server_url is the address of an OpenAI-compatible API, ending in /v1"
    try:
        return kind.model_validate(json.loads(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the answer"
        raise BackendError(
            f"{url} answered in another form than the OpenAI completions API: {place}: {first['msg']}",
            fix=fix,
        ) from error
    except ValueError as error:
        raise BackendError(
            f"{url} answered with something that is not JSON: {said(content)}", fix=fix
        ) from error
