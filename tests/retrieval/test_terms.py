import bm25s
import pytest
import Stemmer
from hypothesis import given
from hypothesis import strategies as st

from lmtools.data.records import Passage
from lmtools.retrieval.corpus import STOP_WORD_LISTS, TermSplitter, passage_text


def test_by_hand():
    assert TermSplitter().terms("The Rivers, and a RIVER's source: x 42!") == [
        "river",
        "river",
        "sourc",
        "42",
    ]


def test_nothing_removed_without_stemmer_and_stop_words():
    assert TermSplitter("none", "none").terms("The rivers of A-1") == ["the", "rivers", "of"]


@given(st.lists(st.text(alphabet=st.characters(), max_size=40) | st.just("running of the bulls"), max_size=4))
def test_same_terms_as_bm25s(texts):
    expected = bm25s.tokenize(
        texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=False, show_progress=False
    )
    splitter = TermSplitter()
    assert [splitter.terms(text) for text in texts] == expected


@pytest.mark.parametrize("text", ["\x00", "\ud800", "a\x00b", "", "  \n", "the of and", "é", "?!"])
def test_odd_texts_have_no_terms(text):
    assert TermSplitter().terms(text) == []


def test_odd_characters_only_separate():
    assert TermSplitter().terms("paris\x00rome\ud800oslo") == ["pari", "rome", "oslo"]


@pytest.mark.parametrize("language", STOP_WORD_LISTS)
def test_every_stop_word_list_exists(language):
    assert len(TermSplitter("none", language)._stops) > 20


def test_title_and_text_are_indexed():
    assert passage_text(Passage(id="1", title="Seine", text="A river.")) == "Seine A river."
