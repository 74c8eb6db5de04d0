"""A causal language model with temperature heads on it, usable wherever the model itself is.

    loaded = calibrate(load(spec), Path("runs/ats/head"))
    loaded.model.generate(**inputs)               # scores are calibrated; greedy text is the base model's
    HfGenerator.from_loaded(loaded)               # so are log-probabilities here, shared prefixes included

The heads' attention layers come after the base model's in the same cache.
"""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from lmtools.ats.artefact import DIGITS, find_head, head_digest, load_head
from lmtools.ats.context import context_of, make_room
from lmtools.ats.features import features
from lmtools.ats.heads import TemperatureHead, TransformerHead
from lmtools.core.errors import ModelError
from lmtools.models.load import LoadedModel, base_model


def calibrate(loaded: LoadedModel, head: Path) -> LoadedModel:
    """A loaded model with a fitted head on it; its identity tells the head by content.

    Args:
        loaded: the model that the head was fitted on.
        head: a head's directory, or a run of ``lmtools ats fit``.

    Raises:
        ModelError: there is no head, its files are broken, or it is for another model.
    """
    directory = find_head(head)
    model = CalibratedLM(loaded.model, load_head(directory, loaded))
    identity = f"{loaded.identity}+head:{head_digest(directory)[:DIGITS]}"
    return LoadedModel(model.eval(), loaded.tokenizer, identity, loaded.device)


def observe(loaded: LoadedModel, heads: Mapping[str, TemperatureHead]) -> LoadedModel:
    """A loaded model whose logits stay as they are, and several heads that watch it: see ``ObservedLM``."""
    return LoadedModel(
        ObservedLM(loaded.model, heads).eval(), loaded.tokenizer, loaded.identity, loaded.device
    )


class ObservedLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """A model with heads that watch it: logits are the base model's own.

    After every forward pass ``log_multipliers`` has for each head, by name, the log multipliers at the
    positions whose logits were kept: float32, (rows, kept), so that ``logits * log_multipliers[name].exp()
    [..., None]`` are that head's calibrated logits.

    Args:
        lm: a causal language model, with a PEFT adapter on top or without.
        heads: name to head; names without dots. Those with context get the cache's layers L, L + 1, ... in
            this order, where L is the number of the base model's layers.
    """

    main_input_name = "input_ids"
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, lm: Any, heads: Mapping[str, TemperatureHead]) -> None:
        causal = base_model(lm)
        super().__init__(PreTrainedConfig())
        self.config = causal.config  # which transformers would check for this class, and perhaps change
        self.lm = lm
        self.heads = nn.ModuleDict(dict(heads)).to(lm.device)
        self.generation_config = copy.deepcopy(causal.generation_config)
        self.log_multipliers: dict[str, Tensor] = {}
        self._watching = [head for head in heads.values() if isinstance(head, TransformerHead)]
        for index, head in enumerate(self._watching):
            head.place(head.shape.layers + index)
        # Contextual heads look at earlier tokens, so features from logits need the logits of all.
        self._all_logits = any(head.config.needs_logits for head in self._watching) or not (
            causal._supports_logits_to_keep()
        )

    def get_base_model(self) -> Any:
        """The language model underneath, without adapter and heads."""
        return base_model(self.lm)

    def get_input_embeddings(self) -> Any:
        """The base model's."""
        return self.get_base_model().get_input_embeddings()

    def get_output_embeddings(self) -> Any:
        """The base model's."""
        return self.get_base_model().get_output_embeddings()

    def prepare_inputs_for_generation(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As the base model does."""
        prepared: dict[str, Any] = self.get_base_model().prepare_inputs_for_generation(*args, **kwargs)
        return prepared

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """As the base model's.

        Raises:
            ModelError: the cache was filled without the heads, or the model's states are not numbers.
            ValueError: there are no inputs, or ``labels``: the base model's loss is not that of these logits.
        """
        states = inputs_embeds if input_ids is None else input_ids
        if states is None or kwargs.get("labels") is not None:
            raise ValueError("give input_ids or inputs_embeds, and no labels")
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        cache = self._cache(past_key_values, use_cache)
        context = self._context(states, kept, attention_mask, position_ids, cache)
        inputs = {"input_ids": input_ids, "position_ids": position_ids, "inputs_embeds": inputs_embeds}
        kwargs |= {name: value for name, value in inputs.items() if value is not None}
        if not self._all_logits:
            kwargs["logits_to_keep"] = logits_to_keep
        with states_of_passes(self.get_base_model().get_decoder()) as seen:
            output: CausalLMOutputWithPast = self.lm(
                attention_mask=attention_mask,
                past_key_values=cache,
                use_cache=cache is not None,
                **(kwargs | {"return_dict": True}),
            )
        everywhere = output.logits if self._all_logits else None
        if everywhere is not None:
            output.logits = everywhere[:, kept]
        self.log_multipliers = {
            name: self._run(cast("TemperatureHead", head), seen[-1], kept, everywhere, output.logits, context)
            for name, head in self.heads.items()
        }
        output.logits = self._scaled(output.logits)
        return output

    def _scaled(self, logits: Tensor) -> Tensor:
        """What becomes of the kept positions' logits: here, nothing."""
        return logits

    def _run(
        self,
        head: TemperatureHead,
        hidden: Tensor,
        kept: slice | Tensor,
        everywhere: Tensor | None,
        logits: Tensor,
        context: Any,
    ) -> Tensor:
        """One head's log multipliers: (rows, kept)."""
        names = head.config.features
        rows = self.get_output_embeddings().weight if "argmax-row" in names else None
        if isinstance(head, TransformerHead):
            found = head.step(features(names, hidden, everywhere, rows), kept, context)
        else:
            found = head(features(names, hidden[:, kept], logits, rows))
        if not torch.isfinite(found).all():
            raise ModelError(
                "the model's hidden states hold NaN or infinity, and so would its probabilities",
                fix="load it at float32, and check that its weights are whole",
            )
        return found

    def _cache(self, cache: Any, use_cache: bool | None) -> Any:
        """The cache to use, with room for the heads' layers; None for none."""
        wanted = self.config.get_text_config(decoder=True).use_cache if use_cache is None else use_cache
        if cache is None and wanted:
            cache = DynamicCache(config=self.get_base_model().config.get_text_config(decoder=True))
        if cache is not None and self._watching:
            make_room(cache, self._watching[-1].layer.self_attn.layer_idx)
        return cache

    def _context(
        self, states: Tensor, kept: slice | Tensor, mask: Any, positions: Tensor | None, cache: Any
    ) -> Any:
        """What the heads with context see; None where there are none."""
        if not self._watching:
            return None
        layer = self._watching[0].layer.self_attn
        implementation = self.get_base_model().config._attn_implementation
        return context_of(states, kept, mask, positions, cache, layer.layer_idx, layer.config, implementation)


class CalibratedLM(ObservedLM):
    """A model whose logits are multiplied by what its head predicts, after any soft cap; float32."""

    def __init__(self, lm: Any, head: TemperatureHead) -> None:
        super().__init__(lm, {"head": head})

    def _scaled(self, logits: Tensor) -> Tensor:
        # float32: at bfloat16 a product could make ties, and with them another greedy choice.
        return logits.float() * self.log_multipliers["head"].exp()[..., None]


@contextmanager
def states_of_passes(decoder: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, the decoder's last hidden states (after the final norm) of each of its passes."""
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output.last_hidden_state)

    handle = decoder.register_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()
