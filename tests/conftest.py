"""Fixtures every test may use: a cache of its own, the real data where it is, a tiny random Llama."""

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent

TINY_TEXT = [
    "Which river flows through the capital of France?",
    "The Seine flows through Paris, the capital of France.",
    "Write a search query that finds the passage. Question: who wrote the novel?",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nassistant",
]

# SmolLM2's markup, without its default system message.
TINY_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def pytest_runtest_setup(item):
    if item.get_closest_marker("vllm") and find_spec("vllm") is None:
        pytest.skip("needs vLLM: run `make test-vllm`")


@pytest.fixture(autouse=True)
def own_cache(request, monkeypatch, tmp_path_factory):
    """Every test gets an empty cache; ``slow`` ones keep the real one, where the built-in model lies."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setenv("LMTOOLS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: ``$LMTOOLS_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("LMTOOLS_DATA")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the real data sets: set LMTOOLS_DATA to their folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory) -> Path:
    """A directory with a random two-layer Llama and a byte-level chat tokenizer, loadable by transformers."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("tiny-llama")
    tokenizer = _tiny_tokenizer()
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        initializer_range=0.2,  # wide, so that greedy choices are far apart and no test hangs on rounding
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    torch.random.set_rng_state(state)
    tokenizer.save_pretrained(directory)
    return directory


def _tiny_tokenizer():
    """Byte-level BPE over all 256 bytes plus some merges, so any text comes back as it went in."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(TINY_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        chat_template=TINY_CHAT_TEMPLATE,
        model_max_length=2048,
    )
