"""What a measurement asks of a model: answers, and their log-probabilities under one or several methods.

A method is a way to calibrate; the first is always the model as it is, unless a server calibrates by itself.
A method may end in a confidence map, a function of one probability: ``adjust`` applies it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from lmtools.generation.protocol import Completion, Generator, Sampling

UNCALIBRATED = "uncalibrated"

ByMethod = dict[str, tuple[float, ...]]
"""Method -> natural log-probabilities, one per token or per option."""


class Scorer(Protocol):
    """A language model whose probabilities are computed under every one of ``methods``."""

    @property
    def methods(self) -> tuple[str, ...]:
        """In the order in which tables show them."""
        ...

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` answers of the base model to every prompt: see ``Generator``."""
        ...

    def score(self, prompts: Sequence[str], answers: Sequence[Completion]) -> list[ByMethod]:
        """Every method's log-probabilities of each answer's tokens after its prompt.

        An answer's tokens are ``answer.tokens``; of one without any, its text's, tokenised apart from the
        prompt. An empty answer has none.
        """
        ...

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[ByMethod]:
        """Every method's log-probability of each option as the next token, over the full vocabulary.

        Raises:
            LmtoolsError: an option is not exactly one token.
        """
        ...

    def adjust(self, method: str, confidence: float) -> float:
        """What a method makes of a probability: itself, unless the method is a confidence map."""
        ...

    def close(self) -> None:
        """Let go of the model."""
        ...


@dataclass(frozen=True)
class ScorerSource:
    """What a measurement must know of a scorer before it loads any weights.

    ``methods`` are its rows, ``open`` loads it, ``hashes`` are the SHA-256 of what was fitted, by path. What
    was fitted may be for another model: ``check`` then raises ModelError, ``open`` does so in any case.
    """

    methods: tuple[str, ...]
    open: Callable[[], Scorer]
    hashes: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[], None] | None = None


class GeneratorScorer:
    """Any generator under one method: its log-probabilities as they come.

    Args:
        generator: the model, on whichever backend; closed with the scorer.
        method: the name in tables; another than "uncalibrated" where the backend calibrates by itself, such
            as an exported model.
    """

    def __init__(self, generator: Generator, method: str = UNCALIBRATED) -> None:
        self._generator = generator
        self.methods = (method,)

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """See ``Scorer``."""
        return self._generator.generate(prompts, sampling, samples)

    def score(self, prompts: Sequence[str], answers: Sequence[Completion]) -> list[ByMethod]:
        """See ``Scorer``; an answer that brings its log-probabilities is not scored again."""
        pairs = list(zip(prompts, answers, strict=True))
        unscored = [(prompt, answer.text) for prompt, answer in pairs if not answer.logprobs]
        scored = iter(self._generator.score(unscored) if unscored else ())
        return [{self.methods[0]: answer.logprobs or next(scored)} for answer in answers]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[ByMethod]:
        """See ``Scorer``."""
        return [{self.methods[0]: values} for values in self._generator.options(prompts, options)]

    def adjust(self, method: str, confidence: float) -> float:
        """The confidence as it is."""
        return confidence

    def close(self) -> None:
        """Close the generator."""
        self._generator.close()
