"""Text to terms, in any script: what both BM25s index and search by, and what ``data check`` counts.

    text -> NFKC, lower case, no signs that writers leave out -> words -> no stop words, stems

A word is a run of letters, digits and combining marks; one letter suffices (`R`), unless an apostrophe binds
it to another word (`'s`, `l'`). `C++`, `C#` and `2.5` are terms of their own. Scripts written without spaces,
and Korean, whose particles cling to words, give pairs of neighbouring characters with their marks;
Chinese characters are terms alone too (Nie et al., "On the use of words and n-grams for Chinese information
retrieval", IRAL 2000).
"""

import unicodedata
from collections.abc import Callable
from functools import cache
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Literal

from lmtools.data.records import Passage

if TYPE_CHECKING:
    import regex

Stemmer = Literal[
    "english", "danish", "dutch", "finnish", "french", "german", "hungarian", "italian", "norwegian",
    "portuguese", "romanian", "russian", "spanish", "swedish", "turkish", "none",
]  # fmt: skip
StopWords = Literal["en", "da", "de", "es", "fr", "it", "nl", "no", "pt", "ru", "sv", "tr", "none"]

TERMS_FORMAT = 2
"""Another number where the same text gives other terms: part of the identity of every index of terms."""
STOP_WORD_LISTS: dict[StopWords, str] = {
    "en": "STOPWORDS_EN",
    "da": "STOPWORDS_DANISH",
    "de": "STOPWORDS_GERMAN",
    "es": "STOPWORDS_SPANISH",
    "fr": "STOPWORDS_FRENCH",
    "it": "STOPWORDS_ITALIAN",
    "nl": "STOPWORDS_DUTCH",
    "no": "STOPWORDS_NORWEGIAN",
    "pt": "STOPWORDS_PORTUGUESE",
    "ru": "STOPWORDS_RUSSIAN",
    "sv": "STOPWORDS_SWEDISH",
    "tr": "STOPWORDS_TURKISH",
}

# The patterns, of the package `regex`, whose \w has combining marks and which knows scripts.

WORD = (
    r"\d(?<![\w.]\d)\d*\.\d+(?!\.?\d)"  # 2.5, but neither 3.11.2 nor 24.12.2024
    r"|\w\w+"
    r"|\w(?<!\w['’]\w)(?:\+\+|#|(?!['’]\w\w))"  # R, C++, C#; neither the s of it's nor the l of l'eau
)
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\u30fc\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
CLUSTER = rf"[[{UNSPACED}]&&\w--\p{{Nd}}]\p{{M}}*"
"""A letter of a script whose words no spaces part, with its marks."""
LATIN = r"[\x00-\xac\xae-\u02ff\u2010-\u2027\u2030-\u205e\u20a0-\u20cf]*"
"""Text in which nothing is optional and no marks are to be put in order."""
OPTIONAL = (
    r"[\p{Default_Ignorable_Code_Point}--\u200b]"  # soft hyphens, joiners; not the zero-width space
    r"|[\u0610-\u061a\u0640\u064b-\u0652\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"  # Arabic vowels
    r"|[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"  # Hebrew points
    r"|(?<=\p{Cyrillic})[\u0300\u0301]"  # stress
)
"""What is written or left out in the same word."""
UNORDERED = r"[\P{ccc=0}\uff9e\uff9f]{32}"
"""So many marks in a row that putting them in order takes time."""


@cache
def _pattern(pattern: str) -> "regex.Pattern[str]":
    import regex

    return regex.compile(pattern, regex.VERSION1)


def normal(text: str) -> str:
    """``text`` in NFKC and lower case, without optional signs, its words parted; in linear time.

    >>> normal("Malmo\u0308 \uff12\uff15\u2103 東京都")
    'malmö 25°c  東 京 都 東京 京都 '
    """
    if text.isascii():
        return text.lower()
    if _pattern(LATIN).fullmatch(text):
        return unicodedata.normalize("NFKC", text).lower()
    if _pattern(UNORDERED).search(text):
        text = _ordered(text)
    text = _pattern(OPTIONAL).sub("", unicodedata.normalize("NFKC", text))
    parted: str = _pattern(rf"(?:{CLUSTER})+").sub(_pairs, text)
    return parted.lower()


def _pairs(run: "regex.Match[str]") -> str:
    """Neighbouring characters, and the Chinese ones also alone."""
    clusters = _pattern(CLUSTER).findall(run[0])
    if len(clusters) == 1:
        return f" {run[0]} "
    alone = filter(_pattern(r"\p{Han}").match, clusters)
    return f" {' '.join(chain(alone, map(''.join, pairwise(clusters))))} "


def _ordered(text: str) -> str:
    """``text`` decomposed, its marks in canonical order: ``normalize`` takes quadratic time for long runs."""
    decomposed = "".join(unicodedata.normalize("NFKD", character) for character in text)
    ordered: str = _pattern(r"\P{ccc=0}{2,}").sub(
        lambda marks: "".join(sorted(marks[0], key=unicodedata.combining)), decomposed
    )
    return ordered


def passage_text(passage: Passage) -> str:
    """What is indexed of a passage: its title and its text."""
    return f"{passage.title} {passage.text}"


class TermSplitter:
    """Splits texts into terms; remembers the stems of the words it has seen. One per thread.

    Args:
        stemmer: the name of a Snowball stemmer, or ``none``.
        stopwords: the language of the stop-word list, or ``none``.
    """

    def __init__(self, stemmer: Stemmer = "english", stopwords: StopWords = "en") -> None:
        self._words = _pattern(WORD)
        self._terms = _TermOfWord(_stem_function(stemmer), _stop_words(stopwords))

    def terms(self, text: str) -> list[str]:
        """The terms of ``text`` in order, repeated as often as they occur.

        >>> TermSplitter().terms("Rivers in C++, 2.5 km; 東京都")
        ['river', 'c++', '2.5', 'km', '東', '京', '都', '東京', '京都']
        """
        return list(filter(None, map(self._terms.__getitem__, self._words.findall(normal(text)))))


class _TermOfWord(dict[str, str]):
    """The term of each word, empty for a stop word."""

    def __init__(self, stem: Callable[[str], str], stops: frozenset[str]) -> None:
        self._stem, self._stops = stem, stops

    def __missing__(self, word: str) -> str:
        is_term = word not in self._stops and any(map(str.isalnum, word))
        self[word] = term = self._stem(word) if is_term else ""
        return term


def _stop_words(language: StopWords) -> frozenset[str]:
    if language == "none":
        return frozenset()
    from bm25s import stopwords

    return frozenset(getattr(stopwords, STOP_WORD_LISTS[language]))


def _stem_function(name: Stemmer) -> Callable[[str], str]:
    if name == "none":
        return lambda word: word
    import Stemmer as snowball

    stem: Callable[[str], str] = snowball.Stemmer(name, 0).stemWord
    return stem
