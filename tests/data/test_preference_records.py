"""A pair is the same in each of TRL's forms, and refuses what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lmtools.data.records import Preference, Turn


def user(text: str) -> Turn:
    return Turn(role="user", content=text)


def answer(text: str) -> Turn:
    return Turn(role="assistant", content=text)


OPENING = (user("Hi"), answer("Hello."), user("Who?"))
SYSTEM = Turn(role="system", content="Be kind.")
TEXT = "Human: Hi\n\nAssistant: Hello.\n\nHuman: Who?"
FORMS = {
    "a dialogue": {"prompt": TEXT, "chosen": "I.", "rejected": "You."},
    "a dialogue that ends with the name of who is next": {
        "prompt": f"\n\n{TEXT}\n\nAssistant:", "chosen": "I.", "rejected": "You.",
    },
    "turns": {"prompt": OPENING, "chosen": (answer("I."),), "rejected": (answer("You."),)},
    "turns and texts": {"prompt": OPENING, "chosen": "I.", "rejected": "You."},
    "whole conversations": {"chosen": (*OPENING, answer("I.")), "rejected": (*OPENING, answer("You."))},
    "whole dialogues": {
        "chosen": f"\n\n{TEXT}\n\nAssistant: I.", "rejected": f"\n\n{TEXT}\n\nAssistant: You.",
    },
    "whole conversations beside the prompt": {
        "prompt": TEXT, "chosen": (*OPENING, answer("I.")), "rejected": (*OPENING, answer("You.")),
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_pair(form):
    pair = Preference(**FORMS[form])
    assert pair.split() == (OPENING, "I.", "You.")
    assert pair.key == Preference(**FORMS["turns"]).key


def test_a_prompt_that_is_no_dialogue_is_the_users():
    pair = Preference(prompt="Who are you?", chosen="Human: I", rejected="You.")
    assert pair.split() == ((user("Who are you?"),), "Human: I", "You.")


def test_a_last_question_given_as_the_prompt_keeps_what_came_before():
    turns = (SYSTEM, user("Who?"))
    pair = Preference(prompt="Who?", chosen=(*turns, answer("I.")), rejected=(*turns, answer("You.")))
    assert pair.split() == (turns, "I.", "You.")


def test_lists_of_a_file_become_turns():
    value = {
        "prompt": [{"role": "user", "content": "Hi"}],
        "chosen": [{"role": "assistant", "content": "Hello."}],
        "rejected": [{"role": "assistant", "content": "Go."}],
    }
    pair = Preference.model_validate(value)
    assert pair.split() == ((user("Hi"),), "Hello.", "Go.")
    assert pair.model_dump(mode="json", exclude_defaults=True) == value


BROKEN = {
    "no prompt": ({"prompt": "", "chosen": "I.", "rejected": "You."}, "no prompt, and no dialogue"),
    "a blank prompt": ({"prompt": " ", "chosen": "I.", "rejected": "You."}, "the prompt is empty"),
    "a blank turn": (
        {"prompt": (user(""),), "chosen": "I.", "rejected": "You."},
        "the prompt is empty",
    ),
    "an empty answer": ({"prompt": "Who?", "chosen": "", "rejected": "You."}, "`chosen` is empty"),
    "a blank answer": ({"prompt": "Who?", "chosen": "I.", "rejected": "\n"}, "`rejected` is empty"),
    "one answer": ({"prompt": "Who?", "chosen": "I.", "rejected": "I. "}, "are the same"),
    "one conversation": (
        {"chosen": (*OPENING, answer("I.")), "rejected": (*OPENING, answer("I."))},
        "are the same",
    ),
    "no answer": ({"chosen": OPENING, "rejected": (*OPENING, answer("I."))}, "not two answers"),
    "two turns": ({"prompt": "Who?", "chosen": (answer("I."), user("So?")), "rejected": "You."}, "not two"),
    "different questions": (
        {"chosen": (user("a"), user("b"), answer("I.")), "rejected": (user("a"), user("c"), answer("I."))},
        "not two answers",
    ),
    "another prompt": (
        {"prompt": "Where?", "chosen": (*OPENING, answer("I.")), "rejected": (*OPENING, answer("You."))},
        "do not open with the prompt",
    ),
    "no text": ({"prompt": "Who?", "chosen": 3, "rejected": "You."}, "chosen"),
    "a turn of nobody": (
        {"prompt": "Who?", "chosen": [{"role": "nobody", "content": ""}], "rejected": ""},
        r"chosen\.0\.role",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_pair_is_refused(name):
    fields, problem = BROKEN[name]
    with pytest.raises(ValidationError, match=problem):
        Preference(**fields)


texts = st.text("ab", min_size=1, max_size=3)


@given(texts, texts, texts, st.text(max_size=4))
def test_the_key_is_the_id_or_tells_the_content(prompt, one, two, id):
    if one == two:
        return
    pair = Preference(prompt=prompt, chosen=one, rejected=two, distribution="x")
    assert len(pair.key) == 16
    assert pair.key == Preference(prompt=(user(prompt),), chosen=one, rejected=two).key
    assert pair.key != Preference(prompt=prompt, chosen=two, rejected=one).key
    assert pair.key != Preference(prompt=prompt + one, chosen=one, rejected=two).key
    assert Preference(id=id, prompt=prompt, chosen=one, rejected=two).key == (id or pair.key)
