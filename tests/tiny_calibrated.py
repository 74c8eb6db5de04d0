"""Small models of several families with random heads on them, and what their logits are by definition."""

import torch
from tiny_heads import fitted

from lmtools.ats.cache import features
from lmtools.ats.calibrated import CalibratedLM
from lmtools.ats.recipe import base_shape
from lmtools.models.load import LoadedModel

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


def learned_positions(loaded):
    """A model without rotary embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=len(loaded.tokenizer), n_embd=32, n_layer=2, n_head=4, n_positions=2048,
        initializer_range=0.3, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    return LoadedModel(GPT2LMHeadModel(config).eval(), loaded.tokenizer, "learned@float32", "cpu")


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
