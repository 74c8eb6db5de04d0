"""Texts at the doors: whatever comes in can be written as UTF-8, whatever is shown moves no terminal."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.strings import printable, well_formed

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@given(ANY_TEXT)
def test_what_enters_can_be_written_and_only_half_pairs_change(text):
    entered = well_formed(text)

    entered.encode("utf-8")
    assert [a for a, b in zip(text, entered, strict=True) if a != b] == [
        a for a in text if unicodedata.category(a) == "Cs"
    ]


@given(ANY_TEXT)
def test_what_is_shown_holds_no_control_and_no_mark_of_direction(text):
    shown = printable(text)

    assert not any(
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in shown if letter not in "\t\n"
    )
    assert not any(
        unicodedata.bidirectional(letter) in ("RLE", "LRE", "RLO", "LRO", "PDF") for letter in shown
    )
    assert printable(shown) == shown


def test_words_that_join_letters_are_shown_as_they_are():
    text = "می‌خواهم 👩‍👩‍👧 क्‍ष\n\tZürich"  # zero-width joiners and non-joiners shape letters

    assert printable(text) == text


def test_controls_are_shown_by_their_escape():
    assert printable("\x1b]52;c;Zm9v\x07\u202e\r\ud800") == r"\x1b]52;c;Zm9v\x07\u202e\r\ud800"
