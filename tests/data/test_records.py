"""What records refuse, in the words of the contract."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lmtools.data.records import Instruction, MultipleChoice, TruthfulQuestion, Turn

USER, ANSWER = Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello.")


@given(st.integers(2, 6), st.integers(-3, 9))
def test_an_answer_is_one_of_the_choices(count, answer):
    fields = {"id": "a", "question": "Which?", "choices": tuple("abcdef"[:count]), "answer": answer}
    if 0 <= answer < count:
        assert MultipleChoice(**fields).answer == answer
    else:
        with pytest.raises(ValidationError, match=f"there is no choice {answer} among {count}"):
            MultipleChoice(**fields)


def test_one_choice_is_none():
    with pytest.raises(ValidationError, match="choices"):
        MultipleChoice(id="a", question="Which?", choices=("a",), answer=0)


def test_a_prompt_splits_into_the_users_turn_and_the_answer():
    assert Instruction(prompt="Hi", completion="Hello.").split() == ((USER,), "Hello.")


def test_a_conversation_splits_before_its_last_turn():
    turns = (Turn(role="system", content="Be kind."), USER, ANSWER, USER, ANSWER)
    assert Instruction(messages=turns).split() == (turns[:-1], "Hello.")


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "neither `messages` nor a prompt"),
        ({"prompt": "Hi"}, "neither `messages` nor a prompt"),
        ({"prompt": "Hi", "completion": "Hello.", "messages": (USER, ANSWER)}, "both `messages` and"),
        ({"messages": (USER,)}, "the last turn is the user's"),
        ({"messages": (ANSWER,)}, "no turn before the assistant's"),
        ({"messages": (USER, Turn(role="assistant", content=""))}, "the last turn is empty"),
    ],
)
def test_an_instruction_has_one_form_and_an_answer(fields, problem):
    with pytest.raises(ValidationError, match=problem):
        Instruction(**fields)


def test_a_truthful_question_has_false_answers():
    with pytest.raises(ValidationError, match="incorrect"):
        TruthfulQuestion(id="a", question="Why?", answer="So.", incorrect=())
