"""What a policy reads and writes: text, and the tokens made from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.leret.prompts import (
    FIRST,
    LATER,
    ZERO_SHOT,
    Demonstration,
    PassageText,
    Prompt,
    answer_messages,
    clean_query,
    query_messages,
    request,
    shorten,
)

LUND = PassageText("Lund", "Lund is a city.")


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (" Lund cathedral ", "Lund cathedral"),
        ("\n\n Lund \n Oslo", "Lund"),
        ('"Lund cathedral"', "Lund cathedral"),
        ("' Lund '", "Lund"),
        ('"Lund" or "Oslo', '"Lund" or "Oslo'),
        ("\"Lund'", "\"Lund'"),
        ('"Lund" or "Oslo"', '"Lund" or "Oslo"'),
        ('"Lund\'s"', "Lund's"),
        ('"', '"'),
        ("", ""),
        (" \n\t", ""),
        ('""', ""),
    ],
)
def test_clean_query(text, query):
    assert clean_query(text) == query


@given(st.text())
def test_a_clean_query_is_one_stripped_line(text):
    query = clean_query(text)
    assert query == query.strip()
    assert len(query.splitlines()) <= 1
    assert query in text


def test_request_of_the_first_and_of_later_hops():
    assert request("why?", ()) == f"{FIRST}\n\nQuestion: why?"
    found = "Lund: Lund is a city."
    assert request("why?", (LUND, LUND)) == f"{LATER}\n\n{found}\n{found}\n\nQuestion: why?"


def test_demonstrations_are_earlier_turns():
    shown = Demonstration("where?", (LUND,), "Lund")
    plain = query_messages(ZERO_SHOT, "why?", ())
    turns = query_messages(Prompt("few-shot-1", (shown,)), "why?", ())
    assert [turn.role for turn in turns] == ["system", "user", "assistant", "user"]
    assert turns[1].content == request("where?", (LUND,))
    assert turns[2].content == "Lund"
    assert [turns[0], turns[3]] == plain


def test_answers_are_asked_with_the_passages():
    [_, turn] = answer_messages("why?", [LUND])
    assert turn.content == "Lund: Lund is a city.\n\nQuestion: why?"


@given(st.text(), st.integers(1, 5))
def test_shorten_keeps_the_first_words(text, words):
    assert shorten("T", text, words).text.split() == text.split()[:words]
