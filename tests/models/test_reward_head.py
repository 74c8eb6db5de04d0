"""Reward models: their own head, placed among the features, gives the reward that transformers gives."""

import json

import numpy as np
import pytest
import torch

from lmtools.core.errors import ModelError
from lmtools.models.chat import Message, render, render_answer
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import AnsweredPrompt, FeatureReader
from lmtools.models.spec import ModelSpec

QUESTION = (Message("user", "Which river flows through the capital of France?"),)
ANSWERS = [
    AnsweredPrompt(QUESTION, "The Seine flows through Paris."),
    AnsweredPrompt(QUESTION, "No."),
    AnsweredPrompt(QUESTION, "q" * 40),
]


@pytest.fixture(scope="module")
def reward_model(tiny_llama, tmp_path_factory):
    return save(tiny_llama, tmp_path_factory.mktemp("reward"))


def save(tiny_llama, directory, **config):
    from transformers import AutoTokenizer, LlamaForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        options = {"num_labels": 1} | config
        LlamaForSequenceClassification.from_pretrained(tiny_llama, **options).save_pretrained(directory)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(directory)
    return directory


def rewards(model, tokenizer):
    """The model's own logits, one text at a time."""
    logits = []
    for item in ANSWERS:
        text = render(tokenizer, item.turns) + render_answer(tokenizer, item.turns, item.answer)
        with torch.inference_mode():
            ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
            logits.append(model(ids).logits.item())
    return logits


def reader_of(directory, **settings):
    return FeatureReader(ModelSpec(name=str(directory), device="cpu"), FeatureSettings(**settings))


@pytest.mark.parametrize(
    "settings", [{}, {"layers": (1, -1), "pooling": ("mean", "last")}, {"pooling": ("last",)}]
)
def test_the_product_with_its_own_head_is_its_reward(reward_model, settings):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    reader = reader_of(reward_model, **settings)
    assert reader.own_head.shape == (reader.width,)
    assert reader.own_head.dtype == np.float32
    model = AutoModelForSequenceClassification.from_pretrained(reward_model).eval()
    expected = rewards(model, AutoTokenizer.from_pretrained(reward_model))
    np.testing.assert_allclose(reader.read(ANSWERS) @ reader.own_head, expected, rtol=1e-4, atol=1e-5)


def test_an_adapter_that_was_trained_to_reward_brings_its_head(tiny_llama, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        base = AutoModelForSequenceClassification.from_pretrained(tiny_llama, num_labels=1)
        config = LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False, task_type="SEQ_CLS")
        tuned = get_peft_model(base, config).eval()
    tuned.save_pretrained(tmp_path)
    reader = FeatureReader(
        ModelSpec(name=str(tiny_llama), adapter=str(tmp_path), device="cpu"), FeatureSettings()
    )
    expected = rewards(tuned, AutoTokenizer.from_pretrained(tiny_llama))
    np.testing.assert_allclose(reader.read(ANSWERS) @ reader.own_head, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{"layers": (1,)}, {"pooling": ("mean",)}])
def test_settings_without_the_last_state_have_no_place_for_the_head(reward_model, settings):
    with pytest.raises(ModelError, match="needs the last layer") as caught:
        reader_of(reward_model, **settings)
    assert "-1 and last" in caught.value.fix


def test_a_classifier_of_several_labels(tiny_llama, tmp_path):
    with pytest.raises(ModelError, match="3 labels"):
        reader_of(save(tiny_llama, tmp_path, num_labels=3))


def test_a_classifier_with_another_kind_of_head(tiny_llama, tmp_path):
    import shutil

    other = shutil.copytree(tiny_llama, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    changed = config | {"architectures": ["BertForSequenceClassification"]}
    (other / "config.json").write_text(json.dumps(changed))
    with pytest.raises(ModelError, match=r"without the layer score\.weight"):
        reader_of(other)
