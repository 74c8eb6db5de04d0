"""A calibrated model against its definition: base logits times the head's multipliers, in one whole pass."""

import pytest
import torch
from tiny import save_adapter
from tiny_calibrated import (
    HEADS,
    MODELS,
    PROMPTS,
    SHARED,
    STEPS,
    batch,
    calibrated,
    defined,
    head_for,
    soft_capped,
)

from lmtools.ats.artefact import BaseInfo, save_head
from lmtools.ats.calibrated import CalibratedLM, calibrate
from lmtools.ats.heads import build_head
from lmtools.ats.recipe import base_shape
from lmtools.core.errors import ModelError
from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Sampling
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("name", MODELS)
def test_generating_step_by_step_is_the_whole_sequence(loaded, kind, name):
    base = MODELS[name](loaded)
    model = calibrated(base, **HEADS[kind]).model
    inputs = batch(loaded)
    done = model.generate(
        **inputs, do_sample=False, max_new_tokens=STEPS, min_new_tokens=STEPS, output_logits=True,
        return_dict_in_generate=True,
    )  # fmt: skip
    mask = torch.cat((inputs.attention_mask, torch.ones(3, STEPS, dtype=torch.long)), dim=1)
    whole = defined(base.model, model.heads["head"], done.sequences, mask)
    stepped = torch.stack(done.logits, dim=1)
    assert torch.allclose(stepped, whole[:, -STEPS - 1 : -1], atol=1e-4)
    plain = base.model.generate(**inputs, do_sample=False, max_new_tokens=STEPS, min_new_tokens=STEPS)
    assert torch.equal(done.sequences, plain)
    if kind != "scalar":
        assert model.log_multipliers["head"].std() > 0.01


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_either_attention_gives_the_same(tiny_llama, attention):
    base = load(ModelSpec(name=str(tiny_llama), device="cpu"), attention=attention)
    inputs = batch(base)
    model = calibrated(base).model
    with torch.no_grad():
        found = model(**inputs).logits
    valid = inputs.attention_mask.bool()
    expected = defined(base.model, model.heads["head"], inputs.input_ids, inputs.attention_mask)
    # Without position_ids the base model counts the padding too: of the longest row alone it does not.
    longest = int(valid.sum(dim=1).argmax())
    assert torch.allclose(found[longest], expected[longest], atol=1e-4)


def test_beams_are_chosen_by_calibrated_probabilities(loaded):
    options = {"num_beams": 3, "max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False}
    flat = build_head(head_for(loaded, kind="scalar").config, base_shape(loaded.model.config))
    with torch.no_grad():
        flat.log_multiplier.fill_(-2.5)
    model = CalibratedLM(loaded.model, flat).eval()
    assert not torch.equal(
        model.generate(**batch(loaded), **options), loaded.model.generate(**batch(loaded), **options)
    )


def test_sampling_draws_from_the_calibrated_distribution(loaded):
    model = calibrated(loaded).model
    options = {"max_new_tokens": 1, "do_sample": True, "top_k": 0, "num_return_sequences": 4000}
    ids = loaded.tokenizer("Which river", return_tensors="pt").input_ids
    torch.manual_seed(0)
    drawn = model.generate(ids, attention_mask=torch.ones_like(ids), **options)[:, -1]
    expected = defined(loaded.model, model.heads["head"], ids)[0, -1].softmax(dim=-1)
    shares = torch.bincount(drawn, minlength=len(expected)) / len(drawn)
    assert (shares - expected).abs().max() < 4 * 0.5 / 4000**0.5
    base = loaded.model(ids).logits[0, -1].softmax(dim=-1)
    assert (base - expected).abs().max() > 4 * 0.5 / 4000**0.5  # else this test could not tell them apart


def test_bfloat16_keeps_greedy_text_and_a_float32_head(tiny_llama):
    base = load(ModelSpec(name=str(tiny_llama), dtype="bfloat16", device="cpu"))
    model = calibrated(base).model
    assert {parameter.dtype for parameter in model.heads.parameters()} == {torch.float32}
    options = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False}
    inputs = batch(base)
    done = model.generate(**inputs, **options, output_logits=True, return_dict_in_generate=True)
    assert torch.equal(done.sequences, base.model.generate(**inputs, **options))
    assert done.logits[0].dtype == torch.float32
    # The definition on the very same hidden states: what is left is float32's error.
    ids = done.sequences[2:]
    with torch.no_grad():
        output = base.model(ids, output_hidden_states=True, use_cache=False)
        expected = output.logits.float() * model.heads["head"](output.hidden_states[-1]).exp()[..., None]
        assert torch.allclose(model(ids, use_cache=False).logits, expected, atol=1e-4)


