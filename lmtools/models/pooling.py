"""The language model's pass over texts, by transformers: hidden states of answers, pooled, one row a text.

Only the decoder runs, without the output layer. Long texts come before short ones, so that what does not fit
in memory fails at once.

On a processor every text is computed by itself: its bits depend on it alone. That is as fast as batches, of
texts of a hundred tokens; of ten tokens it takes twice as long. On a GPU texts are computed in batches, of
which little is padding. There what is computed of a text depends on what else is in its batch by rounding:
1e-5 or so at float32, some hundredths of a state at bfloat16.
"""

import gc
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from lmtools.core.errors import MachineError, ModelError
from lmtools.models.chat import EncodedAnswer
from lmtools.models.feature_settings import Pooled, Pooling
from lmtools.models.load import LoadedModel, base_model, in_halves

MOST_ON_CPU = 2048
"""Tokens computed at a time on a processor, where larger batches gain nothing and fall out of its caches: on
texts of 210 tokens 8192 took half as long again."""
READ_APART = 48
"""Tokens of a prompt from which on a processor reads it apart from its answers, and once for all of them. For
a shorter one that would cost as much as it saves."""

# Texts in rows. Answers to one prompt share a row, [prompt][answer][answer] ..., and see it and themselves.
# The prompt is then read once. The price is that attention is computed over the whole row, so a short prompt
# before long answers is read again instead.

PADDING, PROMPT = -1, 0
PAIRS_OF_A_TOKEN = 6
"""A token's matrix products cost about as much as its attention to this many tokens for each unit of width:
24 width^2 against 4 width operations a layer."""


@dataclass(frozen=True)
class Row:
    """A prompt's tokens, and the indices in the list of texts of the answers that follow it."""

    prompt: tuple[int, ...]
    members: tuple[int, ...]
    length: int


@dataclass(frozen=True)
class Batch:
    """Rows as tensors, padded on the right, all (rows, tokens).

    ``part`` is 0 in a prompt, 1, 2 ... in the first, second ... answer, -1 in padding; ``spans`` has, for
    each text, its index in the list of texts, its row, and where its answer begins and ends in it.
    """

    ids: Tensor
    part: Tensor
    positions: Tensor
    spans: tuple[tuple[int, int, int, int], ...]

    @property
    def shared(self) -> bool:
        """Whether a row has more than one answer."""
        return bool(self.part.max() > 1)

    def visible(self) -> Tensor:
        """Whether a token (third axis) sees another (last axis): (rows, 1, tokens, tokens), bool.

        It sees the prompt and its own part, up to itself. Padding sees itself at least, so that no softmax
        is over nothing.
        """
        length = self.part.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=self.part.device).tril()
        keys, queries = self.part[:, None, :], self.part[:, :, None]
        return (((keys == PROMPT) | (keys == queries)) & before)[:, None]


def pack_rows(texts: Sequence[EncodedAnswer], width: int, most: int, *, share: bool) -> list[Row]:
    """Every text in a row, the longest row first.

    Args:
        texts: prompts and answers.
        width: the model's hidden size, on which it depends what sharing a prompt is worth.
        most: tokens of a row with more than one answer.
        share: whether answers may share a row at all.
    """
    order = sorted(range(len(texts)), key=lambda at: -len(texts[at]))
    packed: list[tuple[list[int], int]] = []
    last: dict[tuple[int, ...], int] = {}  # prompt -> the row that its latest answer is in
    for at in order:
        text = texts[at]
        index = last.get(text.prompt) if share else None
        if index is not None:
            members, length = packed[index]
            if length + len(text.answer) <= most and worth_sharing(text, length, width):
                packed[index] = ([*members, at], length + len(text.answer))
                continue
        last[text.prompt] = len(packed)
        packed.append(([at], len(text)))
    result = [Row(texts[members[0]].prompt, tuple(members), length) for members, length in packed]
    return sorted(result, key=lambda row: -row.length)


def worth_sharing(text: EncodedAnswer, length: int, width: int) -> bool:
    """Whether it costs less to append a text's answer to a row of ``length`` tokens than to read it alone."""
    alone = len(text) ** 2 + PAIRS_OF_A_TOKEN * width * len(text.prompt)
    return 2 * length * len(text.answer) + len(text.answer) ** 2 <= alone


