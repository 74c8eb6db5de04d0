"""An exported model's files, and what is said of heads and models that cannot be exported."""

import json
import shutil
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from tiny import save_adapter, save_tiny_llama
from tiny_heads import fitted

from lmtools.ats import export
from lmtools.ats.artefact import BaseInfo, save_head
from lmtools.ats.export import export_vllm
from lmtools.ats.recipe import base_shape
from lmtools.ats.vllm_plugin import PREFIX, SUPPORTED, register
from lmtools.core.errors import ModelError, RunError
from lmtools.models.files import resolve
from lmtools.models.load import load, load_tokenizer
from lmtools.models.spec import ModelSpec


def head_on(spec, directory, **config):
    """A head of ``HeadConfig(**config)`` on a model, saved in ``directory``."""
    loaded = load(spec)
    head = fitted(base_shape(loaded.model.config), **config)
    save_head(head, directory, BaseInfo.of(spec.name, loaded.identity), {})
    return head


def tensors(directory):
    """What an index says is in a model's directory, read from where it says."""
    where = json.loads((directory / "model.safetensors.index.json").read_text())["weight_map"]
    files = {name: load_file(directory / name) for name in set(where.values())}
    assert sorted(where) == sorted(key for file in files.values() for key in file)
    return {key: files[name][key] for key, name in where.items()}


@pytest.fixture(scope="module")
def spec(tiny_llama):
    return ModelSpec(name=str(tiny_llama), device="cpu")


