"""Prompts and answers as tokens: the template's own end, and what a length limit leaves of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.models.chat import (
    AnsweredPrompt,
    Message,
    after_answer,
    encode_answers,
    end_of_turn,
    render,
    render_answer,
    shorten,
)

HI = (Message("user", "Hi"),)
IDS = st.lists(st.integers(0, 99), max_size=40).map(tuple)


@pytest.fixture
def tokenizer(tiny_llama):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def decoded(tokenizer, text):
    return tokenizer.decode(text.prompt), tokenizer.decode(text.answer)


def test_an_answer_has_what_the_template_writes_after_it(tokenizer):
    (text,) = encode_answers(tokenizer, [AnsweredPrompt(HI, "Yes ")], 100).texts
    assert decoded(tokenizer, text) == (render(tokenizer, HI), "Yes <|im_end|>\n")
    assert after_answer(tokenizer) == "<|im_end|>\n"


def test_a_template_that_strips_answers_is_followed(tokenizer):
    tokenizer.chat_template = tokenizer.chat_template.replace(
        "message['content']", "message['content'] | trim"
    )
    assert render_answer(tokenizer, HI, " Yes\n") == "Yes<|im_end|>\n"


def test_a_template_that_writes_an_answered_conversation_differently(tokenizer):
    tokenizer.chat_template += "{% if add_generation_prompt %}<think>{% endif %}"
    assert render_answer(tokenizer, HI, "Yes") == "Yes" + end_of_turn(tokenizer)


def test_the_system_message_joins_the_user_in_the_answered_conversation_too(tokenizer):
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}"
        + tokenizer.chat_template
    )
    turns = [Message("system", "S"), *HI]
    assert render_answer(tokenizer, turns, "Yes") == "Yes<|im_end|>\n"


def test_without_a_template_the_end_of_sequence_follows(tokenizer):
    tokenizer.chat_template = None
    (text,) = encode_answers(tokenizer, [AnsweredPrompt(HI, "Yes")], 100).texts
    assert decoded(tokenizer, text) == ("User: Hi\nAssistant:", "Yes<|im_end|>")
    assert after_answer(tokenizer) == ""
    assert encode_answers(tokenizer, [AnsweredPrompt(HI, "Yes " * 30)], 24).texts[0].answer[-1] == 2


def test_a_prompt_has_the_same_tokens_whatever_answers_it(tokenizer):
    first, second = encode_answers(
        tokenizer, [AnsweredPrompt(HI, "Yes"), AnsweredPrompt(HI, "\n\nNo")], 100
    ).texts
    assert first.prompt == second.prompt


def test_a_long_answer_keeps_its_beginning_and_its_end(tokenizer):
    encoded = encode_answers(tokenizer, [AnsweredPrompt(HI, "q" * 50), AnsweredPrompt(HI, "q")], 32)
    assert encoded.cut == 1
    prompt, answer = decoded(tokenizer, encoded.texts[0])
    assert answer == "q" * 22 + "<|im_end|>\n"
    assert render(tokenizer, HI).endswith(prompt)
    assert len(encoded.texts[0]) == 32


def test_a_long_prompt_keeps_its_end(tokenizer):
    (text,) = encode_answers(tokenizer, [AnsweredPrompt((Message("user", "q" * 90),), "Yes")], 32).texts
    assert len(text) == 32
    assert decoded(tokenizer, text)[0].endswith("q<|im_end|>\n<|im_start|>assistant\n")


@given(IDS, IDS, st.integers(0, 4), st.integers(1, 60))
def test_cutting_never_goes_over_the_limit_nor_cuts_without_need(prompt, body, ends, most):
    end = (100, 101, 102, 103)[:ends]
    answer = (*body, 98, *end)
    text = shorten(prompt, answer, end, most)
    assert len(text) <= most
    assert text.answer
    assert not prompt or prompt[len(prompt) - len(text.prompt) :] == text.prompt
    if len(prompt) + len(answer) <= most:
        assert (text.prompt, text.answer) == (prompt, answer)
    elif most >= 8:
        assert text.answer[-ends:] == end or not ends
        assert len(text.answer) == min(len(answer), most * 3 // 4)
        assert len(text.prompt) == min(len(prompt), most - len(text.answer))
        kept = len(text.answer) - ends
        assert text.answer[:kept] == answer[:kept]


@pytest.mark.parametrize("answer", ["", " \n\t"])
def test_an_empty_answer_is_named(tokenizer, answer):
    with pytest.raises(DataError, match="answer to 'Hi' is empty") as caught:
        encode_answers(tokenizer, [AnsweredPrompt(HI, "Yes"), AnsweredPrompt(HI, answer)], 100)
    assert caught.value.fix
