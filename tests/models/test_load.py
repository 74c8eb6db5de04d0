"""Names become models: adapters on bases, and one clear message for everything that is not a model."""

import json
import shutil

import pytest
import torch
from tiny import save_adapter

from lmtools.core.errors import MachineError, ModelError
from lmtools.models.files import resolve
from lmtools.models.load import load, pick_device
from lmtools.models.spec import ModelSpec


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    return save_adapter(tiny_llama, tmp_path_factory.mktemp("adapter"), ["q_proj", "v_proj"])


def copy_with(source, target, **changes):
    """A copy of a model directory with settings of its config.json changed."""
    shutil.copytree(source, target)
    path = target / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return target


def logits(loaded, text="Which river flows through Paris?"):
    with torch.no_grad():
        return loaded.model(**loaded.tokenizer(text, return_tensors="pt")).logits


def test_a_directory_loads_in_evaluation_mode_at_its_precision(tiny_llama):
    loaded = load(ModelSpec(name=str(tiny_llama), dtype="bfloat16", device="cpu"))
    assert loaded.model.dtype == torch.bfloat16
    assert not loaded.model.training
    assert loaded.tokenizer.padding_side == "left"
    assert loaded.identity.endswith("@bfloat16")


def test_the_identity_follows_content_not_place(tiny_llama, adapter, tmp_path):
    spec = ModelSpec(name=str(tiny_llama))
    moved = shutil.copytree(tiny_llama, tmp_path / "moved")
    same = load(spec).identity
    assert load(spec.model_copy(update={"name": str(moved)})).identity == same
    (moved / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    assert load(spec.model_copy(update={"name": str(moved)})).identity != same
    assert load(spec.model_copy(update={"dtype": "bfloat16"})).identity != same
    assert load(spec.model_copy(update={"adapter": str(adapter)})).identity != same


def test_an_adapter_changes_the_model_and_merging_does_not_change_it_again(tiny_llama, adapter):
    spec = ModelSpec(name=str(tiny_llama))
    tuned = spec.model_copy(update={"adapter": str(adapter)})
    with_adapter = logits(load(tuned))
    assert not torch.allclose(logits(load(spec)), with_adapter, atol=1e-2)
    torch.testing.assert_close(logits(load(tuned, merge=True)), with_adapter, atol=1e-4, rtol=1e-4)


def test_an_adapter_as_the_model_brings_its_base(tiny_llama, adapter):
    files = resolve(ModelSpec(name=str(adapter)))
    assert (files.path, files.adapter) == (tiny_llama, adapter)


def test_an_adapter_for_other_shapes(tiny_llama, adapter, tmp_path):
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    wide = LlamaConfig(vocab_size=384, hidden_size=64, intermediate_size=64, num_hidden_layers=2,
                       num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    LlamaForCausalLM(wide).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="does not fit") as caught:
        load(ModelSpec(name=str(tmp_path), adapter=str(adapter)))
    assert "64 inputs in the model and 32 in the adapter" in caught.value.message
    assert str(tiny_llama) in caught.value.fix


def test_an_adapter_for_layers_that_are_not_there(tiny_llama, adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(adapter, tmp_path / "other")
    weights = load_file(other / "adapter_model.safetensors")
    renamed = {name.replace("layers.1.", "layers.7."): tensor for name, tensor in weights.items()}
    save_file(renamed, other / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"no layer model\.layers\.7"):
        resolve(ModelSpec(name=str(tiny_llama), adapter=str(other)))


def test_an_adapter_for_other_weights_of_the_same_shape(tiny_llama, adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    other = shutil.copytree(tiny_llama, tmp_path / "other")
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, other / "model.safetensors")
    with pytest.raises(ModelError, match="other weights"):
        resolve(ModelSpec(name=str(other), adapter=str(adapter)))


def test_an_unfinished_adapter(tiny_llama, adapter, tmp_path):
    (tmp_path / "adapter_config.json").write_text((adapter / "adapter_config.json").read_text())
    with pytest.raises(ModelError, match=r"no adapter_model\.safetensors"):
        resolve(ModelSpec(name=str(tiny_llama), adapter=str(tmp_path)))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_directory_that_is_not_a_model_says_what_is_missing(tiny_llama, tmp_path, missing):
    broken = shutil.copytree(tiny_llama, tmp_path / "broken")
    (broken / missing).unlink()
    with pytest.raises(ModelError, match="is not a model") as caught:
        load(ModelSpec(name=str(broken)))
    assert missing.replace("model.", "*.") in caught.value.message


def test_weights_that_lack_a_layer_are_not_filled_with_noise(tiny_llama, tmp_path):
    deeper = copy_with(tiny_llama, tmp_path / "deeper", num_hidden_layers=3)
    with pytest.raises(ModelError, match=r"its weights lack model\.layers\.2"):
        load(ModelSpec(name=str(deeper)))


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", "{"), ("config.json", "[]"), ("model.safetensors", "torn"), ("tokenizer.json", "{")],
)
def test_a_damaged_file_is_one_message(tiny_llama, tmp_path, file, content):
    broken = shutil.copytree(tiny_llama, tmp_path / "broken")
    (broken / file).write_text(content)
    with pytest.raises(ModelError) as caught:
        load(ModelSpec(name=str(broken)))
    assert str(broken) in caught.value.message


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./nowhere", "no such directory"),
        ("a/b/c", "no such directory"),
        ("two words", "neither a directory nor a hub name"),
        ("builtin:nothing", "no built-in model"),
        ("smollm2-135m-instruct", "no such directory"),
    ],
)
def test_a_name_that_is_nothing(name, says):
    with pytest.raises(ModelError, match=says):
        resolve(ModelSpec(name=name))


def test_a_file_is_not_a_model(tiny_llama):
    with pytest.raises(ModelError, match="is a file"):
        resolve(ModelSpec(name=str(tiny_llama / "config.json")))


def test_a_hub_name_without_a_network_names_the_ways_out(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(MachineError, match="cannot fetch some/model") as caught:
        resolve(ModelSpec(name="some/model"))
    assert "local directory" in caught.value.fix
    assert "builtin:smollm2-135m-instruct" in caught.value.fix


def test_an_unusable_device_is_named():
    with pytest.raises(ModelError, match="cuda:99"):
        pick_device("cuda:99")
    assert pick_device("cpu") == "cpu"
