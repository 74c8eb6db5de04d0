"""Chat rendering: the template's text, its substitutes, and what ends an answer."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import ModelError
from lmtools.models.chat import Message, end_ids, end_of_turn, render, render_plain

HI = Message("user", "Hi")
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role') }}{% endif %}"


@pytest.fixture
def tokenizer(tiny_llama):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_llama)


def test_messages_become_markup_with_the_generation_prompt(tokenizer):
    text = render(tokenizer, [Message("system", "Be brief."), HI])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_system_message_is_put_in_front_once(tokenizer):
    given_ = [Message("system", "Mine."), HI]
    assert render(tokenizer, [HI], system="Mine.") == render(tokenizer, given_)
    assert render(tokenizer, given_, system="Other.") == render(tokenizer, given_)


def test_the_system_message_joins_the_user_where_the_template_has_no_such_role(tokenizer):
    template = tokenizer.chat_template
    tokenizer.chat_template = NO_SYSTEM + template
    assert render(tokenizer, [HI], system="Be brief.") == (
        "<|im_start|>user\nBe brief.\n\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_what_the_template_refuses_is_an_error(tokenizer):
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ModelError, match="roles must alternate"):
        render(tokenizer, [HI])


def test_without_a_template_plain_text(tokenizer):
    tokenizer.chat_template = None
    messages = [Message("system", "S"), HI, Message("assistant", "Yes?"), Message("user", "Bye")]
    assert render(tokenizer, messages) == "S\n\nUser: Hi\nAssistant: Yes?\nUser: Bye\nAssistant:"


@given(st.lists(st.text(alphabet="abc \n", max_size=8), min_size=1))
def test_plain_text_keeps_every_turn_in_order(contents):
    text = render_plain([Message("user", content) for content in contents])
    assert text == "".join(f"User: {content}\n" for content in contents) + "Assistant:"


def test_an_answer_ends_with_what_the_template_writes(tokenizer):
    assert end_of_turn(tokenizer) == "<|im_end|>"
    tokenizer.eos_token = "<|endoftext|>"
    assert end_of_turn(tokenizer) == "<|im_end|>"
    tokenizer.chat_template = None
    assert end_of_turn(tokenizer) == "<|endoftext|>"


def test_all_ends_of_model_tokenizer_and_template_count(tokenizer):
    assert end_ids(tokenizer) == (2,)
    tokenizer.eos_token = "<|endoftext|>"
    assert end_ids(tokenizer, SimpleNamespace(eos_token_id=[7, 0])) == (0, 2, 7)


def test_a_tokenizer_without_an_end_is_an_error(tokenizer):
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        end_of_turn(tokenizer)
