"""Whether a written answer is right."""

from collections.abc import Sequence

from lmtools.metrics.answers import exact_match, f1, normalise


def exact(answer: str, accepted: Sequence[str]) -> bool:
    """Whether the answer equals an accepted one after SQuAD's normalisation; one without words never does."""
    return bool(normalise(answer)) and exact_match(answer, accepted) == 1.0


def closest(answer: str, accepted: Sequence[str], rejected: Sequence[str]) -> bool:
    """Whether the answer is closer to an accepted answer than to every rejected one, in token F1.

    It sees words, not meanings: a right answer in words of its own shares few with either list, a wrong one
    that differs from an accepted answer by "not" shares almost all. A tie, such as no word in common with
    any, is wrong. So its rates compare methods and models with each other, not with those of a human judge.
    """
    if not normalise(answer):
        return False
    return f1(answer, accepted) > (f1(answer, rejected) if rejected else 0.0)
