"""Dialogues written as one text, and where two of them part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.data.records import common_start, dialogue

said = st.text("ab :\n", min_size=1, max_size=8).map(str.strip).filter(bool)
NAMES = ("Human", "Assistant")


@given(st.lists(said, min_size=1, max_size=6))
def test_turns_in_turn_come_back_as_they_were(texts):
    written = "".join(f"\n\n{NAMES[place % 2]}: {text}" for place, text in enumerate(texts))
    roles = ("user", "assistant")
    assert dialogue(written) == tuple((roles[place % 2], text) for place, text in enumerate(texts))


@pytest.mark.parametrize("text", ["", "Hi", "He said: Human: no", "Human error is common.", "Humans: who?"])
def test_other_texts_are_no_dialogue(text):
    assert dialogue(text) == ()


def test_what_one_says_twice_is_one_turn_and_empty_turns_are_none():
    written = "Human: a\n\nHuman: b\n\nAssistant:\n\nHuman: c\n\nAssistant: d\n\nHuman:"
    assert dialogue(written) == (("user", "a\n\nb\n\nc"), ("assistant", "d"))


@given(st.lists(st.integers(0, 1), max_size=5), st.lists(st.integers(0, 1), max_size=5))
def test_the_common_start_is_common_and_leaves_an_item(one, two):
    count = common_start(one, two)
    assert count == common_start(two, one)
    assert one[:count] == two[:count]
    longer = one[: count + 1] == two[: count + 1] and count + 1 < min(len(one), len(two))
    assert not longer
    assert not one or not two or count < min(len(one), len(two))
