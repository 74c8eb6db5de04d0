"""Generation by transformers: batched, sorted by length, prefixes that prompts share computed once.

    generator = HfGenerator(ModelSpec(name="builtin:smollm2-135m-instruct"))
    [[completion]] = generator.generate(["Once upon a time"], Sampling(max_tokens=20))

``generate`` plans groups and batches (``past``), then writes every batch to its end (``decode``). ``score``
and ``options`` go through ``read``, which hands the logits of every token to a function and keeps its values.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain, compress
from typing import Any, TypeVar

import torch
from torch import Tensor

from lmtools.core.errors import MachineError, ModelError
from lmtools.generation.decode import Row, decode_batch, pad
from lmtools.generation.past import PrefixCache, pack, plan_groups
from lmtools.generation.protocol import Completion, Sampling, by_prompt, draws, sample_seed
from lmtools.models.chat import end_ids
from lmtools.models.load import LoadedModel, base_model, in_halves, load, may_merge
from lmtools.models.spec import ModelSpec

T = TypeVar("T")
PerToken = Callable[[Tensor, Tensor], list[list[T]]]
"""Logits (rows, tokens, vocabulary) and the tokens (rows, tokens) they predict -> a value for each token."""
MOST_ROWS = 256
LOGITS = 1 << 26
"""Logits held at a time when scoring (256 MiB)."""


class Encoding:
    """Texts to token ids and back, for prompts that carry their own markup and must fit a model's context.

    Args:
        tokenizer: a transformers tokenizer.
        longest: the length of the model's context, in tokens.
    """

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self._tokenizer, self.longest = tokenizer, longest

    def encode(self, texts: Sequence[str], empty: bool = False) -> list[list[int]]:
        """Token ids of each text, nothing added.

        Raises:
            ModelError: one has no tokens, and they must not be ``empty``.
        """
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        if not empty and not all(encoded):
            raise ModelError("a prompt has no tokens", fix="give every prompt at least one character")
        return encoded

    def one_token(self, option: str) -> int:
        """The token of an option.

        Raises:
            ModelError: it is not exactly one.
        """
        [ids] = self.encode([option], empty=True)
        if len(ids) != 1:
            raise ModelError(
                f"option {option!r} is {len(ids)} tokens for this model, not one",
                fix="use options that are single tokens, such as ' A' or 'A'",
            )
        return ids[0]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids, special tokens left out."""
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    def room(self, ids: Sequence[int], most: int) -> int:
        """How many tokens, up to ``most``, may follow within the context; raises as ``check_length``."""
        self.check_length(ids)
        return min(most, self.longest - len(ids))

    def check_length(self, ids: Sequence[int]) -> None:
        """Whether a prompt leaves room for a token.

        Raises:
            ModelError: it does not.
        """
        if len(ids) >= self.longest:
            raise ModelError(
                f"a prompt has {len(ids)} tokens, and the model's context is {self.longest}",
                fix="shorten the prompts, or use a model with a longer context",
            )


