"""Explorers that are no model: rules that propose queries from the question and what was found.

A small model alone rarely stumbles on a good second query. A rule needs no gold title: it proposes, the
retriever's reward disposes, and the policy learns when which kind of query pays.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from lmtools.leret.prompts import PassageText, clean_query

WORD = re.compile(r"\w[\w'’.\-]*\w|\w")
_INITIAL = r"[A-Z]\.(?=\s?[A-Z])"
_NAME = rf"(?:{_INITIAL}|[A-Z0-9][\w'’&\-]*(?:,(?=\s\d{{4}}))?)"
_JOIN = r"(?:of|the|and|de|in|la|von|van|for|a|at|on|to)"
PHRASE = re.compile(rf"{_NAME}(?:\s(?:{_JOIN}\s){{0,2}}{_NAME})*")


@dataclass(frozen=True)
class Proposal:
    """A query that a rule proposes, and the phrase it is built around (empty: only words of the question)."""

    query: str
    phrase: str = ""


Rule = Callable[[str, Sequence[PassageText]], list[Proposal]]


@lru_cache(maxsize=1)
def _language() -> tuple[Callable[[str], str], frozenset[str]]:
    import Stemmer
    from bm25s.stopwords import STOPWORDS_EN

    return Stemmer.Stemmer("english").stemWord, frozenset(STOPWORDS_EN)


def stem(word: str) -> str:
    """The stem of an English word, lower case."""
    return str(_language()[0](word.lower()))


def is_stopword(word: str) -> bool:
    """Whether a search ignores the word."""
    return word.lower() in _language()[1]


def phrases(text: str) -> list[str]:
    """Capitalised phrases of a text (names, titles, years), each once, in order.

    Small words join names on both sides of them, which keeps titles whole, and a year with its name.

    >>> phrases("Joby Harold directed Alice in Wonderland, and Awake in 2007.")
    ['Joby Harold', 'Alice in Wonderland', 'Awake in 2007']
    """
    matches = (match.group().strip() for match in PHRASE.finditer(text))
    return list(dict.fromkeys(phrase for phrase in matches if len(phrase) > 2 and not is_stopword(phrase)))


def leftover(question: str, passages: Sequence[PassageText]) -> str:
    """The question without the words that the passages contain, by stem; empty where nothing is left."""
    seen_stems = {
        stem(word) for passage in passages for word in WORD.findall(f"{passage.title} {passage.text}")
    }
    return " ".join(word for word in WORD.findall(question) if stem(word) not in seen_stems)


def bare_title(title: str) -> str:
    """A title without its disambiguation: ``Awake (film)`` -> ``Awake``."""
    return re.sub(r"\s*\([^)]*\)$", "", title)


def candidates(question: str, passages: Sequence[PassageText]) -> list[str]:
    """The phrases worth trying: titles and names in the passages, names in the question."""
    texts = [bare_title(passage.title) for passage in passages]
    texts += [phrase for passage in passages for phrase in phrases(passage.text)]
    return list(dict.fromkeys(texts + phrases(question)))


def _question(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    return [Proposal(question)]


def _drop_word(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    words = WORD.findall(question)
    content = dict.fromkeys(stem(word) for word in words if not is_stopword(word))
    return [Proposal(" ".join(word for word in words if stem(word) != dropped)) for dropped in content]


def _leftover(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    return [Proposal(leftover(question, passages)), Proposal(leftover(question, passages[:1]))]


def _question_title(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    titles = [bare_title(passage.title) for passage in passages]
    return [Proposal(f"{question} {title}", title) for title in titles]


def _phrase(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    return [Proposal(phrase, phrase) for phrase in candidates(question, passages)]


def _phrase_leftover(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    rest = leftover(question, passages)
    return [Proposal(f"{phrase} {rest}", phrase) for phrase in candidates(question, passages) if rest]


def _question_phrase(question: str, passages: Sequence[PassageText]) -> list[Proposal]:
    return [Proposal(f"{question} {phrase}", phrase) for phrase in candidates(question, passages)]


RULES: dict[str, Rule] = {
    "question": _question,
    "drop-word": _drop_word,
    "leftover": _leftover,
    "question+title": _question_title,
    "phrase": _phrase,
    "phrase+leftover": _phrase_leftover,
    "question+phrase": _question_phrase,
}


def propose(rule: str, question: str, passages: Sequence[PassageText], limit: int) -> list[Proposal]:
    """The proposals of one rule, each query once, none empty, at most ``limit``.

    A query is brought into the form in which a model's is read, so that what is tried can be learnt.
    """
    distinct: dict[str, Proposal] = {}
    for proposal in RULES[rule](question, passages):
        query = clean_query(" ".join(proposal.query.split()))
        if query:
            distinct.setdefault(query, replace(proposal, query=query))
    return list(distinct.values())[:limit]
