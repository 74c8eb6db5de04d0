"""A calibrated model in pieces: some logits only, every kind of cache, shared prefixes."""

import pytest
import torch
from tiny_calibrated import HEADS, MODELS, PROMPTS, SHARED, STEPS, batch, calibrated, defined, windowed

from lmtools.core.errors import ModelError
from lmtools.generation.hf import HfGenerator
from lmtools.generation.past import PlainPast, SharedPast
from lmtools.generation.protocol import Sampling
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


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
    with generator._prefixes.ready():
        assert isinstance(generator._prefixes.start([], 4), kind)


def test_a_cache_that_the_head_has_not_seen_is_an_error(loaded):
    ids = batch(loaded).input_ids
    cache = loaded.model(ids, use_cache=True).past_key_values
    with pytest.raises(ModelError, match="the temperature head has not seen"):
        calibrated(loaded).model(ids[:, -1:], past_key_values=cache)
