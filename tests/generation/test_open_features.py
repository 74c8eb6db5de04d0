"""Features on every backend: which refuses what, and that vLLM's are those of transformers."""

import json
import shutil

import numpy as np
import pytest
from tiny import save_adapter

from lmtools.core.errors import MissingPackageError, ModelError
from lmtools.generation.open import open_features
from lmtools.models.chat import Message
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import AnsweredPrompt
from lmtools.models.spec import ModelSpec

QUESTION = (Message("user", "Which river flows through the capital of France?"),)
ANSWERS = [AnsweredPrompt(QUESTION, text) for text in ("The Seine flows through Paris.", "No.", "q" * 300)]
CLOSE = {"rtol": 1e-3, "atol": 1e-3}


def spec_of(directory, backend="vllm", **changes):
    return ModelSpec(name=str(directory), backend=backend, **changes)


def test_a_server_gives_no_hidden_states(tiny_llama):
    with pytest.raises(ModelError, match="a server gives no hidden states") as caught:
        open_features(spec_of(tiny_llama, "server"), FeatureSettings())
    assert "hf or vllm" in caught.value.fix


def test_vllm_gives_the_last_layer_only(tiny_llama):
    with pytest.raises(ModelError, match=r"not \[-1, -2\]") as caught:
        open_features(spec_of(tiny_llama), FeatureSettings(layers=(-1, -2)))
    assert "layers=[-1]" in caught.value.fix


def test_texts_must_fit_into_the_engine(tiny_llama):
    with pytest.raises(ModelError, match=r"max_tokens=1024 is more than model\.max_model_len=512"):
        open_features(spec_of(tiny_llama, max_model_len=512), FeatureSettings())


def test_vllm_does_not_read_a_reward_model(tiny_llama, tmp_path):
    from safetensors.torch import load_file, save_file

    reward = shutil.copytree(tiny_llama, tmp_path / "reward")
    config = json.loads((reward / "config.json").read_text())
    changed = config | {"architectures": ["LlamaForSequenceClassification"]}
    (reward / "config.json").write_text(json.dumps(changed))
    weights = load_file(reward / "model.safetensors")
    weights["score.weight"] = weights["model.embed_tokens.weight"][:1].clone()
    save_file(weights, reward / "model.safetensors", {"format": "pt"})
    assert open_features(spec_of(reward, "hf"), FeatureSettings()).own_head is not None
    with pytest.raises(ModelError, match="vllm backend does not read"):
        open_features(spec_of(reward), FeatureSettings())


def test_backends_share_an_identity_and_not_a_cache(tiny_llama, monkeypatch):
    import lmtools.generation.vllm_engine as engine

    def absent(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(engine, "import_module", absent)
    hf = open_features(spec_of(tiny_llama, "hf"), FeatureSettings())
    vllm = open_features(spec_of(tiny_llama), FeatureSettings())
    hf.read(ANSWERS)
    assert hf.identity == vllm.identity
    with pytest.raises(MissingPackageError, match="vLLM"):
        vllm.read(ANSWERS)


@pytest.mark.vllm
@pytest.mark.parametrize("adapted", [False, True])
def test_vllm_and_transformers_give_the_same_features(tiny_llama, tmp_path, adapted):
    adapter = str(save_adapter(tiny_llama, tmp_path / "adapter")) if adapted else None
    settings = FeatureSettings(max_tokens=128)
    expected = open_features(spec_of(tiny_llama, "hf", adapter=adapter), settings).read(ANSWERS)
    reader = open_features(spec_of(tiny_llama, adapter=adapter), settings)
    try:
        np.testing.assert_allclose(reader.read(ANSWERS), expected, **CLOSE)
    finally:
        reader.close()


@pytest.mark.vllm
def test_vllm_reads_a_text_as_long_as_the_engine_takes(tiny_llama):
    settings = FeatureSettings(max_tokens=64)
    reader = open_features(spec_of(tiny_llama, max_model_len=64, batch_tokens=64), settings)
    try:
        rows = reader.read(ANSWERS)
    finally:
        reader.close()
    expected = open_features(spec_of(tiny_llama, "hf"), settings).read(ANSWERS)
    np.testing.assert_allclose(rows, expected, **CLOSE)
