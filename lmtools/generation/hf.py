"""Generation by transformers: batched, sorted by length, prefixes that prompts share computed once.

generator = HfGenerator(ModelSpec(name="builtin:smollm2-135m-instruct"))
[[completion]] = generator.generate(["Once upon a time"], Sampling(max_tokens=20))
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import torch

from lmtools.core.errors import MachineError, ModelError
from lmtools.generation.decode import Row, decode_batch, pad
from lmtools.generation.past import Pasts
from lmtools.generation.prefix import pack, plan_groups
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.samples import by_prompt, draws, sample_seed
from lmtools.models.chat import end_ids
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec

T = TypeVar("T")
MOST_ROWS = 256
LOGITS = 1 << 26
"""Logits held at a time when scoring (256 MiB)."""


class HfGenerator:
    """A model in this process.

    Raises:
        ModelError: the model cannot be used.
        MachineError: there is not enough memory.
    """

    def __init__(self, spec: ModelSpec) -> None:
        # At bfloat16 a merged adapter would be rounded as its model is, and lose most of its digits.
        self._start(load(spec, merge=spec.dtype == "float32"), spec.batch_tokens)

    @classmethod
    def from_loaded(cls, loaded: LoadedModel, batch_tokens: int = 8192) -> "HfGenerator":
        """A generator on a model that is loaded already; make a new one after its weights have changed."""
        generator = cls.__new__(cls)
        generator._start(loaded, batch_tokens)
        return generator

    def _start(self, loaded: LoadedModel, batch_tokens: int) -> None:
        self._loaded, self._budget = loaded, batch_tokens
        self._model, self._tokenizer, self._device = loaded.model, loaded.tokenizer, loaded.device
        self._pasts = Pasts(loaded.model, batch_tokens)
        self._ends = frozenset(end_ids(loaded.tokenizer, loaded.model.generation_config))
        self._vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
        self._longest = int(getattr(loaded.model.config, "max_position_embeddings", 0) or 0) or 1 << 30

    @property
    def identity(self) -> str:
        """Backend, model and adapter by content, and precision."""
        return f"hf:{self._loaded.identity}"

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """``samples`` completions of every prompt; equal requests are computed once."""
        texts = list(dict.fromkeys(prompts))
        encoded = self._encode(texts)
        each = draws(sampling, samples)
        rows = [
            Row(index, self._room(encoded[index], sampling), sample_seed(text, sampling, draw))
            for index, text in enumerate(texts)
            for draw in range(each)
        ]
        steps = max((row.limit for row in rows), default=0)
        if steps > 0:
            limits = [len(ids) - 1 for ids in encoded]
            for prefix, batch in self._batches(encoded, limits, MOST_ROWS, steps, each):
                self._spared(partial(self._write, rows, encoded, prefix, sampling), batch)
        done = [row.completion(self._ends, self._decode) for row in rows]
        found = dict(zip(texts, by_prompt(done, len(texts), samples), strict=True))
        return [list(found[prompt]) for prompt in prompts]

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[float, ...]]:
        """Log-probabilities of each continuation's tokens, natural log; prompts' prefixes are shared."""
        unique = list(dict.fromkeys(pairs))
        heads = self._encode([prompt for prompt, _ in unique])
        tails = self._encode([continuation for _, continuation in unique], empty=True)
        found: list[tuple[float, ...]] = [()] * len(unique)
        scored = [index for index, tail in enumerate(tails) if tail]
        fed = [heads[index] + tails[index][:-1] for index in scored]
        for ids in fed:
            self._check_length(ids)
        limits = [len(heads[index]) - 1 for index in scored]
        most = LOGITS // (self._vocabulary * max((len(tails[index]) for index in scored), default=1))
        for prefix, batch in self._batches(fed, limits, most):
            run = partial(self._continuations, fed, [tails[index] for index in scored], prefix)
            for member, values in zip(batch, self._spared(run, batch), strict=True):
                found[scored[member]] = values
        by_pair = dict(zip(unique, found, strict=True))
        return [by_pair[pair] for pair in pairs]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[tuple[float, ...]]:
        """Each option's log-probability as the next token, over the full vocabulary."""
        tokens = [self._one_token(option) for option in options]
        texts = list(dict.fromkeys(prompts))
        fed = self._encode(texts)
        for ids in fed:
            self._check_length(ids)
        found: dict[str, tuple[float, ...]] = {}
        for prefix, batch in self._batches(fed, [len(ids) - 1 for ids in fed], MOST_ROWS):
            values = self._spared(partial(self._next, fed, tokens, prefix), batch)
            found |= zip([texts[member] for member in batch], values, strict=True)
        return [found[prompt] for prompt in prompts]

    def close(self) -> None:
        """Drop the model; its memory is free once nobody else holds it."""
        for name in ("_loaded", "_model", "_pasts"):
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
        batch: list[int],
    ) -> list[None]:
        """Complete the rows ``batch``; a prompt that several of them continue is fed once."""
        own = sorted({rows[member].prompt for member in batch})
        writing = [rows[member].again(own.index(rows[member].prompt)) for member in batch]
        suffixes = [encoded[prompt][len(prefix) :] for prompt in own]
        capacity = max(map(len, suffixes)) + max(row.limit for row in writing)
        with self._pasts.ready():
            past = self._pasts.start(prefix, capacity)
            decode_batch(past, suffixes, writing, sampling, self._ends, self._decode, self._device)
        for member, written in zip(batch, writing, strict=True):
            rows[member].take(written)
        return [None] * len(batch)

    def _continuations(
        self, fed: list[list[int]], tails: list[list[int]], prefix: list[int], batch: list[int]
    ) -> list[tuple[float, ...]]:
        """Log-probabilities of the tokens in ``tails``, whose last one was not fed."""
        keep = max(len(tails[member]) for member in batch)
        logits = self._forward([fed[member] for member in batch], prefix, keep)
        ids, valid = pad([tails[member] for member in batch], self._device)
        values = logits.gather(2, ids[:, :, None])[:, :, 0] - logits.logsumexp(dim=-1)
        return [tuple(row[ok].tolist()) for row, ok in zip(values, valid, strict=True)]

    def _next(
        self, fed: list[list[int]], tokens: list[int], prefix: list[int], batch: list[int]
    ) -> list[tuple[float, ...]]:
        """Log-probabilities of ``tokens`` right after each row."""
        logits = self._forward([fed[member] for member in batch], prefix, keep=1)[:, 0]
        values = logits[:, tokens] - logits.logsumexp(dim=-1, keepdim=True)
        return [tuple(row) for row in values.tolist()]

    def _forward(self, fed: list[list[int]], prefix: list[int], keep: int) -> torch.Tensor:
        """Logits of the last ``keep`` positions: (rows, ``keep``, vocabulary)."""
        suffixes = [ids[len(prefix) :] for ids in fed]
        with self._pasts.ready():
            past = self._pasts.start(prefix, max(map(len, suffixes)))
            return past.forward(*pad(suffixes, self._device), keep=keep)

    def _batches(
        self, fed: list[list[int]], limits: list[int], most: int, growth: int = 0, copies: int = 1
    ) -> Iterator[tuple[list[int], list[int]]]:
        """Shared prefix and rows of each batch, where rows ``i * copies ...`` all continue ``fed[i]``.

        Every row needs what follows the prefix and ``growth`` tokens.
        """
        for group in plan_groups(fed, limits if self._pasts.shares else [0] * len(fed)):
            prefix = fed[group.members[0]][: group.shared]
            rows = [member * copies + copy for member in group.members for copy in range(copies)]
            lengths = [len(fed[row // copies]) - group.shared + growth for row in rows]
            for batch in pack(lengths, self._budget, max(1, min(most, MOST_ROWS))):
                yield prefix, [rows[at] for at in batch]

    def _spared(self, run: Callable[[list[int]], list[T]], batch: list[int]) -> list[T]:
        """``run(batch)``, in halves where the GPU's memory is not enough for the whole."""
        try:
            return run(batch)
        except torch.cuda.OutOfMemoryError as error:
            if len(batch) == 1:
                raise MachineError(
                    "the GPU's memory is not enough for one prompt",
                    fix="set model.dtype=bfloat16, shorten the prompts, or use a smaller model",
                ) from error
        self._pasts.forget()
        torch.cuda.empty_cache()
        middle = len(batch) // 2
        return self._spared(run, batch[:middle]) + self._spared(run, batch[middle:])

    def _encode(self, texts: Sequence[str], empty: bool = False) -> list[list[int]]:
        if not texts:
            return []
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        if not empty and not all(encoded):
            raise ModelError("a prompt has no tokens", fix="give every prompt at least one character")
        return encoded

    def _room(self, ids: list[int], sampling: Sampling) -> int:
        """The most tokens a prompt may be continued by within the model's context."""
        self._check_length(ids)
        return min(sampling.max_tokens, self._longest - len(ids))

    def _check_length(self, ids: list[int]) -> None:
        if len(ids) >= self._longest:
            raise ModelError(
                f"a prompt has {len(ids)} tokens, and the model's context is {self._longest}",
                fix="shorten the prompts, or use a model with a longer context",
            )

    def _one_token(self, option: str) -> int:
        [ids] = self._encode([option], empty=True)
        if len(ids) != 1:
            raise ModelError(
                f"option {option!r} is {len(ids)} tokens for this model, not one",
                fix="use options that are single tokens, such as ' A' or 'A'",
            )
        return ids[0]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(
            self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
