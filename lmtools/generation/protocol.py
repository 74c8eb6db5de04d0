"""What a generator is: prompts in, completions and log-probabilities out, the same from every backend.

A prompt is text that already carries the model's chat markup (``lmtools.models.chat.render``); every
backend tokenises it without adding special tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from lmtools.core.seeds import derive

ROUNDING = 1e-3
"""How far above 0 the log-probability of a certain token may be computed."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens. ``temperature`` 0 is greedy, and then ``seed`` has no effect.

    ``stop`` strings end a completion and are left out of its text. ``top_k`` 0 means no limit.

    >>> Sampling(max_tokens=8, temperature=0.7, stop=("\\n",)).top_p
    1.0
    """

    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Completion:
    """One sampled continuation.

    ``tokens`` and ``logprobs`` (natural log, under the model's own distribution at temperature 1, one per
    token) run up to and including the end-of-sequence token or the token that completed a stop string.
    ``finish`` is ``stop`` (end of sequence or stop string) or ``length``.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    finish: str = "stop"


class Generator(Protocol):
    """A language model behind one of the backends."""

    @property
    def identity(self) -> str:
        """Names the model, adapter and precision by content, for caches and manifests."""
        ...

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt, in order.

        Sample ``j`` of a prompt depends on (prompt, sampling, j) alone, not on its neighbours in the batch.
        """
        ...

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens after its prompt, for (prompt, continuation) pairs.

        Prompt and continuation are tokenised apart, as they are when the continuation is generated.
        """
        ...

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """For each prompt, each option's log-probability as the next token, over the full vocabulary.

        Raises:
            LmtoolsError: an option is not exactly one token.
        """
        ...

    def close(self) -> None:
        """Let go of the model, its memory and its connections; nothing can be asked afterwards.

        Closing twice does nothing more.
        """
        ...


# Which samples of a prompt are computed, and with which seed each is drawn.

Item = TypeVar("Item")


def sample_seed(prompt: str, sampling: Sampling, sample: int) -> int:
    """The seed of one sample, from the run's seed, the prompt's text and the sample's index; below 2**31.

    It names nothing of the batch, so a sample stays the same whatever is generated beside it.
    """
    return derive(sampling.seed, prompt, sample) % 2**31


def draws(sampling: Sampling, samples: int) -> int:
    """How many of ``samples`` are computed: greedy ones are all the same, so one of them at most."""
    return samples if sampling.temperature > 0 else min(samples, 1)


def by_prompt(items: Sequence[Item], prompts: int, samples: int) -> list[list[Item]]:
    """``samples`` items for each of ``prompts``, from the computed ones, which are prompt by prompt.

    Where fewer were computed they are repeated: ``by_prompt("ab", 2, 3)`` is ``[["a"] * 3, ["b"] * 3]``.
    """
    each = len(items) // prompts if prompts else 0
    rows = [list(items[index * each : (index + 1) * each]) for index in range(prompts)]
    return [row * (samples // each) if each else [] for row in rows]
