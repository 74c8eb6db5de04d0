"""From log-probabilities to one confidence: pure functions.

Log-probabilities are natural. A confidence is meant as the probability that the answer is right.
"""

import math
from collections.abc import Callable, Sequence

from lmtools.calibration.recipe import ConfidenceName
from lmtools.generation.protocol import Completion


def mean(probabilities: Sequence[float]) -> float:
    """The arithmetic mean of the token probabilities (the public code of ATS)."""
    return math.fsum(probabilities) / len(probabilities)


def product(probabilities: Sequence[float]) -> float:
    """The product of the token probabilities: the probability of exactly these words."""
    return math.prod(probabilities)


def length_normalised(probabilities: Sequence[float]) -> float:
    """The n-th root of the product: the geometric mean of the token probabilities."""
    if min(probabilities) <= 0:
        return 0.0
    return math.exp(math.fsum(map(math.log, probabilities)) / len(probabilities))


CONFIDENCES: dict[ConfidenceName, Callable[[Sequence[float]], float]] = {
    "mean": mean,
    "product": product,
    "length-normalised": length_normalised,
}


def answer_confidence(probabilities: Sequence[float], kind: ConfidenceName) -> float:
    """The confidence in a written answer from the probabilities (n,) of its tokens, in [0, 1].

    An answer without any token claims nothing: 0.
    """
    if not probabilities:
        return 0.0
    return min(1.0, max(0.0, CONFIDENCES[kind](probabilities)))


def answer_tokens(values: Sequence[float], answer: Completion) -> tuple[float, ...]:
    """The values of the tokens that belong to the answer, of one value per token of the completion.

    The last token of a completion that stopped is the end of the turn, or what completed a stop string. It
    does not count, unless the completion is nothing else.
    """
    ended = bool(answer.tokens) and answer.finish == "stop" and len(values) > 1
    return tuple(values[:-1] if ended else values)


def shares(logprobs: Sequence[float]) -> list[float]:
    """The softmax over the options alone: each one's probability, given that one of them comes.

    >>> [round(share, 3) for share in shares([math.log(0.2), math.log(0.1), math.log(0.1)])]
    [0.5, 0.25, 0.25]
    """
    highest = max(logprobs)
    if highest == -math.inf:
        return [1 / len(logprobs)] * len(logprobs)
    weights = [math.exp(value - highest) for value in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]
