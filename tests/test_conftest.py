"""The shared fixtures themselves: what other tests lean on must hold."""

import pytest

from lmtools.core.files import cache_dir


def test_every_test_has_its_own_empty_cache(tmp_path):
    assert not (cache_dir() / "models").exists()


@pytest.mark.parametrize(
    "text", ["plain", " two  spaces", "naïve 東京 🙂", "a\n\n\tb", "<|im_start|>user\nx<|im_end|>\n"]
)
def test_tiny_tokenizer_round_trips(tiny_llama, text):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokens) == text


def test_tiny_llama_loads_and_chats(tiny_llama):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    chat = [{"role": "user", "content": "hi"}]
    text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    tokens = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    assert model(tokens).logits.shape == (1, tokens.shape[1], len(tokenizer))
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == model.config.eos_token_id
