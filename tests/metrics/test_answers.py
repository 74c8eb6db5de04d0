"""Exact match and token F1, against values worked by hand and SQuAD's rules of normalisation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.metrics.answers import exact_match, f1, normalise


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Beatles!", "beatles"),
        ("an apple, a pear and the rest", "apple pear and rest"),
        ("U.S.", "us"),  # punctuation goes without leaving a space, as in the official script
        ("Jean-Luc", "jeanluc"),
        ("theatre another", "theatre another"),  # articles are whole words
        ("the-a", "thea"),  # punctuation first, articles after
        ("\tNew\nYork ", "new york"),
        ("...", ""),
        ("São Paulo", "são paulo"),
    ],
)
def test_normalise(text, plain):
    assert normalise(text) == plain


def test_exact_match_takes_any_accepted_answer():
    assert exact_match("The Seine.", ["Rhine", "seine"]) == 1.0
    assert exact_match("river Seine", ["Rhine", "seine"]) == 0.0


def test_f1_by_hand():
    # shared: "walter", "scott"; precision 2/3, recall 2/2
    assert f1("Sir Walter Scott", ["Walter Scott"]) == pytest.approx(0.8)
    # repeated words count as often as both have them: shared 1, precision 1/2, recall 1/1
    assert f1("york york", ["York"]) == pytest.approx(2 / 3)
    # the best of the accepted answers
    assert f1("Walter Scott", ["Goethe", "Sir Walter Scott", "Scott"]) == pytest.approx(0.8)
    assert f1("Walter Scott", ["Goethe"]) == 0.0


def test_two_empty_texts_agree_and_one_does_not():
    assert f1("the", ["a"]) == exact_match("the", ["a"]) == 1.0
    assert f1("", ["Paris"]) == f1("Paris", ["!"]) == 0.0


@pytest.mark.parametrize("metric", [exact_match, f1])
def test_nothing_to_compare_with_is_an_error(metric):
    with pytest.raises(ValueError, match="no accepted answer"):
        metric("Paris", [])


@given(st.text(), st.lists(st.text(), min_size=1))
def test_f1_lies_between_exact_match_and_one(answer, accepted):
    assert exact_match(answer, accepted) <= f1(answer, accepted) + 1e-12 <= 1.0 + 1e-9


@given(st.text(), st.text())
def test_f1_is_symmetric(a, b):
    assert f1(a, [b]) == pytest.approx(f1(b, [a]))


@given(st.text())
def test_every_text_matches_itself(text):
    assert exact_match(text, [text]) == f1(text, [text]) == 1.0
