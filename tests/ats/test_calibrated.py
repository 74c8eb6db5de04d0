"""A calibrated model against its definition: base logits times the head's multipliers, in one whole pass."""

import pytest
import torch
from tiny import save_adapter
from tiny_heads import fitted

from lmtools.ats.artefact import BaseInfo, save_head
from lmtools.ats.calibrated import CalibratedLM, ObservedLM, calibrate, observe
from lmtools.ats.features import features
from lmtools.ats.heads import base_shape, build_head
from lmtools.core.errors import ModelError
from lmtools.generation.decode import pad
from lmtools.generation.hf import HfGenerator
from lmtools.generation.past import PlainPast, SharedPast
from lmtools.generation.protocol import Sampling
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec

JOINED = ("hidden", "max-logit", "log-std", "argmax-row")
HEADS = {
    "transformer": {"kind": "transformer"},
    "mlp": {"kind": "mlp"},
    "linear": {"kind": "linear"},
    "scalar": {"kind": "scalar"},
    "joined": {"kind": "transformer", "features": JOINED},
    "linear joined": {"kind": "linear", "features": JOINED},
}
PROMPTS = ["Which river flows", "a", "Paris, the capital of France and"]
SHARED = "Which river flows through the capital of France? The Seine flows through Paris. " * 12
STEPS = 9


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


