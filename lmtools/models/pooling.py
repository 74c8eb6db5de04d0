"""The language model's pass over texts, by transformers: hidden states of answers, pooled, one row a text.

Only the decoder runs, without the output layer. Batches go from long rows to short ones, so that little of
them is padding and what does not fit in memory fails at once. What is computed of a text does not depend on
what else is in its batch, up to rounding: 1e-5 or so at float32, some hundredths of a state at bfloat16.
"""

import gc
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lmtools.core.errors import MachineError, ModelError
from lmtools.models.chat import EncodedAnswer
from lmtools.models.feature_settings import Pooled, Pooling
from lmtools.models.load import LoadedModel, base_model, in_halves

MOST_ON_CPU = 2048
"""Tokens of a batch on a processor, where larger ones gain nothing and fall out of its caches: on texts of
210 tokens 8192 took half as long again."""

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
        batch_tokens: tokens (padding included) in one forward pass, at most; a processor gets fewer.
    """

    def __init__(
        self, loaded: LoadedModel, layers: Sequence[int], pooling: Sequence[Pooling], batch_tokens: int
    ) -> None:
        self._model: Any = base_model(loaded.model)
        self._device = loaded.device
        self._layers, self._pooling = tuple(layers), tuple(pooling)
        self._batch_tokens = min(batch_tokens, MOST_ON_CPU) if loaded.device == "cpu" else batch_tokens
        self.config = self._model.config.get_text_config()
        self._last = int(self.config.num_hidden_layers)
        # Layers behind the last one that is read are not run.
        self._run = run_layers(self._model.get_decoder(), max(self._layers), self._last)

    def read(self, texts: Sequence[EncodedAnswer]) -> Iterator[Pooled]:
        """See ``Pass``.

        Raises:
            ModelError: the model does not give the states of a layer.
            MachineError: the GPU's memory is not enough for one row.
        """
        share = can_pack(self._model, max(map(len, texts), default=0))
        packed = pack_rows(texts, int(self.config.hidden_size), self._batch_tokens, share=share)
        too_large = MachineError(
            "the GPU's memory is not enough for one row of texts",
            fix="lower features.max_tokens or model.batch_tokens, or set model.dtype=bfloat16",
        )
        for batch in batches(packed, self._batch_tokens):
            yield from in_halves(partial(self._pooled, texts), batch, too_large)

    def close(self) -> None:
        """See ``Pass``."""
        self._model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
    inner = set(layers) != {last}  # the decoder gives the last one anyway
    inputs: dict[str, Any] = {"output_hidden_states": True} if inner else {}
    if batch.shared:
        inputs |= {
            "attention_mask": additive_mask(batch.visible(), model.dtype),
            "position_ids": batch.positions,
        }
    else:
        inputs["attention_mask"] = (batch.part >= 0).long()
    out = model.get_decoder()(input_ids=batch.ids, use_cache=False, **inputs)
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
    own or several parts; a window only if no text is longer.
    """
    config = model.config
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
        and "position_ids" in inspect.signature(model.get_decoder().forward).parameters
    )
