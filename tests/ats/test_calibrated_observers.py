"""Several heads that watch one model, whose logits stay its own."""

import pytest
import torch
from tiny_calibrated import HEADS, PROMPTS, SHARED, batch, head_for

from lmtools.ats.calibrated import CalibratedLM, ObservedLM, observe
from lmtools.generation.decode import pad
from lmtools.generation.hf import HfGenerator
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


def test_several_heads_watch_and_change_nothing(loaded):
    heads = {name: head_for(loaded, seed, **HEADS[name]) for seed, name in enumerate(HEADS)}
    heads["second"] = head_for(loaded, 9)
    watched = observe(loaded, heads).model
    inputs = batch(loaded)
    with torch.no_grad():
        output = watched(**inputs, logits_to_keep=2)
        assert torch.equal(output.logits, loaded.model(**inputs, logits_to_keep=2).logits)
        together = dict(watched.log_multipliers)
        assert list(together) == list(heads)
        for name, head in heads.items():
            alone = CalibratedLM(loaded.model, head).eval()
            alone(**inputs, logits_to_keep=2)
            assert together[name].shape == (3, 2)
            assert torch.allclose(together[name], alone.log_multipliers["head"], atol=1e-5)


def test_watching_heads_see_shared_prefixes(loaded):
    heads = {"a": head_for(loaded, 1), "b": head_for(loaded, 2)}
    generator = HfGenerator.from_loaded(observe(loaded, heads))
    ids = [loaded.tokenizer(SHARED + text)["input_ids"] for text in PROMPTS]
    shared = len(loaded.tokenizer(SHARED)["input_ids"]) - 3
    with generator._prefixes.ready():
        past = generator._prefixes.start(ids[0][:shared], max(map(len, ids)))
        past.forward(*pad([tokens[shared:] for tokens in ids], "cpu"), keep=1)
    model = generator._model
    for row, tokens in enumerate(ids):
        hidden = loaded.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1]
        for name, head in heads.items():
            expected = head(hidden)[0, -1].item()
            assert model.log_multipliers[name][row, 0].item() == pytest.approx(expected, abs=1e-4)


def test_a_model_that_cannot_keep_some_logits_only(loaded, monkeypatch):
    monkeypatch.setattr(type(loaded.model), "_supports_logits_to_keep", lambda self: False)
    model = ObservedLM(loaded.model, {"head": head_for(loaded)}).eval()
    output = model(**batch(loaded), logits_to_keep=2)
    assert output.logits.shape[1] == 2
    assert model.log_multipliers["head"].shape == (3, 2)