class HfGenerator:
    """A model in this process; ``float32_logits`` as in ``load``.

    Raises:
        ModelError: the model cannot be used.
        MachineError: there is not enough memory.
    """

    def __init__(self, spec: ModelSpec, *, float32_logits: bool = False) -> None:
        loaded = load(spec, merge=may_merge(spec), float32_logits=float32_logits)
        self._start(loaded, spec.batch_tokens)

    @classmethod
    def from_loaded(cls, loaded: LoadedModel, batch_tokens: int = 8192) -> "HfGenerator":
        """A generator on a model that is loaded already; make a new one after its weights have changed."""
        generator = cls.__new__(cls)
        generator._start(loaded, batch_tokens)
        return generator

    def _start(self, loaded: LoadedModel, batch_tokens: int) -> None:
        self._loaded, self._budget = loaded, batch_tokens
        self._model, self._device = loaded.model, loaded.device
        self._prefixes = PrefixCache(loaded.model, batch_tokens)
        self._ends = frozenset(end_ids(loaded.tokenizer, loaded.model.generation_config))
        self._vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
        longest = int(getattr(loaded.model.config, "max_position_embeddings", 0) or 0) or 1 << 30
        self.encoding = Encoding(loaded.tokenizer, longest)

    @property
    def identity(self) -> str:
        """Backend, model and adapter by content, and precision; that of the logits where it is another."""
        layer = base_model(self._model).get_output_embeddings()
        output = getattr(getattr(layer, "weight", None), "dtype", self._model.dtype)
        wider = "" if output == self._model.dtype else f" logits {str(output).removeprefix('torch.')}"
        return f"hf:{self._loaded.identity}{wider}"

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt; equal requests are computed once."""
        texts = list(dict.fromkeys(prompts))
        encoded = self.encoding.encode(texts)
        each = draws(sampling, samples)
        rows = [
            Row(
                index,
                self.encoding.room(encoded[index], sampling.max_tokens),
                sample_seed(text, sampling, draw),
            )
            for index, text in enumerate(texts)
            for draw in range(each)
        ]
        steps = max((row.limit for row in rows), default=0)
        if steps > 0:
            # A prompt's last token stays out of the shared prefix: its logits choose the first new token.
            limits = [len(ids) - 1 for ids in encoded]
            for prefix, batch in self._batches(encoded, limits, MOST_ROWS, steps, each):
                self._in_halves(partial(self._write, rows, encoded, prefix, sampling), batch)
        completions = [row.completion(self._ends, self.encoding.decode) for row in rows]
        by_text = dict(zip(texts, by_prompt(completions, len(texts), samples), strict=True))
        return [list(by_text[prompt]) for prompt in prompts]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens, natural log; prompts' prefixes are shared."""
        unique = list(dict.fromkeys(pairs))
        heads = self.encoding.encode([prompt for prompt, _ in unique])
        tails = self.encoding.encode([continuation for _, continuation in unique], empty=True)
        scores = dict(zip(unique, self.read(heads, tails, _likelihoods), strict=True))
        return [tuple(scores[pair]) for pair in pairs]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Each option's log-probability as the next token, over the full vocabulary."""
        tokens = [self.encoding.one_token(option) for option in options]

        def option_logprobs(logits: Tensor, _: Tensor) -> list[list[list[float]]]:
            logprobs: list[list[list[float]]]
            logprobs = (logits[..., tokens] - logits.logsumexp(dim=-1, keepdim=True)).tolist()
            return logprobs

        texts = list(dict.fromkeys(prompts))
        # The last token of a tail is not fed, so that any one stands for the token to come.
        rows = self.read(self.encoding.encode(texts), [[0]] * len(texts), option_logprobs)
        scores = dict(zip(texts, rows, strict=True))
        return [tuple(scores[prompt][0]) for prompt in prompts]

    def read(
        self, heads: Sequence[list[int]], tails: Sequence[list[int]], per_token: PerToken[T]
    ) -> list[list[T]]:
        """Values computed from the logits of every token of the tails, each tail after its head.

        Args:
            heads: token ids of each prompt, none empty; the prefixes that they share are run once.
            tails: token ids of what follows each; the last one is not fed.
            per_token: gets the logits (rows, tokens, vocabulary) from which the tokens (rows, tokens) are
                predicted, at most ``LOGITS`` of them, right after the forward pass; gives one value a token,
                row by row. What it gives for padding, on the left, is dropped.

        Returns:
            One list for each tail, as long as the tail.

        Raises:
            ModelError: a row is longer than the model's context.
            MachineError: there is not enough memory.
        """
        values_of: list[list[T]] = [[] for _ in tails]
        filled = [index for index, tail in enumerate(tails) if tail]
        fed = [heads[index] + tails[index][:-1] for index in filled]
        for ids in fed:
            self.encoding.check_length(ids)
        limits = [len(heads[index]) - 1 for index in filled]
        targets = [tails[index] for index in filled]
        most = LOGITS // (self._vocabulary * max(map(len, targets), default=1))
        for prefix, batch in self._batches(fed, limits, most):
            rows = self._in_halves(partial(self._read, fed, targets, per_token, prefix), batch)
            for member, values in zip(batch, rows, strict=True):
                values_of[filled[member]] = values
        return values_of

    def close(self) -> None:
        """Drop the model; its memory is free once nobody else holds it."""
        for name in ("_loaded", "_model", "_prefixes"):
            self.__dict__.pop(name, None)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _write(
        self,
        rows: list[Row],
        encoded: list[list[int]],
        prefix: list[int],
        sampling: Sampling,
        batch: Sequence[int],
    ) -> list[None]:
        """Complete the rows ``batch``; a prompt that several of them continue is fed once."""
        distinct = sorted({rows[member].prompt for member in batch})
        writing = [rows[member].restarted(distinct.index(rows[member].prompt)) for member in batch]
        suffixes = [encoded[prompt][len(prefix) :] for prompt in distinct]
        capacity = max(map(len, suffixes)) + max(row.limit for row in writing)
        with self._prefixes.ready():
            past = self._prefixes.start(prefix, capacity)
            decode_batch(past, suffixes, writing, sampling, self._ends, self.encoding.decode, self._device)
        for member, written in zip(batch, writing, strict=True):
            rows[member].copy_from(written)
        return [None] * len(batch)

    def _read(
        self,
        fed: list[list[int]],
        targets: list[list[int]],
        per_token: PerToken[T],
        prefix: list[int],
        batch: Sequence[int],
    ) -> list[list[T]]:
        """``read`` for the rows ``batch``, in windows of tokens where one row has too many for ``LOGITS``."""
        ids, valid = pad([fed[member][len(prefix) :] for member in batch], self._device)
        tokens, there = pad([targets[member] for member in batch], self._device)
        before, keep = ids.shape[1] - tokens.shape[1], tokens.shape[1]
        window = max(1, LOGITS // (self._vocabulary * len(batch)))
        results: list[list[T]] = [[] for _ in batch]
        with self._prefixes.ready():
            past = self._prefixes.start(prefix, ids.shape[1])
            for start in range(0, keep, window):
                stop = min(start + window, keep)
                new = slice(before + start if start else 0, before + stop)
                logits = past.forward(ids[:, new], valid[:, new], keep=stop - start)
                values = per_token(logits, tokens[:, start:stop])
                for row, row_values, mask in zip(results, values, there[:, start:stop].tolist(), strict=True):
                    row += compress(row_values, mask)
        return results

    def _batches(
        self, fed: list[list[int]], limits: list[int], most: int, growth: int = 0, copies: int = 1
    ) -> Iterator[tuple[list[int], list[int]]]:
        """Shared prefix and rows of each batch, where rows ``i * copies ...`` all continue ``fed[i]``.

        Every row needs what follows the prefix and ``growth`` tokens.
        """
        for group in plan_groups(fed, limits if self._prefixes.shares else [0] * len(fed)):
            prefix = fed[group.members[0]][: group.shared]
            rows = [member * copies + copy for member in group.members for copy in range(copies)]
            lengths = [len(fed[row // copies]) - group.shared + growth for row in rows]
            for batch in pack(lengths, self._budget, max(1, min(most, MOST_ROWS))):
                yield prefix, [rows[at] for at in batch]

    def _in_halves(self, run: Callable[[Sequence[int]], list[T]], batch: Sequence[int]) -> list[T]:
        """``run(batch)``, in halves where the GPU's memory is not enough for the whole."""
        too_large = MachineError(
            "the GPU's memory is not enough for one prompt",
            fix="set model.dtype=bfloat16, shorten the prompts, or use a smaller model",
        )
        return list(chain.from_iterable(in_halves(run, batch, too_large, self._prefixes.clear)))


def _likelihoods(logits: Tensor, tokens: Tensor) -> list[list[float]]:
    """Log-probabilities of the tokens (rows, tokens) under the logits (rows, tokens, vocabulary)."""
    logprobs: list[list[float]]
    logprobs = (logits.gather(2, tokens[:, :, None])[:, :, 0] - logits.logsumexp(dim=-1)).tolist()
    return logprobs
