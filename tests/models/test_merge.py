"""A merged model says what base and adapter say together, without PEFT."""

import sys

import pytest
import torch
from tiny import save_adapter

from lmtools.core.errors import RunError
from lmtools.models.load import load, load_tokenizer
from lmtools.models.merge import write_merged
from lmtools.models.spec import ModelSpec


def logits(spec):
    loaded = load(spec)
    ids = loaded.tokenizer("Which river flows through Paris?", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        return loaded.model(ids).logits.float()


@pytest.fixture(scope="module")
def adapter(tiny_llama, tmp_path_factory):
    return save_adapter(tiny_llama, tmp_path_factory.mktemp("adapter"))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.5)])
def test_the_same_logits(tiny_llama, adapter, tmp_path, monkeypatch, dtype, tolerance):
    spec = ModelSpec(name=str(tiny_llama), adapter=str(adapter), dtype=dtype, device="cpu")
    expected, base = logits(spec), logits(spec.model_copy(update={"adapter": None}))
    out = tmp_path / "merged"
    write_merged(spec, out)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]
    monkeypatch.setitem(sys.modules, "peft", None)
    merged = logits(spec.model_copy(update={"name": str(out), "adapter": None}))
    assert (merged - expected).abs().max() < tolerance
    assert (base - expected).abs().max() > 4 * tolerance


def test_the_tokenizer_is_the_base_models_byte_for_byte(tiny_llama, adapter, tmp_path):
    spec = ModelSpec(name=str(tiny_llama), adapter=str(adapter), device="cpu")
    write_merged(spec, tmp_path / "merged")
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "merged" / name).read_bytes() == (tiny_llama / name).read_bytes()
    assert load_tokenizer(ModelSpec(name=str(tmp_path / "merged"))).chat_template
    assert not list((tmp_path / "merged").glob("adapter*"))
    assert str(tiny_llama) not in (tmp_path / "merged" / "config.json").read_text()


def test_a_folder_in_use_is_left_alone(tiny_llama, adapter, tmp_path):
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="exists already"):
        write_merged(ModelSpec(name=str(tiny_llama), adapter=str(adapter)), tmp_path / "merged")
