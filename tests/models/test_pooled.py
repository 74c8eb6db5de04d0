"""The pass of the model: the same numbers for a text alone, beside others, packed, and in any batch."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.models.chat import EncodedAnswer
from lmtools.models.load import LoadedModel, load
from lmtools.models.pooling import HfPass, additive_mask, can_pack, pack_rows
from lmtools.models.spec import ModelSpec

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
PROMPTS = st.sampled_from([tuple(range(40, 90)), tuple(range(30, 70)), (5,), ()])
ANSWERS = st.lists(st.integers(3, 300), min_size=1, max_size=20).map(tuple)
TEXTS = st.lists(st.builds(EncodedAnswer, PROMPTS, ANSWERS), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


def features(loaded, texts, layers=(2,), pooling=("last", "mean"), batch_tokens=8192, alone=False):
    rows = {}
    for indices, values in HfPass(loaded, layers, pooling, batch_tokens, alone=alone).read(texts):
        rows |= zip(indices, values, strict=True)
    return np.stack([rows[at] for at in range(len(texts))])


def alone(loaded, text, layers=(2,)):
    """One text by itself, as plainly as transformers has it."""
    with torch.inference_mode():
        out = loaded.model.model(torch.tensor([text.prompt + text.answer]), output_hidden_states=True)
    states = [out.hidden_states[layer][0, len(text.prompt) :] for layer in layers]
    return torch.cat([part for state in states for part in (state[-1], state.mean(dim=0))]).numpy()


@settings(max_examples=25)
@given(texts=TEXTS, batch_tokens=st.integers(1, 300), order=st.randoms(use_true_random=False))
def test_features_depend_on_neither_batch_size_nor_order_nor_padding(loaded, texts, batch_tokens, order):
    expected = np.stack([alone(loaded, text) for text in texts])
    np.testing.assert_allclose(features(loaded, texts, batch_tokens=batch_tokens), expected, **CLOSE)
    places = list(range(len(texts)))
    order.shuffle(places)
    shuffled = [texts[at] for at in places]
    np.testing.assert_allclose(features(loaded, shuffled), expected[places], **CLOSE)
    by_themselves = features(loaded, texts, alone=True)
    np.testing.assert_allclose(by_themselves, expected, **CLOSE)
    np.testing.assert_array_equal(features(loaded, shuffled, alone=True), by_themselves[places])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_rows_equal_rows_of_one_text(tiny_llama, attention, monkeypatch):
    loaded = load(ModelSpec(name=str(tiny_llama), device="cpu"), attention=attention)
    texts = [EncodedAnswer(tuple(range(40, 100)), tuple(range(5, 5 + length))) for length in (3, 9, 1, 20)]
    assert can_pack(loaded.model, 80)
    assert len(pack_rows(texts, 32, 8192, share=True)) == 1
    packed = features(loaded, texts, layers=(1, 2))
    monkeypatch.setattr("lmtools.models.pooling.can_pack", lambda *_: False)
    np.testing.assert_allclose(packed, features(loaded, texts, layers=(1, 2)), **CLOSE)
    np.testing.assert_allclose(packed, [alone(loaded, text, (1, 2)) for text in texts], **CLOSE)


def test_layers_and_poolings_come_in_the_order_asked_for(loaded):
    text = EncodedAnswer((7, 8), (9, 10, 11))
    pooled = features(loaded, [text], layers=(2, 1), pooling=("mean", "last"))[0].reshape(2, 2, 32)
    forward = alone(loaded, text, (1, 2)).reshape(2, 2, 32)
    np.testing.assert_allclose(pooled, forward[::-1, ::-1], **CLOSE)


def test_pooling_is_in_float32_at_bfloat16_too(tiny_llama):
    loaded = load(ModelSpec(name=str(tiny_llama), device="cpu", dtype="bfloat16"))
    text = EncodedAnswer((7, 8), tuple(range(9, 20)))
    with torch.inference_mode():
        states = loaded.model.model(torch.tensor([text.prompt + text.answer])).last_hidden_state[0, 2:]
    expected = states.float().mean(dim=0).numpy()
    np.testing.assert_array_equal(features(loaded, [text], pooling=("mean",))[0], expected)


def test_models_that_do_not_attend_by_the_mask_they_are_given_do_not_pack(loaded, monkeypatch):
    config = loaded.model.config
    assert can_pack(loaded.model, 2000)
    for name, value in {
        "sliding_window": 64,
        "layer_types": ["full_attention", "linear_attention"],
        "attention_chunk_size": 16,
        "layers_block_type": ["recurrent"],
        "text_config": config,
        "rope_parameters": {"rope_type": "longrope"},
        "_attn_implementation_internal": "flash_attention_2",
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(config, name, value, raising=False)
            assert not can_pack(loaded.model, 65), name
    monkeypatch.setattr(config, "sliding_window", 64, raising=False)
    assert can_pack(loaded.model, 64)


def test_a_windowed_model_reads_one_text_a_row(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(vocab_size=100, hidden_size=32, intermediate_size=32, num_hidden_layers=2,
                           num_attention_heads=2, num_key_value_heads=1, sliding_window=4)  # fmt: skip
    torch.manual_seed(0)
    model = MistralForCausalLM(config).eval()
    texts = [
        EncodedAnswer(tuple(range(40, 60)), (1, 2, 3)),
        EncodedAnswer(tuple(range(40, 60)), (4, 5, 6, 7, 8)),
    ]
    texts += [EncodedAnswer(tuple(range(20, 80)), (1, 2))]
    loaded = type("Loaded", (), {"model": model, "device": "cpu"})()
    for by_itself in (False, True):
        rows = features(loaded, texts, alone=by_itself)
        np.testing.assert_allclose(rows, [alone(loaded, text) for text in texts], **CLOSE)


def test_a_mask_to_add_is_zero_where_one_sees():
    mask = additive_mask(torch.tensor([[True, False]]), torch.bfloat16)
    assert mask.tolist() == [[0.0, torch.finfo(torch.bfloat16).min]]


def test_layers_behind_the_last_one_asked_for_are_not_run(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=6, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    texts = [
        EncodedAnswer((1, 2, 3), (4, 5)),
        EncodedAnswer((1, 2, 3), (6,)),
        EncodedAnswer((7,), (8, 9, 10)),
    ]

    def read(layers):
        loaded = LoadedModel(model, None, "", "cpu")
        batches = HfPass(loaded, layers, ("last", "mean"), 64, alone=False).read(texts)
        return {at: row for indices, rows in batches for at, row in zip(indices, rows, strict=True)}

    deep = read((2, 3, 6))
    assert len(model.model.layers) == 6
    short = read((2, 3))
    assert len(model.model.layers) == 4
    for at, row in short.items():
        assert row == pytest.approx(deep[at][: len(row)], abs=1e-6)
