"""Question answering: exact match and token F1 after SQuAD's normalisation (Rajpurkar et al. 2016)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and repeated white space.

    >>> normalise("The  Beatles!")
    'beatles'
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1.0 where the normalised answer equals one of the accepted answers, else 0.0.

    Raises:
        ValueError: ``accepted`` is empty.
    """
    if not accepted:
        raise ValueError("no accepted answer to compare with")
    return float(normalise(answer) in {normalise(text) for text in accepted})


def f1(answer: str, accepted: Sequence[str]) -> float:
    """The best token F1 against the accepted answers, in [0, 1]; two empty texts agree.

    Raises:
        ValueError: ``accepted`` is empty.
    """
    if not accepted:
        raise ValueError("no accepted answer to compare with")
    return max(_f1(normalise(answer).split(), normalise(text).split()) for text in accepted)


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    shared = sum((Counter(answer) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(gold)
    return 2 * precision * recall / (precision + recall)
