"""Calibrated models inside vLLM: any supported class of vLLM's own, with a temperature head on it.

    lmtools.ats.vllm_model:LmtoolsAtsLlamaForCausalLM     the class, by the name in an export's config.json

A transformer head is one more decoder layer with a key-value cache of vLLM's. It runs in ``forward``, on all
tokens; their log multipliers travel as extra channels of the hidden states and are split off again in
``compute_logits``, which sees the tokens whose logits are wanted. The other heads run there.
"""

import copy
import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from vllm import ModelRegistry
from vllm.distributed import get_pp_group
from vllm.model_executor.model_loader.weight_utils import default_weight_loader
from vllm.model_executor.models.llama import LlamaAttention, LlamaDecoderLayer
from vllm.sequence import IntermediateTensors

from lmtools.ats.cache import features
from lmtools.ats.heads import KINDS, layer_config
from lmtools.ats.recipe import BaseShape, HeadConfig
from lmtools.ats.vllm_plugin import PREFIX, SETTINGS

STACKED: dict[str, tuple[str, str | int]] = {
    "q_proj": ("qkv_proj", "q"),
    "k_proj": ("qkv_proj", "k"),
    "v_proj": ("qkv_proj", "v"),
    "gate_proj": ("gate_up_proj", 0),
    "up_proj": ("gate_up_proj", 1),
}
"""Layers that vLLM keeps as parts of one, and which part."""


def __getattr__(name: str) -> Any:
    """A calibrated architecture, made on first use from vLLM's class for the base architecture."""
    if not name.startswith(PREFIX):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    base = ModelRegistry.models[name.removeprefix(PREFIX)].load_model_cls()
    calibrated = type(name, (Calibrated, base), {"__module__": __name__})
    globals()[name] = calibrated  # the next look-up ends here
    return calibrated