def test_the_base_model_and_the_head_are_both_in_it(spec, tiny_llama, tmp_path):
    head = head_on(spec, tmp_path / "run" / "head")
    out = export_vllm(tmp_path / "run", tmp_path / "out", spec)
    base = load_file(tiny_llama / "model.safetensors")
    expected = base | {f"lmtools_ats.{name}": value for name, value in head.state_dict().items()}
    found = tensors(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    config = json.loads((out / "config.json").read_text())
    assert config["architectures"] == ["LmtoolsAtsLlamaForCausalLM"]
    assert config["model_type"] == "llama"
    assert config["lmtools_ats"]["head"] == head.config.model_dump(mode="json")
    assert config["lmtools_ats"]["base"]["name"] == spec.name
    assert not list(tmp_path.glob(".*"))


def test_it_is_a_model_directory_with_the_same_tokenizer(spec, tmp_path):
    head_on(spec, tmp_path / "head", kind="scalar")
    exported = spec.model_copy(
        update={"name": str(export_vllm(tmp_path / "head", tmp_path / "out", spec)), "backend": "vllm"}
    )
    files = resolve(exported)
    assert files.digest != resolve(spec).digest
    ours, theirs = load_tokenizer(exported, files), load_tokenizer(spec)
    assert ours.chat_template == theirs.chat_template
    assert ours("The Seine")["input_ids"] == theirs("The Seine")["input_ids"]


def test_transformers_is_not_given_the_model_without_its_head(spec, tmp_path):
    head_on(spec, tmp_path / "head", kind="linear")
    out = export_vllm(tmp_path / "head", tmp_path / "out", spec)
    with pytest.raises(ModelError, match="exported for vLLM") as caught:
        load(ModelSpec(name=str(out)))
    assert "--backend vllm" in caught.value.fix
    assert f"{spec.name} itself and --calibrated" in caught.value.fix


def test_weights_are_linked_and_copied_where_that_fails(spec, tiny_llama, tmp_path, monkeypatch):
    head_on(spec, tmp_path / "head", kind="scalar")
    out = export_vllm(tmp_path / "head", tmp_path / "linked", spec)
    assert (out / "model-base.safetensors").samefile(tiny_llama / "model.safetensors")

    def refuse(*_):
        raise OSError("another disk")

    monkeypatch.setattr(export.os, "link", refuse)
    out = export_vllm(tmp_path / "head", tmp_path / "copied", spec)
    assert not (out / "model-base.safetensors").samefile(tiny_llama / "model.safetensors")
    assert (out / "model-base.safetensors").read_bytes() == (tiny_llama / "model.safetensors").read_bytes()


def test_weights_in_several_files(tiny_llama, tmp_path):
    spec = ModelSpec(name=str(tmp_path / "shards"), device="cpu")
    load(ModelSpec(name=str(tiny_llama))).model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    load_tokenizer(ModelSpec(name=str(tiny_llama))).save_pretrained(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    head = head_on(spec, tmp_path / "head", kind="linear")
    found = tensors(export_vllm(tmp_path / "head", tmp_path / "out", spec))
    base = load_file(tiny_llama / "model.safetensors")
    assert found.keys() == base.keys() | {f"lmtools_ats.{name}" for name in head.state_dict()}
    assert all(torch.equal(found[name], value) for name, value in base.items())


def test_an_adapter_is_merged(spec, tiny_llama, tmp_path):
    tuned = spec.model_copy(update={"adapter": str(save_adapter(tiny_llama, tmp_path / "adapter"))})
    head_on(tuned, tmp_path / "head", kind="linear")
    out = export_vllm(tmp_path / "head", tmp_path / "out", tuned)
    expected = load(tuned, merge=True).model.state_dict()
    found = tensors(out)
    base = load_file(tiny_llama / "model.safetensors")
    changed = [name for name in base if not torch.equal(found[name], base[name])]
    assert len(changed) == 14  # seven linear layers in each of two
    assert all(torch.equal(found[name], expected[name]) for name in base)
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == []
    with pytest.raises(ModelError, match="without one"):
        export_vllm(tmp_path / "head", tmp_path / "other", spec)


def test_a_head_for_another_model(spec, tmp_path):
    head_on(spec, tmp_path / "head", kind="linear")
    other = ModelSpec(name=str(save_tiny_llama(tmp_path / "other", seed=3)), device="cpu")
    with pytest.raises(ModelError, match="other weights"):
        export_vllm(tmp_path / "head", tmp_path / "out", other)
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_heads_do_not_run_on(tiny_llama, tmp_path):
    model = shutil.copytree(tiny_llama, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"architectures": ["GPT2LMHeadModel"]}))
    spec = ModelSpec(name=str(model), device="cpu")
    head_on(spec, tmp_path / "head")
    with pytest.raises(ModelError, match=r"GPT2LMHeadModel.*LlamaForCausalLM") as caught:
        export_vllm(tmp_path / "head", tmp_path / "out", spec)
    assert "--calibrated" in caught.value.fix


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({"features": ("hidden", "max-logit")}, "logits of prompt tokens"),
        ({"kind": "mlp", "features": ("argmax-row",)}, "output projection's rows"),
    ],
)
def test_features_that_vllm_does_not_show(spec, tmp_path, config, missing):
    head_on(spec, tmp_path / "head", **config)
    with pytest.raises(ModelError, match=missing):
        export_vllm(tmp_path / "head", tmp_path / "out", spec)


def test_a_directory_in_use_is_left_alone(spec, tmp_path):
    head_on(spec, tmp_path / "head", kind="scalar")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        export_vllm(tmp_path / "head", tmp_path / "out", spec)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()
    export_vllm(tmp_path / "head", tmp_path / "out", spec)


def test_nothing_is_left_of_an_export_that_failed(spec, tmp_path, monkeypatch):
    head_on(spec, tmp_path / "head", kind="scalar")

    def fail(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lmtools.ats.export.index_weights", fail)
    with pytest.raises(Exception, match="No space left") as caught:
        export_vllm(tmp_path / "head", tmp_path / "out", spec)
    assert "--out DIR" in caught.value.fix
    assert [path.name for path in tmp_path.iterdir()] == ["head"]


def test_vllm_is_told_every_architecture_once(monkeypatch):
    told = []
    models = {}

    def register_model(name, where):
        told.append((name, where))
        models[name] = where

    registry = SimpleNamespace(models=models, register_model=register_model)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(ModelRegistry=registry))
    register()
    register()
    assert told == [(PREFIX + name, f"lmtools.ats.vllm_model:{PREFIX}{name}") for name in SUPPORTED]


def test_the_entry_point_is_declared():
    (point,) = [point for point in entry_points(group="vllm.general_plugins") if point.name == "lmtools"]
    assert point.load() is register
