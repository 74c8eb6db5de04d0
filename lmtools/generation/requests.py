"""Generation from a file or a prompt: what `lmtools generate` does.

requests = read_requests(Path("prompts.jsonl"))
for request, completions in answer(requests, GenerateConfig(samples=4)): ...
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from lmtools.core.config import Config
from lmtools.core.progress import progress
from lmtools.data.records import Record, Turn, as_tuples
from lmtools.data.rows import read_records
from lmtools.generation.open import open_generator
from lmtools.generation.protocol import Completion, Generator, Sampling
from lmtools.models.chat import Message, render
from lmtools.models.load import load_tokenizer
from lmtools.models.spec import ModelSpec

Opener = Callable[[ModelSpec, bool], Generator]
"""Opens a generator for a model; whether its answers are kept on disk."""
CHUNK = 128
"""Requests answered at a time; what is answered is in the cache, should the rest be interrupted."""


class Request(Record):
    """A line of an input file: a ``prompt`` (what the user says) or ``messages``, and an ``id`` if wanted.

    Ids are handed through to the output, so they need be neither there nor unique.
    """

    key: str | int | None = Field(default=None, alias="id")
    prompt: str | None = Field(default=None, min_length=1)
    messages: Annotated[tuple[Turn, ...] | None, Field(min_length=1), BeforeValidator(as_tuples)] = None

    @model_validator(mode="after")
    def _prompt_or_messages(self) -> "Request":
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either `prompt` or `messages`")
        return self

    def conversation(self) -> list[Message]:
        """The request as chat messages."""
        if self.messages is None:
            return [Message("user", self.prompt or "")]
        return [Message(turn.role, turn.content) for turn in self.messages]


class GenerateConfig(Config):
    """What generates, and how."""

    model: ModelSpec = ModelSpec()
    system: str | None = Field(default=None, description="A system message, where a request has none.")
    raw: bool = Field(default=False, description="Continue prompts as they are, without the chat template.")
    max_tokens: int = Field(default=256, gt=0, description="The longest completion; time grows with it.")
    temperature: float = Field(default=0.0, ge=0, description="0 always takes the most probable token.")
    top_p: float = Field(default=1.0, gt=0, le=1, description="Draw from the fewest tokens that reach this.")
    top_k: int = Field(default=0, ge=0, description="Draw from this many tokens; 0 means all.")
    stop: tuple[str, ...] = Field(default=(), description="Strings that end a completion.")
    samples: int = Field(default=1, gt=0, description="Completions of each prompt; time grows with it.")
    seed: int = Field(default=0, ge=0, description="Where random choices start.")
    cache: bool = Field(default=True, description="Keep completions on disk and ask for none twice.")

    def sampling(self) -> Sampling:
        """The parameters for a backend."""
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=self.stop,
            seed=self.seed,
        )


def read_requests(path: Path) -> list[Request]:
    """The requests of a JSONL file.

    Raises:
        DataError: the file is missing or empty, or a line is not a request.
    """
    return read_records(path, Request)


def rendering(config: GenerateConfig) -> Callable[[Request], str]:
    """Requests to prompt text; loads a tokenizer unless prompts are taken as they are."""
    if config.raw:
        return lambda request: request.prompt or "\n".join(turn.content for turn in request.messages or ())
    tokenizer = load_tokenizer(config.model)
    return lambda request: render(tokenizer, request.conversation(), system=config.system)


def answer(
    requests: Sequence[Request], config: GenerateConfig, opener: Opener | None = None
) -> Iterator[tuple[Request, list[Completion]]]:
    """Every request with its completions, in order; progress is shown on stderr.

    Args:
        requests: what to answer.
        config: what generates, and how.
        opener: makes the generator in place of ``open_generator``; takes its arguments.

    Raises:
        LmtoolsError: the model or the backend failed.
    """
    text = rendering(config)
    prompts = [text(request) for request in requests]
    generator = (opener or open_generator)(config.model, config.cache)
    with progress(len(requests), "generating") as bar:
        for start in range(0, len(requests), CHUNK):
            chunk = slice(start, start + CHUNK)
            groups = generator.generate(prompts[chunk], config.sampling(), config.samples)
            yield from zip(requests[chunk], groups, strict=True)
            bar.advance(len(groups))
