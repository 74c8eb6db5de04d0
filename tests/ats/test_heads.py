"""Heads: exactly 1 at the start, the transformer head against transformers' own layer, padding, the clip."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_heads import SHAPE, fitted
from transformers import Gemma2Config, GPT2Config, LlamaConfig

from lmtools.ats.heads import AttentionInputs, TransformerHead, build_head
from lmtools.ats.recipe import BaseShape, HeadConfig, base_shape
from lmtools.core.errors import ModelError

KINDS = ["transformer", "mlp", "linear", "scalar"]
JOINED = ("hidden", "max-logit", "log-std", "argmax-row")


def states(rows=3, tokens=9, width=SHAPE.hidden, seed=0):
    return torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(seed))


def padded(tokens=9):
    """Left padding, right padding, none."""
    valid = torch.ones(3, tokens, dtype=torch.bool)
    valid[0, :3], valid[1, 6:] = False, False
    return valid


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("names", [("hidden",), JOINED, ("max-logit",)], ids=lambda names: "+".join(names))
def test_a_new_head_multiplies_by_exactly_one(kind, names):
    head = build_head(HeadConfig(kind=kind, features=names), SHAPE)
    found = head(states(width=SHAPE.width(names)), valid=padded())
    assert found.dtype == torch.float32
    assert found.exp().eq(1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_decides_the_weights(kind):
    first, again, other = (build_head(HeadConfig(kind=kind), SHAPE, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    if kind in ("transformer", "mlp"):
        assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_a_head_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    build_head(HeadConfig(), SHAPE, 5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_transformer_head_is_transformers_layer_and_a_linear_function():
    head, features, valid = fitted(), states(), padded()
    seen = torch.ones(9, 9, dtype=torch.bool).tril() & valid[:, None, None, :]
    places = (valid.long().cumsum(dim=1) - 1).clamp(min=0)
    mask = seen | torch.eye(9, dtype=torch.bool)
    layer = head.layer(features, attention_mask=mask, position_embeddings=head.rotary(features, places))
    expected = head.clipped(head.output(layer)[..., 0])
    found = head(features, valid=valid)
    assert torch.allclose(found[valid], expected[valid], atol=1e-5)
    assert found[valid].std() > 0.1


def test_the_layers_rope_has_base_10000_and_its_norms_1e_6():
    config = fitted().layer.self_attn.config
    assert config.rope_parameters["rope_theta"] == 10000.0
    assert config.rms_norm_eps == 1e-6


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
@pytest.mark.parametrize("kind", KINDS)
def test_wanted_positions_alone_get_what_all_of_them_get(kind, seed, share):
    head, features, valid = fitted(kind=kind, seed=2), states(seed=seed), padded()
    wanted = valid & (torch.rand(valid.shape, generator=torch.Generator().manual_seed(seed)) < share)
    some = head(features, valid=valid, select=wanted)
    assert some.shape == (int(wanted.sum()),)
    assert torch.allclose(some, head(features, valid=valid)[wanted], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_on_either_side_changes_nothing(kind):
    head, features = fitted(kind=kind), states(1, 5)
    alone = head(features)
    noise = states(1, 4, seed=1)
    for parts, place in (((noise, features), slice(4, None)), ((features, noise), slice(0, 5))):
        valid = torch.zeros(1, 9, dtype=torch.bool)
        valid[:, place] = True
        assert torch.allclose(head(torch.cat(parts, dim=1), valid=valid)[valid], alone[0], atol=1e-5)


def test_the_transformer_head_sees_earlier_tokens_and_no_later_ones():
    head, features = fitted(), states(1, 6)
    before = head(features)
    changed = features.clone()
    changed[0, 3] += 1
    after = head(changed)
    assert torch.allclose(after[0, :3], before[0, :3], atol=1e-6)
    assert (after[0, 3:] - before[0, 3:]).abs().min() > 1e-4


@pytest.mark.parametrize("kind", ["mlp", "linear", "scalar"])
def test_the_other_heads_see_a_token_alone(kind):
    head, features = fitted(kind=kind), states(1, 6)
    changed = features.clone()
    changed[0, 3] += 1
    assert head(changed)[0, 4:].equal(head(features)[0, 4:])


def test_gradients_reach_every_weight_and_padding_makes_no_nan():
    head, features, valid = fitted(features=JOINED), states(width=66), padded()
    head(features, valid=valid, select=valid).sum().backward()
    for name, parameter in head.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_multipliers_stay_within_the_clip():
    head = fitted(kind="linear", output=50.0, clip=(0.5, 4.0))
    found = head(states()).exp()
    assert found.min().item() == pytest.approx(0.5)
    assert found.max().item() == pytest.approx(4.0)


def test_steps_with_a_cache_are_the_whole():
    from transformers import DynamicCache

    head, features = fitted(), states(2, 8)
    head.use_cache_layer(0)
    cache, found = DynamicCache(), []
    for start, end in ((0, 5), (5, 6), (6, 8)):
        mask = (torch.arange(end) <= torch.arange(start, end)[:, None]).expand(2, 1, -1, -1)
        inputs = AttentionInputs(mask, torch.arange(start, end)[None], cache, "sdpa")
        found.append(head.step(features[:, start:end], slice(0, None), inputs))
    assert torch.allclose(torch.cat(found, dim=1), head(features), atol=1e-5)


def test_the_mlp_is_swiglu_worked_by_hand():
    head = fitted(kind="mlp", mlp_size=1)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.fill_(0)
        head.gate_proj.weight[0, 0], head.up_proj.weight[0, 1] = 1.0, 1.0
        head.output.weight[0, 0], head.output.bias[0] = 0.3, 0.25
    token = torch.zeros(SHAPE.hidden)
    token[0], token[1] = 2.0, 3.0
    silu = 2 / (1 + math.exp(-2))
    assert head(token[None, None])[0, 0].item() == pytest.approx(0.3 * silu * 3 + 0.25)


def test_the_projection_is_there_only_for_other_widths():
    def keys(*names):
        return set(build_head(HeadConfig(features=names), SHAPE).state_dict())

    assert "projection.weight" not in keys("hidden")
    assert "projection.weight" not in keys("argmax-row")
    assert "projection.weight" in keys("hidden", "max-logit")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"kind": "tree"}, "kind"),
        ({"features": []}, "features"),
        ({"features": ["hidden", "hidden"]}, "each named once"),
        ({"clip": [0, 10]}, "clip"),
        ({"clip": [2.0, 10.0]}, "clip"),
        ({"mlp_size": 0}, "mlp_size"),
    ],
)
def test_impossible_configurations(config, says):
    with pytest.raises(ValidationError, match=says):
        HeadConfig.model_validate(config)


def test_the_shape_of_a_model():
    llama = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=24, vocab_size=100, rms_norm_eps=1e-5,
    )  # fmt: skip
    assert base_shape(llama) == BaseShape(64, 96, 4, 2, 24, 3, 100, rms_eps=1e-6)
    assert base_shape(GPT2Config(n_embd=32, n_head=4, n_layer=2, vocab_size=9)) == BaseShape(
        32, 128, 4, 4, 8, 2, 9
    )
    assert base_shape(Gemma2Config(head_dim=16)).head_dim == 16


def test_a_model_without_sizes_is_an_error():
    from transformers import MambaConfig

    with pytest.raises(ModelError, match="mamba"):
        base_shape(MambaConfig())


def test_a_head_as_large_as_the_built_in_model_is_a_layer_of_it():
    shape = BaseShape(576, 1536, 9, 3, 64, 30, 49152)
    head = build_head(HeadConfig(), shape)
    assert isinstance(head, TransformerHead)
    sizes = {name: value.numel() for name, value in head.named_parameters()}
    # Queries and output 576 x 576, keys and values 192 x 576, three of 1536 x 576, two norms.
    layer = 2 * 576 * 576 + 2 * 192 * 576 + 3 * 1536 * 576 + 2 * 576
    assert sum(sizes.values()) == layer + 576 + 1
