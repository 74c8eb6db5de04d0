"""A causal language model with temperature heads on it: as a model, as a generator, as a scorer.

    loaded = calibrate(load(spec), Path("runs/ats/head"))
    loaded.model.generate(**inputs)               # scores are calibrated; greedy text is the base model's
    open_calibrated(spec, head)                   # a generator: its log-probabilities are calibrated
    open_scorer(spec, run)                        # log-probabilities under every method of a run at once

The heads' attention layers come after the base model's in the same cache.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from lmtools.ats.artefact import (
    DIGITS,
    FittedMethods,
    find_head,
    head_digest,
    load_head,
    load_methods,
    read_settings,
)
from lmtools.ats.baselines import VECTOR, VectorScaling
from lmtools.ats.cache import features
from lmtools.ats.extract import load_base
from lmtools.ats.heads import (
    AttentionInputs,
    TemperatureHead,
    TransformerHead,
    add_cache_layers,
    attention_inputs,
)
from lmtools.calibration.scoring import UNCALIBRATED, ByMethod
from lmtools.core.errors import ModelError, RecipeError
from lmtools.generation.cached import Store, key_of
from lmtools.generation.hf import HfGenerator
from lmtools.generation.open import answers_file, on_disk
from lmtools.generation.protocol import Completion, Generator, Sampling
from lmtools.models.load import LoadedModel, base_model
from lmtools.models.spec import ModelSpec


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
        self._contextual = [head for head in heads.values() if isinstance(head, TransformerHead)]
        for index, head in enumerate(self._contextual):
            head.use_cache_layer(head.shape.layers + index)
        # Contextual heads look at earlier tokens, so features from logits need the logits of all.
        self._all_logits = any(head.config.needs_logits for head in self._contextual) or not (
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
        # transformers would compute a loss of the base model's logits.
        if states is None or kwargs.get("labels") is not None:
            raise ValueError("give input_ids or inputs_embeds, and no labels")
        # What the heads need of cache, mask and positions, before the base model's pass changes the cache.
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        cache = self._cache(past_key_values, use_cache)
        attention = self._attention_inputs(states, kept, attention_mask, position_ids, cache)
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
        # Heads see the states after the final norm, and the logits where their features ask for them.
        everywhere = output.logits if self._all_logits else None
        if everywhere is not None:
            output.logits = everywhere[:, kept]
        self.log_multipliers = {
            name: self._run(
                cast("TemperatureHead", head), seen[-1], kept, everywhere, output.logits, attention
            )
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
        attention: Any,
    ) -> Tensor:
        """One head's log multipliers: (rows, kept)."""
        names = head.config.features
        rows = self.get_output_embeddings().weight if "argmax-row" in names else None
        if isinstance(head, TransformerHead):
            logs = head.step(features(names, hidden, everywhere, rows), kept, attention)
        else:
            logs = head(features(names, hidden[:, kept], logits, rows))
        if not torch.isfinite(logs).all():
            raise ModelError(
                "the model's hidden states hold NaN or infinity, and so would its probabilities",
                fix="load it at float32, and check that its weights are whole",
            )
        return logs

    def _cache(self, cache: Any, use_cache: bool | None) -> Any:
        """The cache to use, with room for the heads' layers; None for none."""
        if use_cache is None:
            use_cache = self.config.get_text_config(decoder=True).use_cache
        if cache is None and use_cache:
            cache = DynamicCache(config=self.get_base_model().config.get_text_config(decoder=True))
        if cache is not None and self._contextual:
            add_cache_layers(cache, self._contextual[-1].layer.self_attn.layer_idx)
        return cache

    def _attention_inputs(
        self, states: Tensor, kept: slice | Tensor, mask: Any, positions: Tensor | None, cache: Any
    ) -> AttentionInputs | None:
        """What the heads with context see; None where there are none."""
        if not self._contextual:
            return None
        layer = self._contextual[0].layer.self_attn
        implementation = self.get_base_model().config._attn_implementation
        return attention_inputs(
            states, kept, mask, positions, cache, layer.layer_idx, layer.config, implementation
        )


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


# Log-probabilities of some tokens under every method that changes logits, from one set of logits.

AT_ONCE = 1 << 22
"""Logits that are worked on at a time: 16 MiB, and as much again for what is made of them."""


