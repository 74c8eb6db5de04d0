"""A generator that answers from a table, a function or a queue, and remembers what it was asked: for tests.

    generator = Scripted({"Say hi": "hi", "Guess": ["one", "two"]})
    generator = Scripted(lambda prompt, sample: f"answer {sample}")
    generator = Scripted(["first", "second"])

Its tokens are words: a word is one token, and its id comes from a hash of it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lmtools.core.errors import ModelError
from lmtools.core.files import sha256_text
from lmtools.generation.protocol import Completion, Sampling

Answer = str | Sequence[str]
Answers = Mapping[str, Answer] | Callable[[str, int], str] | Sequence[str]
VOCABULARY = 1 << 20
LOGPROB = -1.0
"""Log-probability of every token, where no ``scores`` say otherwise."""


@dataclass(frozen=True)
class Call:
    """One request: which method, for which prompts (or pairs), with what."""

    method: str
    prompts: tuple[str, ...] | tuple[tuple[str, str], ...]
    sampling: Sampling | None = None
    samples: int = 1
    options: tuple[str, ...] = ()


class Scripted:
    """A generator whose answers are given beforehand.

    Args:
        answers: by prompt, one text or one for each sample (taken round and round); or ``(prompt, sample)``
            to text; or a queue that is used up in the order of prompts and samples.
        scores: (prompt, continuation) to the log-probability of each of the continuation's words.
        chances: (prompt, option) to the option's log-probability; equal chances without it.
        identity: under which name its completions are cached.
    """

    def __init__(
        self,
        answers: Answers = (),
        *,
        scores: Callable[[str, str], Sequence[float]] | None = None,
        chances: Callable[[str, str], float] | None = None,
        identity: str = "scripted",
    ) -> None:
        self.identity = identity
        self.calls: list[Call] = []
        self.closed = False
        self._answer = _answering(answers)
        self._scores, self._chances = scores, chances

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """The scripted answers, cut at stop strings and at ``max_tokens`` words."""
        self.calls.append(Call("generate", tuple(prompts), sampling, samples))
        return [
            [self._completion(prompt, self._answer(prompt, sample), sampling) for sample in range(samples)]
            for prompt in prompts
        ]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """One log-probability for each word of every continuation."""
        self.calls.append(Call("score", tuple(pairs)))
        return [self._score(prompt, continuation) for prompt, continuation in pairs]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """The scripted log-probabilities of one-word options."""
        self.calls.append(Call("options", tuple(prompts), options=tuple(options)))
        for option in options:
            if len(option.split()) != 1:
                raise ModelError(f"option {option!r} is {len(option.split())} tokens for this model, not one")
        chances = self._chances or (lambda prompt, option: -math.log(len(options)))
        return [tuple(chances(prompt, option) for option in options) for prompt in prompts]

    def close(self) -> None:
        """Only remembered."""
        self.closed = True

    def _score(self, prompt: str, continuation: str) -> tuple[float, ...]:
        if self._scores is not None:
            return tuple(self._scores(prompt, continuation))
        return (LOGPROB,) * len(continuation.split())

    def _completion(self, prompt: str, answer: str, sampling: Sampling) -> Completion:
        ends = [at for string in sampling.stop if (at := answer.find(string)) >= 0]
        text = answer[: min(ends)] if ends else answer
        words = text.split()
        finish = "stop" if len(words) <= sampling.max_tokens else "length"
        if finish == "length":
            words = words[: sampling.max_tokens]
            text = " ".join(words)
        return Completion(text, tuple(map(word_id, words)), self._score(prompt, text), finish)


def word_id(word: str) -> int:
    """The token id of a word, the same in every process."""
    return int(sha256_text(word)[:8], 16) % VOCABULARY


def _answering(answers: Answers) -> Callable[[str, int], str]:
    if callable(answers):
        return answers
    if isinstance(answers, Mapping):
        table = answers

        def look_up(prompt: str, sample: int) -> str:
            if prompt not in table:
                raise AssertionError(f"no answer is scripted for the prompt {prompt!r}")
            answer = table[prompt]
            return answer if isinstance(answer, str) else answer[sample % len(answer)]

        return look_up
    queue = list(answers)

    def take(prompt: str, sample: int) -> str:
        if not queue:
            raise AssertionError(f"the scripted answers are used up at the prompt {prompt!r}")
        return queue.pop(0)

    return take