def soft_capped(loaded):
    """A model whose logits are soft-capped, and whose layers see a window only, or everything, in turn."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(1)
    config = Gemma2Config(
        vocab_size=len(loaded.tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=8,
        query_pre_attn_scalar=8, attn_logit_softcapping=2.0, final_logit_softcapping=3.0,
        max_position_embeddings=2048, initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
        attn_implementation="eager",
    )  # fmt: skip
    return LoadedModel(Gemma2ForCausalLM(config).eval(), loaded.tokenizer, "capped@float32", "cpu")


def learned_positions(loaded):
    """A model without rotary embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(loaded.tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=2048,
        initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LoadedModel(GPT2LMHeadModel(config).eval(), loaded.tokenizer, "learned@float32", "cpu")


def windowed(loaded):
    """A model whose layers all see a window only."""
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(1)
    config = MistralConfig(
        vocab_size=len(loaded.tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, sliding_window=8,
        max_position_embeddings=2048, initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LoadedModel(MistralForCausalLM(config).eval(), loaded.tokenizer, "windowed@float32", "cpu")


def with_sinks(loaded):
    """A model whose attention cannot reach over a shared prefix."""
    from transformers import GptOssConfig, GptOssForCausalLM

    torch.manual_seed(1)
    config = GptOssConfig(
        vocab_size=len(loaded.tokenizer), hidden_size=32, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, num_local_experts=2, num_experts_per_tok=1,
        sliding_window=48, max_position_embeddings=2048, initializer_range=0.3,
        bos_token_id=1, eos_token_id=2, pad_token_id=0, attn_implementation="eager",
    )  # fmt: skip
    return LoadedModel(GptOssForCausalLM(config).eval(), loaded.tokenizer, "sinks@float32", "cpu")


MODELS = {
    "llama": lambda loaded: loaded,
    "gemma2": soft_capped,
    "gpt2": learned_positions,
    "sinks": with_sinks,
}


def head_for(loaded, seed=0, **config):
    return fitted(base_shape(loaded.model.config), seed, **config)


def calibrated(loaded, seed=0, **config):
    model = CalibratedLM(loaded.model, head_for(loaded, seed, **config)).eval()
    return LoadedModel(model, loaded.tokenizer, "calibrated@float32", "cpu")


def batch(loaded):
    return loaded.tokenizer(PROMPTS, return_tensors="pt", padding=True)


@torch.no_grad()
def defined(base, head, ids, mask=None):
    """Calibrated logits of whole rows by their definition, without a cache: (rows, tokens, vocabulary)."""
    mask = torch.ones_like(ids) if mask is None else mask
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    output = base(ids, attention_mask=mask, position_ids=places, output_hidden_states=True, use_cache=False)
    rows = base.get_output_embeddings().weight
    seen = features(head.config.features, output.hidden_states[-1], output.logits, rows)
    return output.logits.float() * head(seen, valid=mask.bool()).exp()[..., None]


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


@pytest.mark.parametrize("keep", [1, 3, 0, *map(torch.tensor, ([2], [-1], [2, 5], [5, 2]))], ids=str)
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("kind", HEADS)
def test_logits_to_keep(loaded, kind, padded, keep):
    model = calibrated(loaded, **HEADS[kind]).model
    inputs = batch(loaded) if padded else {"input_ids": batch(loaded).input_ids}
    with torch.no_grad():
        whole, some = model(**inputs), model(**inputs, logits_to_keep=keep)
    chosen = keep if isinstance(keep, torch.Tensor) else slice(-keep, None)
    assert torch.allclose(some.logits, whole.logits[:, chosen], atol=1e-5)
    assert some.past_key_values.get_seq_length() == inputs["input_ids"].shape[1]


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_cache_filled_in_uneven_pieces(loaded, name):
    base = MODELS[name](loaded)
    model = calibrated(base).model
    inputs = batch(loaded)
    ids, mask = inputs.input_ids, inputs.attention_mask
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache, parts = None, []
    with torch.no_grad():
        for start, end in ((0, 4), (4, 5), (5, ids.shape[1])):
            piece = model(
                input_ids=ids[:, start:end], attention_mask=mask[:, :end], past_key_values=cache,
                position_ids=places[:, start:end], use_cache=True, logits_to_keep=end - start,
            )  # fmt: skip
            cache = piece.past_key_values
            parts.append(piece.logits)
    expected = defined(base.model, model.heads["head"], ids, mask)
    valid = mask.bool()
    assert torch.allclose(torch.cat(parts, dim=1)[valid], expected[valid], atol=1e-4)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_beam_search_is_the_same_with_and_without_a_cache(loaded, name):
    """Without one, nothing is reordered."""
    model = calibrated(MODELS[name](loaded)).model
    options = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": STEPS, "do_sample": False}
    options |= {"return_dict_in_generate": True, "output_scores": True}
    with_cache = model.generate(**batch(loaded), **options)
    without = model.generate(**batch(loaded), **options, use_cache=False)
    assert torch.equal(with_cache.sequences, without.sequences)
    assert torch.allclose(with_cache.sequences_scores, without.sequences_scores, atol=1e-4)


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


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_a_static_cache(loaded, name):
    model = calibrated(MODELS[name](loaded)).model
    options = {"max_new_tokens": STEPS, "min_new_tokens": STEPS, "do_sample": False, "output_logits": True}
    options |= {"return_dict_in_generate": True}
    dynamic = model.generate(**batch(loaded), **options)
    static = model.generate(**batch(loaded), **options, cache_implementation="static", disable_compile=True)
    assert torch.equal(static.sequences, dynamic.sequences)
    assert torch.allclose(torch.stack(static.logits), torch.stack(dynamic.logits), atol=1e-4)


def test_a_static_cache_that_keeps_a_window_only_is_an_error(loaded):
    base = windowed(loaded)
    options = {"do_sample": False, "cache_implementation": "static", "disable_compile": True}
    base.model.generate(**batch(loaded), **options, max_new_tokens=2)
    with pytest.raises(ModelError, match="room for 8 tokens"):
        calibrated(base).model.generate(**batch(loaded), **options, max_new_tokens=2)
    short = batch(loaded).input_ids[:, -4:]
    whole = calibrated(base).model.generate(short, do_sample=False, max_new_tokens=3)
    assert torch.equal(calibrated(base).model.generate(short, **options, max_new_tokens=3), whole)


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


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", ["transformer", "joined", "linear"])
def test_the_hf_generator_with_shared_prefixes(loaded, kind, name):
    base = MODELS[name](loaded)
    model = calibrated(base, **HEADS[kind])
    generator, plain = HfGenerator.from_loaded(model), HfGenerator.from_loaded(base)
    prompts = [*PROMPTS, *(SHARED + prompt for prompt in PROMPTS)]
    sampling = Sampling(max_tokens=8)
    groups = generator.generate(prompts, sampling)
    assert [g[0].tokens for g in groups] == [g[0].tokens for g in plain.generate(prompts, sampling)]
    pairs = [(prompt, " the Seine") for prompt in prompts]
    scores = generator.score(pairs)
    options = generator.options(prompts, ["A", "B"])
    tail = loaded.tokenizer(" the Seine", add_special_tokens=False)["input_ids"]
    letters = loaded.tokenizer("AB", add_special_tokens=False)["input_ids"]
    for at, prompt in enumerate(prompts):
        head = loaded.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        written = list(groups[at][0].tokens)
        for tokens, found in ((written, groups[at][0].logprobs), (tail, scores[at])):
            logits = defined(base.model, model.model.heads["head"], torch.tensor([head + tokens]))
            logprobs = logits[0].log_softmax(dim=-1)
            expected = [logprobs[len(head) - 1 + step, token].item() for step, token in enumerate(tokens)]
            assert found == pytest.approx(expected, abs=1e-4)
        after = [logprobs[len(head) - 1, letter].item() for letter in letters]
        assert options[at] == pytest.approx(after, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"), [("llama", SharedPast), ("gemma2", SharedPast), ("sinks", PlainPast)]
)
def test_a_calibrated_model_shares_prefixes_where_its_base_does(loaded, name, kind):
    generator = HfGenerator.from_loaded(calibrated(MODELS[name](loaded)))
    with generator._pasts.ready():
        assert isinstance(generator._pasts.start([], 4), kind)


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
    with generator._pasts.ready():
        past = generator._pasts.start(ids[0][:shared], max(map(len, ids)))
        past.forward(*pad([tokens[shared:] for tokens in ids], "cpu"), keep=1)
    model = generator._model
    for row, tokens in enumerate(ids):
        hidden = loaded.model(torch.tensor([tokens]), output_hidden_states=True).hidden_states[-1]
        for name, head in heads.items():
            expected = head(hidden)[0, -1].item()
            assert model.log_multipliers[name][row, 0].item() == pytest.approx(expected, abs=1e-4)


def test_the_base_model_is_left_as_it_was(loaded):
    before, hooks = loaded.model.config.to_dict(), len(loaded.model.model._forward_hooks)
    ids = batch(loaded).input_ids
    expected = loaded.model(ids).logits
    calibrated(loaded).model.generate(ids, max_new_tokens=2)
    assert loaded.model.config.to_dict() == before
    assert loaded.model.config._attn_implementation != "lmtools_shared"
    assert len(loaded.model.model._forward_hooks) == hooks
    assert torch.equal(loaded.model(ids).logits, expected)


def test_a_cache_that_the_head_has_not_seen_is_an_error(loaded):
    ids = batch(loaded).input_ids
    cache = loaded.model(ids, use_cache=True).past_key_values
    with pytest.raises(ModelError, match="the temperature head has not seen"):
        calibrated(loaded).model(ids[:, -1:], past_key_values=cache)


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


def test_a_model_that_cannot_keep_some_logits_only(loaded, monkeypatch):
    monkeypatch.setattr(type(loaded.model), "_supports_logits_to_keep", lambda self: False)
    model = ObservedLM(loaded.model, {"head": head_for(loaded)}).eval()
    output = model(**batch(loaded), logits_to_keep=2)
    assert output.logits.shape[1] == 2
    assert model.log_multipliers["head"].shape == (3, 2)


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
