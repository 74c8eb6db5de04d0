"""What a head's own attention layer needs beside the base model's: a place in the cache, a mask, positions.

All of it is made before the base model runs, for then the cache grows.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer, StaticLayer
from transformers.masking_utils import create_causal_mask

from lmtools.ats.transformer_head import Context
from lmtools.core.errors import ModelError
from lmtools.generation.shared_attention import NAME

KNOWN = ("eager", "sdpa", NAME)
"""Attention that a float32 layer can share with its base; for any other it takes ``sdpa``."""


def make_room(cache: Cache, layer: int) -> None:
    """Give a cache that has exactly the base model's layers one for each up to number ``layer``.

    Caches that grow by themselves, or keep no list of layers, are left alone.
    """
    if not cache.layers or cache.layer_class_to_replicate is not None:
        return
    # The longest: a sliding layer holds no more than its window.
    fixed = max(
        (found.max_cache_len for found in cache.layers if isinstance(found, StaticLayer)), default=None
    )
    while len(cache.layers) <= layer:
        cache.layers.append(DynamicLayer() if fixed is None else StaticLayer(fixed))


def context_of(
    states: Tensor,
    kept: slice | Tensor,
    attention_mask: Any,
    position_ids: Tensor | None,
    cache: Cache | None,
    layer: int,
    config: Any,
    implementation: str,
) -> Context:
    """The context of new tokens, before the base model has seen them.

    Args:
        states: anything of shape (rows, new, ...) on the device.
        kept: which of the new tokens will be queries.
        attention_mask: as the model was given it: (rows, seen and new), with 4 dimensions, by kind of layer,
            or None.
        position_ids: (rows, new), or None for 0, 1, 2 ...: RoPE depends on differences alone.
        cache: the cache, with room for ``layer``.
        layer: the head's first place in the cache.
        config: the configuration of the head's layer.
        implementation: the base model's attention.

    Raises:
        ModelError: the cache holds tokens that the head has not seen, or has no room for the new ones.
    """
    rows, new = states.shape[:2]
    before = 0 if cache is None else int(cache.get_seq_length(layer))
    if cache is not None and before != int(cache.get_seq_length()):
        raise ModelError(
            "the cache holds tokens that the temperature head has not seen",
            fix="fill it with the calibrated model, not with the base model",
        )
    place = cache.layers[layer] if cache is not None and layer < len(cache.layers) else None
    if isinstance(place, StaticLayer) and before + new > place.max_cache_len:
        raise ModelError(
            f"the cache has room for {place.max_cache_len} tokens of the head's, not {before + new}",
            fix="make it longer; if all of the model's layers see a window only, take one that is not static",
        )
    if position_ids is None or position_ids.ndim != 2:
        position_ids = torch.arange(before, before + new, device=states.device)[None]
    config._attn_implementation = implementation if implementation in KNOWN else "sdpa"
    given = attention_mask.get("full_attention") if isinstance(attention_mask, dict) else attention_mask
    # Without a mask, attention takes the queries for all tokens or, if one, for the last: a slice ends there.
    plain = isinstance(kept, slice) and len(range(new)[kept]) in (1, new)
    mask = create_causal_mask(
        config=config,
        inputs_embeds=torch.empty(rows, new, 0, dtype=torch.float32, device=states.device),
        attention_mask=given,
        past_key_values=cache,
        layer_idx=layer,
        allow_is_causal_skip=plain,
    )
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    return Context(mask, position_ids, cache, config._attn_implementation)
