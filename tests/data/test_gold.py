"""Questions and corpus that do not fit are told before anything is run."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.data.records import Question
from lmtools.data.sources import check_questions


def asking(*supporting: str, id: str = "q1") -> Question:
    return Question(id=id, question="Who?", supporting=supporting)


def message(questions, titles) -> str:
    with pytest.raises(DataError) as caught:
        check_questions(questions, titles)
    return str(caught.value)


def test_all_gold_titles_are_there():
    check_questions([asking("A", "B"), asking("B", id="q2")], ["B", "A", "A"])


def test_a_gold_title_that_the_corpus_lacks():
    assert message([asking("A", "Z")], {"A"}) == (
        "questions and corpus do not fit: 1 fault\n"
        "  question 'q1': gold title 'Z' is not in the corpus\n"
        "  fix: give the corpus that these questions were made for, or mend the titles"
    )


@pytest.mark.parametrize(
    ("gold", "title"),
    [
        (unicodedata.normalize("NFD", "Café"), "Café"),
        ("grant_hill", "Grant Hill"),
        ("Bell &amp; Howell", "Bell & Howell"),
        ("Grant Hil", "Grant Hill"),
    ],
)
def test_a_near_miss_is_suggested_and_yet_a_fault(gold, title):
    assert f"it has {title!r}" in message([asking(gold)], [title, "Another"])


def test_a_question_without_gold():
    text = message([asking(id="q7"), asking("A")], ["A"])
    assert "question 'q7': no gold title (`supporting` is empty)" in text
    assert "fix: name the titles" in text


def test_an_empty_corpus():
    assert message([asking("A")], []) == (
        "the corpus is empty\n  fix: give a corpus with at least one passage"
    )


def test_no_questions():
    assert message([], ["A"]).startswith("no questions")


@given(st.integers(1, 60), st.integers(0, 60))
def test_at_most_20_faults_are_spelled_out_and_all_are_counted(missing, bare):
    questions = [asking(f"title {i:03}", id=f"m{i}") for i in range(missing)]
    questions += [asking(id=f"b{i}") for i in range(bare)]
    text = message(questions, ["unlike any"])
    assert f"do not fit: {missing + bare} fault" in text
    assert text.count("question '") == min(20, missing + bare)
    assert ("and " in text.splitlines()[-2]) == (missing + bare > 20)
