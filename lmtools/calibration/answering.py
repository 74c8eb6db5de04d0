"""One chunk of a task's questions: a model's answers, and every method's confidence in them."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from lmtools.calibration.prompt import LETTERS, Rendering
from lmtools.calibration.recipe import CalibrationRecipe, ConfidenceName
from lmtools.calibration.scoring import Scorer
from lmtools.calibration.tasks import AnswerItem, Answers, ChoiceItem, Choices
from lmtools.core.errors import BackendError
from lmtools.core.seeds import derive
from lmtools.data.predictions import Prediction
from lmtools.generation.protocol import ROUNDING, Completion, Sampling

# From the probabilities of an answer's tokens to one confidence: the probability that the answer is right.


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


def ask_choices(
    task: Choices, items: Sequence[ChoiceItem], scorer: Scorer, rendering: Rendering
) -> list[Prediction]:
    """Every method's chosen option, the most probable letter, and its share among the letters.

    Raises:
        BackendError: a log-probability is NaN or above 0.
        LmtoolsError: the model or the backend failed.
    """
    logprobs: dict[str, dict[str, tuple[float, ...]]] = {}
    # Questions with as many options are weighed together, against the same letters.
    for count in sorted({len(item.choices) for item in items}):
        group = [item for item in items if len(item.choices) == count]
        letters = [rendering.continuation(letter) for letter in LETTERS[:count]]
        scored = scorer.options([rendering.text(item.prompt) for item in group], letters)
        logprobs |= {item.id: by_method for item, by_method in zip(group, scored, strict=True)}
    # The most probable letter is the answer; its share among the letters is the confidence, which the
    # method's confidence map may change.
    predictions = []
    for item in items:
        for method in scorer.methods:
            letter_shares = shares(_numbers(logprobs[item.id][method], task.name, item.id, method))
            best = max(range(len(letter_shares)), key=letter_shares.__getitem__)
            confidence = _within(scorer.adjust(method, letter_shares[best]))
            predictions.append(
                Prediction(
                    id=item.id,
                    task=task.name,
                    method=method,
                    answer=item.choices[best],
                    confidence=confidence,
                    correct=best == item.answer,
                )
            )
    return predictions


def ask_answers(
    task: Answers,
    items: Sequence[AnswerItem],
    scorer: Scorer,
    rendering: Rendering,
    recipe: CalibrationRecipe,
    written: Mapping[str, tuple[str, ...]] | None,
) -> list[Prediction]:
    """The model's answers, or those written elsewhere, with every method's confidence in each.

    Args:
        written: question id -> answers to score; None: the model answers.

    Raises:
        BackendError: a log-probability is NaN or above 0.
        LmtoolsError: the model or the backend failed.
    """
    prompts = [rendering.text(item.prompt) for item in items]
    if written is None:
        answers = scorer.generate(prompts, _sampling(task, recipe), recipe.answers.samples)
    else:
        answers = [
            [Completion(rendering.continuation(text), finish="length") for text in written[item.id]]
            for item in items
        ]
    # All answers in one list, for one call of the scorer.
    answered = [
        (item, prompt, answer)
        for item, prompt, group in zip(items, prompts, answers, strict=True)
        for answer in group
    ]
    scored = scorer.score([prompt for _, prompt, _ in answered], [answer for _, _, answer in answered])
    predictions = []
    for (item, _, answer), by_method in zip(answered, scored, strict=True):
        text = answer.text.strip()
        right = task.is_right(item, text)
        for method in scorer.methods:
            values = answer_tokens(_numbers(by_method[method], task.name, item.id, method), answer)
            probabilities = _probabilities(values, partial(scorer.adjust, method))
            predictions.append(
                Prediction(
                    id=item.id,
                    task=task.name,
                    method=method,
                    answer=text,
                    confidence=answer_confidence(probabilities, recipe.confidence),
                    correct=right,
                )
            )
    return predictions


def _sampling(task: Answers, recipe: CalibrationRecipe) -> Sampling:
    return Sampling(
        max_tokens=task.definition.max_tokens,
        temperature=recipe.answers.temperature,
        stop=task.definition.stop,
        seed=derive(recipe.seed, task.name),
    )


def _probabilities(logprobs: Sequence[float], adjust: Callable[[float], float]) -> list[float]:
    return [_within(adjust(_within(math.exp(value)))) for value in logprobs]


def _within(probability: float) -> float:
    """Rounding can leave a probability a hair outside [0, 1]."""
    return min(1.0, max(0.0, float(probability)))


def _numbers(values: Sequence[float], task: str, id: str, method: str) -> Sequence[float]:
    """The values, made sure to be logarithms of probabilities."""
    if not all(value <= ROUNDING for value in values):
        wrong = "above 0" if any(value > ROUNDING for value in values) else "that is not a number"
        raise BackendError(
            f"{task}: question {id!r}, {method}: the model gave a log-probability {wrong}",
            fix="check the weights of the model and the head; with bfloat16, try model.dtype=float32",
        )
    return values