def test_the_soft_cap_comes_before_the_multiplier(loaded):
    """Were it the other way round, no calibrated logit could pass the cap of 3."""
    base = soft_capped(loaded)
    sharp = head_for(base, kind="scalar")
    with torch.no_grad():
        sharp.log_multiplier.fill_(1.5)
        ids = batch(loaded).input_ids
        raw = base.model(ids).logits
        found = CalibratedLM(base.model, sharp).eval()(ids).logits
    assert raw.abs().max() <= 3
    assert torch.allclose(found, raw * torch.tensor(1.5).exp(), atol=1e-5)
    assert found.abs().max() > 3


def test_with_an_adapter_on_top(tiny_llama, tmp_path):
    save_adapter(tiny_llama, tmp_path)
    spec = ModelSpec(name=str(tiny_llama), adapter=str(tmp_path), device="cpu")
    apart, merged = load(spec), load(spec, merge=True)
    pairs = [(SHARED + prompt, " the Seine") for prompt in PROMPTS]
    found = HfGenerator.from_loaded(calibrated(apart)).score(pairs)
    for one, other in zip(found, HfGenerator.from_loaded(calibrated(merged)).score(pairs), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    inputs = batch(apart)
    options = {"max_new_tokens": STEPS, "do_sample": False}
    assert torch.equal(
        calibrated(apart).model.generate(**inputs, **options), merged.model.generate(**inputs, **options)
    )


def test_the_base_model_is_left_as_it_was(loaded):
    before, hooks = loaded.model.config.to_dict(), len(loaded.model.model._forward_hooks)
    ids = batch(loaded).input_ids
    expected = loaded.model(ids).logits
    calibrated(loaded).model.generate(ids, max_new_tokens=2)
    assert loaded.model.config.to_dict() == before
    assert loaded.model.config._attn_implementation != "lmtools_shared"
    assert len(loaded.model.model._forward_hooks) == hooks
    assert torch.equal(loaded.model(ids).logits, expected)


def test_states_that_are_not_numbers_are_an_error(tiny_llama):
    base = load(ModelSpec(name=str(tiny_llama), device="cpu"))
    with torch.no_grad():
        base.model.model.norm.weight[0] = float("nan")
    for kind in ("transformer", "linear"):
        with pytest.raises(ModelError, match="NaN or infinity"):
            calibrated(base, kind=kind).model(batch(base).input_ids)


def test_labels_are_refused(loaded):
    ids = batch(loaded).input_ids
    with pytest.raises(ValueError, match="no labels"):
        calibrated(loaded).model(ids, labels=ids)


def test_calibrate_reads_a_run_and_tells_the_head_by_content(loaded, tmp_path):
    names = []
    for seed in (0, 1):
        directory = tmp_path / f"run{seed}" / "head"
        save_head(head_for(loaded, seed), directory, BaseInfo.of("tiny", loaded.identity), {})
        model = calibrate(loaded, directory.parent)
        assert isinstance(model.model, CalibratedLM)
        assert model.identity == calibrate(loaded, directory).identity
        names.append(model.identity)
    assert names[0] != names[1]
    assert all(name.startswith(f"{loaded.identity}+head:") for name in names)


def test_a_head_for_another_model_is_refused(loaded, tmp_path):
    save_head(head_for(loaded), tmp_path, BaseInfo("else", "0" * 16, "float32"), {})
    with pytest.raises(ModelError, match="fitted on else"):
        calibrate(loaded, tmp_path)


@pytest.mark.slow
def test_the_built_in_model(tmp_path):
    loaded = load(ModelSpec(device="cpu"))
    model = calibrated(loaded)
    prompts = [SHARED + prompt for prompt in PROMPTS]
    groups = HfGenerator.from_loaded(model).generate(prompts, Sampling(max_tokens=8))
    plain = HfGenerator.from_loaded(loaded).generate(prompts, Sampling(max_tokens=8))
    assert [group[0].tokens for group in groups] == [group[0].tokens for group in plain]
    for prompt, [completion] in zip(prompts, groups, strict=True):
        head = loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([head + list(completion.tokens)])
        logprobs = defined(loaded.model, model.model.heads["head"], ids)[0].log_softmax(dim=-1)
        places = range(len(head) - 1, ids.shape[1] - 1)
        expected = [logprobs[at, ids[0, at + 1]].item() for at in places]
        assert completion.logprobs == pytest.approx(expected, abs=1e-3)