def batches(rows: Sequence[Row], most: int) -> Iterator[Sequence[Row]]:
    """Runs of rows, longest first, of at most ``most`` padded tokens or of one row."""
    start = 0
    while start < len(rows):
        end = start + max(1, most // rows[start].length)
        yield rows[start:end]
        start = end


def tensors(batch: Sequence[Row], texts: Sequence[EncodedAnswer], device: str) -> Batch:
    """One batch on ``device``."""
    shape = (len(batch), max(row.length for row in batch))
    ids, positions = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    part = torch.full(shape, PADDING)
    spans = []
    for at, row in enumerate(batch):
        end = opening = len(row.prompt)
        ids[at, :end] = torch.tensor(row.prompt, dtype=torch.long)
        positions[at, :end] = torch.arange(end)
        part[at, :end] = PROMPT
        for number, member in enumerate(row.members, start=1):
            answer = texts[member].answer
            here = slice(end, end + len(answer))
            ids[at, here] = torch.tensor(answer)
            positions[at, here] = torch.arange(opening, opening + len(answer))
            part[at, here] = number
            spans.append((member, at, here.start, here.stop))
            end = here.stop
    return Batch(ids.to(device), part.to(device), positions.to(device), tuple(spans))


# The forward pass, and an answer's states pooled.


class HfPass:
    """The pass of a model in this process.

    Args:
        loaded: a causal language model or a sequence classifier, with an adapter or without.
        layers: which hidden states, 1 ... L; L is the state after the final norm.
        pooling: how an answer's states become one.
        batch_tokens: tokens (padding included) in one forward pass, at most.
        alone: compute every text by itself, on a processor.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        layers: Sequence[int],
        pooling: Sequence[Pooling],
        batch_tokens: int,
        *,
        alone: bool,
    ) -> None:
        self._model: Any = base_model(loaded.model)
        self._device = loaded.device
        self._layers, self._pooling = tuple(layers), tuple(pooling)
        self._batch_tokens, self._alone = batch_tokens, alone
        self.config = self._model.config.get_text_config()
        self._last = int(self.config.num_hidden_layers)
        # Layers behind the last one that is read are not run.
        self._run = run_layers(self._model.get_decoder(), max(self._layers), self._last)

    def read(self, texts: Sequence[EncodedAnswer], kept: Collection[int] = ()) -> Iterator[Pooled]:
        """See ``Pass``.

        Raises:
            ModelError: the model does not give the states of a layer.
            MachineError: the GPU's memory is not enough for one row.
        """
        if self._alone:
            yield from self._one_by_one(texts, [at for at in range(len(texts)) if at not in kept])
            return
        share = can_pack(self._model, max(map(len, texts), default=0))
        packed = pack_rows(texts, int(self.config.hidden_size), self._batch_tokens, share=share)
        too_large = MachineError(
            "the GPU's memory is not enough for one row of texts",
            fix="lower features.max_tokens or model.batch_tokens, or set model.dtype=bfloat16",
        )
        for batch in batches(packed, self._batch_tokens):
            if not all(member in kept for row in batch for member in row.members):
                yield from in_halves(partial(self._pooled, texts), batch, too_large)

    def close(self) -> None:
        """See ``Pass``."""
        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _one_by_one(self, texts: Sequence[EncodedAnswer], indices: Sequence[int]) -> Iterator[Pooled]:
        """Every text by itself, a few at a time; answers to one prompt come one after the other."""
        by_prompt: dict[tuple[int, ...], list[int]] = {}
        for at in sorted(indices, key=lambda at: -len(texts[at])):
            by_prompt.setdefault(texts[at].prompt, []).append(at)
        done: list[int] = []
        rows: list[Tensor] = []
        for prompt, members in by_prompt.items():
            read_prompt = cache(partial(self._prompt, prompt))
            for at in members:
                done.append(at)
                rows.append(self._row(texts[at], read_prompt))
                if sum(len(texts[at]) for at in done) >= MOST_ON_CPU:
                    yield done, torch.stack(rows).numpy()
                    done, rows = [], []
        if done:
            yield done, torch.stack(rows).numpy()

    def _row(self, text: EncodedAnswer, read_prompt: Callable[[], Any]) -> Tensor:
        """The features of a text by itself. Whether its prompt is read apart depends on it alone as well."""
        apart = len(text.prompt) >= READ_APART and can_pack(self._model, len(text))
        new, past = (text.answer, deepcopy(read_prompt())) if apart else (text.prompt + text.answer, None)
        states = self._run_decoder(new, len(text), past)
        start = len(new) - len(text.answer)
        return torch.cat([pool(layer[0, start:], name) for layer in states for name in self._pooling])

    def _prompt(self, prompt: tuple[int, ...]) -> Any:
        """The keys and values of a prompt."""
        past = DynamicCache(config=self.config)
        self._run_decoder(prompt, len(prompt), past)
        return past

    def _run_decoder(self, ids: tuple[int, ...], total: int, past: Any) -> list[Tensor]:
        """The states of a row's new tokens, (1, tokens, hidden) a layer.

        Args:
            total: tokens of the row, those in ``past`` among them.
        """
        inputs: dict[str, Any] = {
            "input_ids": torch.tensor([ids]),
            "attention_mask": torch.ones(1, total, dtype=torch.long),
            "past_key_values": past,
            "use_cache": past is not None,
        }
        with torch.inference_mode():
            return decoder_states(self._model, inputs, self._layers, self._last, self._run)

    def _pooled(self, texts: Sequence[EncodedAnswer], packed: Sequence[Row]) -> Pooled:
        batch = tensors(packed, texts, self._device)
        states = self._states(batch)
        pooled = [
            torch.cat([pool(layer[row, start:end], name) for layer in states for name in self._pooling])
            for _, row, start, end in batch.spans
        ]
        return [member for member, *_ in batch.spans], torch.stack(pooled).cpu().numpy()

    def _states(self, batch: Batch) -> list[Tensor]:
        """The hidden states of each of the layers, (rows, tokens, hidden)."""
        with torch.inference_mode():
            return layer_states(self._model, batch, self._layers, self._last, self._run)


def layer_states(model: Any, batch: Batch, layers: Sequence[int], last: int, run: int) -> list[Tensor]:
    """The hidden states of these layers, (rows, tokens, hidden) each; with a gradient where one is kept.

    Args:
        model: a causal language model or a sequence classifier.
        layers: 1 ... ``last``, which is the state after the final norm.
        run: how many layers the model has left.

    Raises:
        ModelError: the model does not give the states of a layer.
    """
    inputs: dict[str, Any] = {"input_ids": batch.ids, "use_cache": False}
    if batch.shared:
        inputs |= {
            "attention_mask": additive_mask(batch.visible(), model.dtype),
            "position_ids": batch.positions,
        }
    else:
        inputs["attention_mask"] = (batch.part >= 0).long()
    return decoder_states(model, inputs, layers, last, run)


def decoder_states(
    model: Any, inputs: Mapping[str, Any], layers: Sequence[int], last: int, run: int
) -> list[Tensor]:
    """The same of any inputs to the decoder."""
    inner = set(layers) != {last}  # the decoder gives the last one anyway
    out = model.get_decoder()(**inputs, **({"output_hidden_states": True} if inner else {}))
    if inner and len(out.hidden_states or ()) != run + 1:
        raise ModelError(
            "the model does not give the hidden states of single layers", fix="set features.layers=[-1]"
        )
    return [out.last_hidden_state if layer == last else out.hidden_states[layer] for layer in layers]


def run_layers(decoder: Any, highest: int, last: int) -> int:
    """Take the layers that are not needed out of a decoder; returns how many are left.

    One more than ``highest`` stays: the state after the last layer that runs comes out normed.
    """
    layers = getattr(decoder, "layers", None)
    if not isinstance(layers, torch.nn.ModuleList) or len(layers) != last or highest + 1 >= last:
        return last
    decoder.layers = layers[: highest + 1]
    return highest + 1


def pool(states: Tensor, pooling: Pooling) -> Tensor:
    """One state of an answer's (tokens, hidden): its last, or the mean of them all; float32, (hidden,)."""
    return states[-1].float() if pooling == "last" else states.float().mean(dim=0)


def additive_mask(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of True and False as what is added to attention scores: 0, or the least number there is."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(
        ~visible, torch.finfo(dtype).min
    )


def can_pack(model: Any, longest: int) -> bool:
    """Whether a model computes texts of ``longest`` tokens rightly where several answers share a row.

    It must attend by the mask and the positions it is given: no recurrent layers, chunks, positions of its
    own or several parts, no frequencies that change with a row's length; a window only if no text is longer.
    """
    config = model.config
    frequencies = repr(getattr(config, "rope_parameters", None))
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    return (
        bool(getattr(model, "_supports_attention_backend", False))
        and config._attn_implementation in ("sdpa", "eager")
        and not hasattr(config, "text_config")
        and not hasattr(config, "layers_block_type")
        and kinds <= {"full_attention", "sliding_attention"}
        and (window is None or window >= longest)
        and not getattr(config, "attention_chunk_size", None)
        and not ("dynamic" in frequencies or "longrope" in frequencies)
        and "position_ids" in inspect.signature(model.get_decoder().forward).parameters
    )
