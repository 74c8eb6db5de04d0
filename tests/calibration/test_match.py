"""Which written answers are right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.calibration.tasks import closest, exact

TRUE = ["The Seine flows through Paris", "It is the Seine"]
FALSE = ["The Loire flows through Paris", "The Rhine"]


@pytest.mark.parametrize(
    ("answer", "right"),
    [("The Beatles!", True), ("beatles", True), ("Beatle", False), ("the Beatles band", False), ("", False)],
)
def test_exact(answer, right):
    assert exact(answer, ["Beatles", "Fab Four"]) is right


def test_an_answer_without_words_matches_no_alias_without_words():
    assert exact("The", ["A", "Paris"]) is False


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("The Seine flows through Paris.", True),
        ("The Loire flows through Paris.", False),
        ("the Seine", True),
        ("Bananas", False),  # as far from both lists
        ("", False),
        ("flows through Paris", False),  # as close to the one as to the other
    ],
)
def test_closest(answer, right):
    assert closest(answer, TRUE, FALSE) is right


@given(st.sampled_from(TRUE), st.sampled_from(FALSE))
def test_references_themselves(true, false):
    assert closest(true, TRUE, FALSE)
    assert not closest(false, TRUE, FALSE)


@given(st.text(max_size=40))
def test_true_for_one_list_is_not_true_for_the_other(answer):
    assert not (closest(answer, TRUE, FALSE) and closest(answer, FALSE, TRUE))