def log_probabilities(
    logits: Tensor, tokens: Tensor, log_multipliers: Mapping[str, Tensor], vector: VectorScaling | None
) -> list[Tensor]:
    """Natural log-probabilities (n, k) of ``tokens`` under each method.

    In this order: the logits as they are; for each log multiplier l, ``log_softmax(exp(l) logits)``; the
    vector scaling, where there is one.

    Args:
        logits: (n, vocabulary), float32.
        tokens: (n, k), int64.
        log_multipliers: method -> (n,), or (1,) for all.
        vector: on the logits' device.

    Raises:
        ModelError: a log-probability is NaN.
    """
    step = max(1, AT_ONCE // logits.shape[-1])
    factors = [value.float().exp().expand(len(logits)) for value in log_multipliers.values()]
    parts = []
    for start in range(0, len(logits), step):
        rows = slice(start, start + step)
        z, ids = logits[rows], tokens[rows]
        values = [_logprobs(z, ids), *(_logprobs(z * factor[rows, None], ids) for factor in factors)]
        if vector is not None:
            values.append(_logprobs(vector(z), ids))
        parts.append(torch.stack(values))
    if not parts:
        return [logits.new_zeros(tokens.shape) for _ in range(1 + len(factors) + (vector is not None))]
    logprobs = torch.cat(parts, dim=1)
    if logprobs.isnan().any():
        raise ModelError(
            "the model's logits hold NaN or infinity, and so would its probabilities",
            fix="load it at float32, and check that its weights are whole",
        )
    return list(logprobs.unbind())


def _logprobs(logits: Tensor, tokens: Tensor) -> Tensor:
    return logits.gather(1, tokens) - logits.logsumexp(dim=-1, keepdim=True)


# A scorer: a model's probabilities under every method of an ATS run, from one forward pass.
#
#     scorer = open_scorer(ModelSpec(), Path("runs/ats"))
#     [[answer]] = scorer.generate([prompt], Sampling())
#     [by_method] = scorer.score([prompt], [answer])      # {"uncalibrated": (...), "transformer": (...), ...}
#
# What was read once is kept on disk, one file for each model: a second evaluation runs no model.

Values = list[tuple[tuple[float, ...], ...]]
"""Of each token of a row: method by method, the log-probabilities of some tokens."""


def open_scorer(spec: ModelSpec, run: Path, methods: tuple[str, ...] = ()) -> "AtsScorer":
    """Load a model and what a run has fitted on it.

    Args:
        spec: the model; its backend is hf.
        run: a run of ``lmtools ats fit``, or a head's directory.
        methods: those to read; none: all.

    Raises:
        RecipeError: another backend, or a method that was not fitted.
        RunError: two heads of the run have one name.
        ModelError: the model or a piece of the run cannot be used, or they do not belong together.
        MachineError: a download failed, or memory is not enough.
    """
    if spec.backend != "hf":
        raise RecipeError(
            f"model.backend: all methods of a run at once are read by hf, not by {spec.backend}",
            fix="set model.backend=hf, or measure the exported model: lmtools ats export",
        )
    loaded = load_base(spec)
    return AtsScorer(loaded, load_methods(run, loaded).only(methods), spec.batch_tokens)


class AtsScorer:
    """Implements ``Scorer`` on transformers. The methods' heads watch the model; its answers are its own."""

    def __init__(self, loaded: LoadedModel, methods: FittedMethods, batch_tokens: int = 8192) -> None:
        watched = observe(loaded, methods.heads)
        self._observed: Any = watched.model
        self._reading = HfGenerator.from_loaded(watched, batch_tokens)
        self._answering = on_disk(HfGenerator.from_loaded(loaded, batch_tokens), loaded.device, batch_tokens)
        self._methods, self._identity = methods, self._answering.identity
        self._store = Store(answers_file("readings", self._identity, loaded.device, batch_tokens))
        self._vector = None if methods.vector is None else methods.vector.to(loaded.device)
        self._scalars = {
            name: torch.tensor([value], device=loaded.device) for name, value in methods.scalars.items()
        }
        vector = [VECTOR] if self._vector is not None else []
        self._read = (UNCALIBRATED, *methods.heads, *self._scalars, *vector)
        """The methods that give log-probabilities of their own, in the order of ``log_probabilities``."""

    @property
    def methods(self) -> tuple[str, ...]:
        """See ``FittedMethods.names``."""
        return self._methods.names

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """The base model's answers, without the heads; see ``Scorer``."""
        return self._answering.generate(prompts, sampling, samples)

    def score(self, prompts: Sequence[str], answers: Sequence[Completion]) -> list[ByMethod]:
        """See ``Scorer``.

        Raises:
            ModelError: a prompt has no tokens or is longer than the context, or logits are NaN.
            MachineError: there is not enough memory.
        """
        pairs = list(zip(prompts, answers, strict=True))
        keys = [self._keys("score", prompt, answer.tokens or answer.text) for prompt, answer in pairs]

        def see(logits: Tensor, tokens: Tensor) -> list[Values]:
            return self._see(logits, tokens[..., None])

        def compute(missing: list[int]) -> list[list[Any]]:
            texts = self._reading.encoding.encode([pairs[at][1].text for at in missing], empty=True)
            tails = [list(pairs[at][1].tokens) or text for at, text in zip(missing, texts, strict=True)]
            heads = self._reading.encoding.encode([pairs[at][0] for at in missing])
            rows = self._reading.read(heads, tails, see)
            return [
                [[token[method][0] for token in row] for method in range(len(self._read))] for row in rows
            ]

        return [self._by_method(row) for row in self._store.answers(keys, compute)]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[ByMethod]:
        """See ``Scorer``.

        Raises:
            ModelError: an option is not exactly one token; else as ``score``.
            MachineError: there is not enough memory.
        """
        tokens = torch.tensor(
            [self._reading.encoding.one_token(option) for option in options], dtype=torch.long
        )
        keys = [self._keys("options", prompt, list(options)) for prompt in prompts]

        def see(logits: Tensor, _: Tensor) -> list[Values]:
            return self._see(logits, tokens.to(logits.device).expand(*logits.shape[:2], -1))

        def compute(missing: list[int]) -> list[list[Any]]:
            heads = self._reading.encoding.encode([prompts[at] for at in missing])
            # A last token is not fed: any will do.
            return [list(row[0]) for row in self._reading.read(heads, [[0]] * len(heads), see)]

        return [self._by_method(row) for row in self._store.answers(keys, compute)]

    def adjust(self, method: str, confidence: float) -> float:
        """What a confidence map makes of a probability; other methods leave it as it is."""
        confidence_map = self._methods.maps.get(method)
        return confidence if confidence_map is None else float(confidence_map(confidence))

    def close(self) -> None:
        """Drop the model; its memory is free once nobody else holds it."""
        self.__dict__.pop("_observed", None)
        self._reading.close()
        self._answering.close()

    def _see(self, logits: Tensor, tokens: Tensor) -> list[Values]:
        """Every method's log-probabilities of ``tokens`` (rows, positions, k), row by row."""
        multipliers = {
            name: self._observed.log_multipliers[name].flatten() for name in self._methods.heads
        } | self._scalars
        by_method = log_probabilities(logits.flatten(0, 1), tokens.flatten(0, 1), multipliers, self._vector)
        shape = (*logits.shape[:2], len(by_method), tokens.shape[-1])
        values = torch.stack(by_method, dim=1).view(shape).tolist()
        return [[tuple(map(tuple, token)) for token in row] for row in values]

    def _keys(self, *request: Any) -> list[str]:
        """One key for each method that is read, so that what one has read, others need not."""
        digests = self._methods.digests
        return [key_of(self._identity, name, digests.get(name, ""), *request) for name in self._read]

    def _by_method(self, values: Sequence[Sequence[float]]) -> ByMethod:
        """By method, in the order of tables; confidence maps start from the base model's."""
        logprobs = dict(zip(self._read, map(tuple, values), strict=True))
        return {name: logprobs.get(name, logprobs[UNCALIBRATED]) for name in self.methods}


# A generator whose probabilities are calibrated.


def open_calibrated(spec: ModelSpec, head: Path, cache: bool = True) -> Generator:
    """A generator in this process with a fitted head on its model.

    Args:
        spec: the model that the head was fitted on.
        head: a head's directory, or a run of ``lmtools ats fit``.
        cache: keep what it answers on disk, one file for each model and head.

    Raises:
        ModelError: another backend is asked for, there is no head, or it is for another model.
        MachineError: a download failed, or memory is not enough.
    """
    if spec.backend != "hf":
        raise ModelError(
            f"a head cannot be put on a model that the {spec.backend} backend runs",
            fix=f"lmtools ats export {head} --format vllm, then name the exported directory as the model",
        )
    read_settings(find_head(head))  # before the model is loaded
    loaded = calibrate(load_base(spec), head)
    generator = HfGenerator.from_loaded(loaded, spec.batch_tokens)
    return on_disk(generator, loaded.device, spec.batch_tokens) if cache else generator
