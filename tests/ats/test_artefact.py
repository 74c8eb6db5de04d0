"""A head on disk: what comes back, and what it says of files that are not a head for this model."""

import json

import pytest
import torch
from tiny import save_adapter, save_tiny_llama
from tiny_heads import fitted

from lmtools.ats.artefact import BaseInfo, find_head, head_digest, load_head, read_settings, save_head
from lmtools.ats.recipe import base_shape
from lmtools.core.errors import ModelError
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

LOSS = {"loss": "selective_smoothing", "alpha": 0.5}


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


@pytest.fixture
def saved(loaded, tmp_path):
    """A transformer head in ``tmp_path/head``."""
    head = fitted(base_shape(loaded.model.config))
    save_head(head, tmp_path / "head", BaseInfo.of("tiny", loaded.identity), LOSS)
    return tmp_path / "head"


@pytest.mark.parametrize("kind", ["transformer", "mlp", "linear", "scalar"])
def test_what_was_saved_comes_back(loaded, tmp_path, kind):
    head = fitted(base_shape(loaded.model.config), kind=kind, features=("hidden", "log-std"), clip=(0.1, 5))
    save_head(head, tmp_path, BaseInfo.of("tiny", loaded.identity), LOSS)
    again = load_head(tmp_path, loaded)
    assert again.config == head.config
    assert again.shape == head.shape
    assert not any(parameter.requires_grad for parameter in again.parameters())
    features = torch.randn(2, 5, 33)
    assert torch.equal(again(features), head(features))
    assert read_settings(tmp_path).loss == LOSS


def test_the_tensor_names_are_those_of_a_llama_layer(saved):
    from safetensors import safe_open

    with safe_open(saved / "head.safetensors", framework="pt") as tensors:
        names = set(tensors.keys())
    parts = ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert names == {
        *(f"layer.self_attn.{part}.weight" for part in parts),
        *(f"layer.mlp.{part}.weight" for part in ("gate_proj", "up_proj", "down_proj")),
        *(f"layer.{part}.weight" for part in ("input_layernorm", "post_attention_layernorm")),
        "output.weight",
        "output.bias",
    }


def test_base_info_from_an_identity():
    assert BaseInfo.of("m", "0123@float32") == BaseInfo("m", "0123", "float32")
    assert BaseInfo.of("m", "0123+4567@bfloat16") == BaseInfo("m", "0123", "bfloat16", "4567")


def test_a_run_stands_for_the_head_in_it(saved):
    assert find_head(saved) == find_head(saved.parent) == saved


def test_a_directory_without_a_head(tmp_path):
    with pytest.raises(ModelError, match="holds no head") as caught:
        find_head(tmp_path)
    assert "lmtools ats fit" in caught.value.fix


def test_the_digest_is_of_the_content(loaded, saved, tmp_path):
    first = head_digest(saved)
    (saved / "head.safetensors").rename(tmp_path / "kept")
    (tmp_path / "kept").rename(saved / "head.safetensors")
    assert head_digest(saved) == first
    other = fitted(base_shape(loaded.model.config), seed=1)
    save_head(other, tmp_path / "other", BaseInfo.of("tiny", loaded.identity), LOSS)
    assert head_digest(tmp_path / "other") != first


def test_a_head_for_another_hidden_size(loaded, tmp_path):
    from tiny_heads import SHAPE

    save_head(fitted(SHAPE), tmp_path, BaseInfo.of("else", loaded.identity), LOSS)
    with pytest.raises(ModelError, match="was fitted on else: that is a model of another shape") as caught:
        load_head(tmp_path, loaded)
    assert "head_dim 16, not 32" in caught.value.message
    load_head(tmp_path)  # nothing to compare with


def test_a_head_for_other_weights(saved, tmp_path):
    other = load(ModelSpec(name=str(save_tiny_llama(tmp_path / "other", seed=1)), device="cpu"))
    with pytest.raises(ModelError, match="same shape with other weights"):
        load_head(saved, other)


def test_a_head_for_the_model_without_its_adapter(tiny_llama, saved, tmp_path):
    save_adapter(tiny_llama, tmp_path / "adapter")
    spec = ModelSpec(name=str(tiny_llama), adapter=str(tmp_path / "adapter"), device="cpu")
    adapted = load(spec)
    with pytest.raises(ModelError, match="another adapter, or without one"):
        load_head(saved, adapted)
    head = fitted(base_shape(adapted.model.config))
    save_head(head, tmp_path / "its", BaseInfo.of("tiny", adapted.identity), LOSS)
    load_head(tmp_path / "its", load(spec, merge=True))


def test_at_another_precision_it_is_the_same_model(tiny_llama, saved):
    load_head(saved, load(ModelSpec(name=str(tiny_llama), dtype="bfloat16", device="cpu")))


def test_truncated_weights(loaded, saved):
    path = saved / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"head\.safetensors cannot be loaded") as caught:
        load_head(saved, loaded)
    assert "fit the head again" in str(caught.value)


def test_missing_weights(loaded, saved):
    (saved / "head.safetensors").unlink()
    with pytest.raises(ModelError, match=r"head\.safetensors cannot be loaded"):
        load_head(saved, loaded)


def test_weights_of_another_kind(loaded, saved, tmp_path):
    linear = fitted(base_shape(loaded.model.config), kind="linear")
    save_head(linear, tmp_path / "linear", BaseInfo.of("tiny", loaded.identity), LOSS)
    (tmp_path / "linear" / "head.safetensors").rename(saved / "head.safetensors")
    with pytest.raises(ModelError, match=r"cannot be loaded: .*layer"):
        load_head(saved, loaded)


@pytest.mark.parametrize("change", [{"format": 9}, {"head": {"kind": "tree"}}, {"shape": {}}, {"base": None}])
def test_broken_settings(saved, change):
    path = saved / "head.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelError, match=r"head\.json"):
        load_head(saved)


def test_settings_that_are_not_json(saved):
    (saved / "head.json").write_text('{"format": 1')
    with pytest.raises(ModelError, match="no head's settings"):
        load_head(saved)