class Calibrated:
    """Goes in front of a vLLM model class; the head's settings are in the model's configuration."""

    lmtools_ats: Any
    """The head; None where the pipeline's last stage is elsewhere."""

    def __init__(self, *, vllm_config: Any, prefix: str = "", **kwargs: Any) -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix, **kwargs)  # type: ignore[call-arg]
        settings = getattr(vllm_config.model_config.hf_config, SETTINGS)
        config, shape = HeadConfig.model_validate(settings["head"]), BaseShape(**settings["shape"])
        speculative = vllm_config.speculative_config
        if config.contextual and speculative is not None and speculative.use_eagle():
            raise ValueError("a transformer head leaves no hidden states for a speculator that reads them")
        self._width = shape.hidden
        self._names = config.features
        self._contextual = config.contextual
        if not get_pp_group().is_last_rank:
            self.lmtools_ats = None
        elif self._contextual:
            self.lmtools_ats = ContextHead(config, shape, vllm_config)
        else:
            self.lmtools_ats = KINDS[config.kind](config, shape).float()

    def forward(
        self,
        input_ids: Tensor | None,
        positions: Tensor,
        intermediate_tensors: Any = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """The base model's; with a transformer head, each token's log multiplier behind its hidden state."""
        hidden = super().forward(  # type: ignore[misc]
            input_ids, positions, intermediate_tensors, inputs_embeds, **kwargs
        )
        if not self._contextual or isinstance(hidden, IntermediateTensors):
            return hidden
        channels = 4 // hidden.element_size()
        carried = hidden.new_empty(hidden.shape[0], self._width + channels)
        # Copied first: the layer's second norm writes into what the layer was given.
        carried[:, : self._width] = hidden
        # float32, bit for bit, in one or two numbers of the model's type.
        carried[:, self._width :] = self.lmtools_ats(positions, hidden).view(hidden.dtype)
        return carried

    def compute_logits(self, hidden_states: Tensor) -> Tensor | None:
        """Calibrated logits, float32: (tokens, vocabulary)."""
        hidden = hidden_states[:, : self._width]
        logits: Tensor | None = super().compute_logits(hidden.contiguous())  # type: ignore[misc]
        if logits is None:  # gathered by another process
            return None
        logits = logits.float()
        if self._contextual:
            logs = hidden_states[:, self._width :].contiguous().view(torch.float32)
        else:
            logs = self.lmtools_ats(features(self._names, hidden, logits)).unsqueeze(-1)
        return logits.mul_(logs.exp())  # a copy, or of no more use to anyone

    @property
    def compute_logits_local(self) -> Any:
        """Absent: a part of the vocabulary's logits would go uncalibrated."""
        raise AttributeError("compute_logits_local")

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """Load the base model's weights as it does, then the head's; returns the names of what was loaded."""
        head: list[tuple[str, Tensor]] = []

        def base() -> Iterator[tuple[str, Tensor]]:
            for name, tensor in weights:
                if name.startswith(f"{SETTINGS}."):
                    head.append((name.removeprefix(f"{SETTINGS}."), tensor))
                else:
                    yield name, tensor

        loaded: set[str] = super().load_weights(base())  # type: ignore[misc]
        if self.lmtools_ats is None:
            return loaded
        return loaded | {f"{SETTINGS}.{name}" for name in load_head_weights(self.lmtools_ats, head)}


class ContextHead(nn.Module):
    """A transformer head: the layer at the model's precision, the linear function after it at float32.

    At bfloat16 on SmolLM2-135M, with a random head, the layer's rounding moves log multipliers by 0.001; the
    hidden states', by up to 0.17.
    """

    def __init__(self, config: HeadConfig, shape: BaseShape, vllm_config: Any) -> None:
        super().__init__()
        layer = layer_config(shape)
        layer.max_position_embeddings = vllm_config.model_config.max_model_len
        # The number after the base model's last layer gives it a place of its own in the cache.
        self.layer = HeadLayer(
            vllm_config=vllm_config,
            prefix=f"{SETTINGS}.layers.{shape.layers}",
            config=layer,
            attn_layer_type=FullAttention,
        )
        self.output = nn.Linear(shape.hidden, 1, dtype=torch.float32)
        self._low, self._high = (math.log(bound) for bound in config.clip)

    def forward(self, positions: Tensor, hidden: Tensor) -> Tensor:
        """Log multipliers: (tokens, 1), float32, within the clip. ``hidden`` is overwritten."""
        states, residual = self.layer(positions, hidden, None)
        raw: Tensor = self.output(states.float() + residual.float())
        return raw.clamp(self._low, self._high)


class HeadLayer(LlamaDecoderLayer):  # type: ignore[misc]
    """A decoder layer that is never quantised, for the head's weights are not."""

    def get_quant_config(self, vllm_config: Any) -> None:
        """None."""
        return


class FullAttention(LlamaAttention):  # type: ignore[misc]
    """Attention to all tokens before, whatever window the base model has."""

    def __init__(self, *, cache_config: Any = None, **kwargs: Any) -> None:
        unlimited = copy.copy(cache_config)
        if unlimited is not None:
            unlimited.sliding_window = None
        super().__init__(cache_config=unlimited, **kwargs)


def load_head_weights(head: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
    """Load a head's tensors, named as in its own file; returns the names of the parameters that got them.

    Raises:
        ValueError: a tensor is no part of this head.
    """
    parameters = dict(head.named_parameters())
    loaded = set()
    for name, tensor in weights:
        target, part = _stacked(name)
        if target not in parameters:
            raise ValueError(f"the head has no {name}")
        loader = getattr(parameters[target], "weight_loader", default_weight_loader)
        loader(parameters[target], tensor, *part)
        loaded.add(target)
    return loaded


def _stacked(name: str) -> tuple[str, tuple[str | int, ...]]:
    """Where a tensor goes: the parameter, and which part of it."""
    for layer, (stacked, part) in STACKED.items():
        if f".{layer}." in name:
            return name.replace(f".{layer}.", f".{stacked}."), (part,)
    return name, ()
