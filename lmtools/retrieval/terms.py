"""Text to terms, for both BM25s: lower case, words of two or more letters or digits, no stop words, stems."""

import re
from collections.abc import Callable

from lmtools.data.records import Passage
from lmtools.retrieval.config import Stemmer, StopWords

WORD = re.compile(r"(?u)\b\w\w+\b")
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
        self._stops = _stop_words(stopwords)
        self._stem = _stem_function(stemmer)
        self._stems: dict[str, str] = {}

    def terms(self, text: str) -> list[str]:
        """The terms of ``text`` in order, repeated as often as they occur."""
        terms = []
        for word in WORD.findall(text.lower()):
            if word in self._stops:
                continue
            stem = self._stems.get(word)
            if stem is None:
                stem = self._stems[word] = self._stem(word)
            terms.append(stem)
        return terms


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
