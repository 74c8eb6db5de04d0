"""Text to terms: by hand in many scripts, as bm25s has them in plain English; stable, linear for any text."""

import re
import unicodedata

import bm25s
import pytest
import Stemmer
from hypothesis import example, given
from hypothesis import strategies as st

from lmtools.data.records import Passage
from lmtools.data.terms import STOP_WORD_LISTS, TermSplitter, passage_text

SCRIPTS = st.sampled_from(
    "aZ1.'’_+#ßİΣςé\u0301\u0308\u0316क्षिا\u064bشไน้ำ漢カー\u3099ﾞﾊ가ㅏ\u1100\u1161ﷺ™½ \u200b\u200d\xad"
)
texts = st.text(alphabet=st.characters(exclude_categories=()) | SCRIPTS, max_size=60)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The Rivers, and a RIVER's source: x 42!", "river river sourc x 42"),
        ("R or C?", "r c"),
        ("C++, C# and C++11; Notepad++", "c++ c# c++ 11 notepad"),
        ("2.5 kg, $3.75m, -0.5 and 12.75kg.", "2.5 kg 3.75 m 0.5 12.75 kg"),
        ("3.11.2 of 24.12.2024, at 1.", "3 11 2 24 12 2024 1"),
        (".NET", "net"),
        ("it's l'eau, O’Neill's, R's, 'n'", "eau neill r n"),
        ("Vitamin A, World War I, Apollo 8", "vitamin world war i apollo 8"),
        ("____ _ snake_case", "snake_cas"),
        ("Malmo\u0308 Malmö ＭＡＬＭÖ", "malmö malmö malmö"),
        ("ﬁve km² at 25℃", "five km2 25 c"),
        ("soft\xadhyphen, zero\u200bwidth", "softhyphen zero width"),
        ("दिल्ली क्या है?", "दिल्ली क्या है"),
        ("Росси́я, Москва́; Й И\u0306", "россия москва й й"),
        ("مُحَمَّد محمد مـحـمـد می\u200cخواهم", "محمد محمد محمد میخواهم"),
        ("שָׁלוֹם שלום", "שלום שלום"),
        ("東京都", "東 京 都 東京 京都"),
        ("猫", "猫"),
        ("ｶﾞｷﾞ・スーパー", "ガギ スー ーパ パー"),
        ("黒猫が3匹2.5kg", "黒 猫 黒猫 猫が 3 匹 2.5 kg"),
        ("น้ำตก ๒๕๖๗", unicodedata.normalize("NFKC", "น้ำ าต ตก ๒๕๖๗")),
        ("ភ្នំពេញ។", "ភ្នំ នំពេ ពេញ"),
        ("မြန်မာ၊", "မြန် န်မာ"),
        ("ລາວ", "ລາ າວ"),
        ("서울은", "서울 울은"),
        ("C++를", "c++ 를"),
    ],
)  # fmt: skip
def test_by_hand(text, terms):
    assert TermSplitter().terms(text) == terms.split()


def test_nothing_removed_without_stemmer_and_stop_words():
    assert TermSplitter("none", "none").terms("The rivers of A-1") == ["the", "rivers", "of", "a", "1"]


@given(
    st.lists(
        st.text(alphabet=st.characters(codec="ascii"), max_size=40) | st.just("running of bulls"), max_size=4
    )
)
def test_plain_english_has_the_terms_of_bm25s_besides_single_letters_and_decimals(texts):
    texts = [re.sub(r"\b_+\b|(\d)\.(?=\d)", r"\1 ", text) for text in texts]
    expected = bm25s.tokenize(
        texts, stopwords="en", stemmer=Stemmer.Stemmer("english"), return_ids=False, show_progress=False
    )
    splitter = TermSplitter()
    plain = [
        [term for term in splitter.terms(text) if not re.fullmatch(r"\w|\w\+\+|\w#", term)] for text in texts
    ]
    assert plain == [[term for term in terms if len(term) > 1] for terms in expected]


@given(texts)
@example("e\u0316\u0301" * 40)
@example("ﾞ\u0316" * 40)
def test_stable_under_normalisation(text):
    """Precomposed, decomposed and compatible forms of a text are one text."""
    forms = {form: unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    terms = TermSplitter().terms(text)
    assert {form: TermSplitter().terms(other) for form, other in forms.items()} == dict.fromkeys(forms, terms)


@given(texts)
def test_terms_are_words_and_found_again(text):
    splitter = TermSplitter("none", "none")
    terms = splitter.terms(text)
    assert all(any(map(str.isalnum, term)) for term in terms)
    assert set(terms) <= set(splitter.terms(f"{text}\n{text}"))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "漢",
        "1",
        "1.",
        "'",
        "s'",
        "ก็",
        "\ud800",
        "Σ'",
        "\u0301",
        "а\u0301",
        "a\u200d",
        "_",
        ".1",
        "ab漢",
        "\u0316\u0300",
        "ﾞ\u0316",
    ],
    ids=ascii,
)
def test_a_megabyte_without_spaces(text):
    """Marks in a row that ``unicodedata.normalize`` orders in quadratic time would take hours."""
    TermSplitter().terms("a" + text * (1_000_000 // len(text)))


@pytest.mark.parametrize(
    "text", ["\x00", "\ud800", "", "  \n", "the of and", "?!", "\u0301", "❤️", "_"], ids=ascii
)
def test_odd_texts_have_no_terms(text):
    assert TermSplitter().terms(text) == []


def test_odd_characters_only_separate():
    assert TermSplitter().terms("paris\x00rome\ud800oslo") == ["pari", "rome", "oslo"]


@pytest.mark.parametrize("language", STOP_WORD_LISTS)
def test_every_stop_word_list_exists(language):
    assert len(TermSplitter("none", language)._terms._stops) > 20


def test_title_and_text_are_indexed():
    assert passage_text(Passage(id="1", title="Seine", text="A river.")) == "Seine A river."
