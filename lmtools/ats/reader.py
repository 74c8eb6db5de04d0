"""A model's probabilities under every method of an ATS run, from one forward pass.

    reader = open_reader(ModelSpec(), Path("runs/ats"))
    [[answer]] = reader.generate([prompt], Sampling())
    [by_method] = reader.score([prompt], [answer])      # {"uncalibrated": (...), "transformer": (...), ...}

What was read once is kept on disk, one file for each model: a second evaluation runs no model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmtools.ats.calibrated import observe
from lmtools.ats.likelihood import log_probabilities
from lmtools.ats.methods import VECTOR, Methods, load_methods
from lmtools.calibration.reading import UNCALIBRATED, ByMethod
from lmtools.core.errors import RecipeError
from lmtools.core.files import sha256_text
from lmtools.core.paths import cache_dir
from lmtools.generation.hf import HfGenerator
from lmtools.generation.open import on_disk
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.store import Store, key_of
from lmtools.models.load import LoadedModel, load, may_merge
from lmtools.models.spec import ModelSpec

Values = list[tuple[tuple[float, ...], ...]]
"""Of each token of a row: method by method, the log-probabilities of the tokens asked for."""


def open_reader(spec: ModelSpec, run: Path, methods: tuple[str, ...] = ()) -> "AtsReader":
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
    loaded = load(spec, merge=may_merge(spec), float32_logits=True)
    return AtsReader(loaded, load_methods(run, loaded).only(methods), spec.batch_tokens)


class AtsReader:
    """Implements ``Reader`` on transformers. The methods' heads watch the model; its answers are its own."""

    def __init__(self, loaded: LoadedModel, methods: Methods, batch_tokens: int = 8192) -> None:
        watched = observe(loaded, methods.heads)
        self._observed: Any = watched.model
        self._reading = HfGenerator.from_loaded(watched, batch_tokens)
        self._answering = on_disk(HfGenerator.from_loaded(loaded, batch_tokens))
        self._methods, self._identity = methods, self._answering.identity
        self._store = Store(cache_dir("readings", f"{sha256_text(self._identity)[:16]}.sqlite"))
        self._vector = None if methods.vector is None else methods.vector.to(loaded.device)
        self._scalars = {
            name: torch.tensor([value], device=loaded.device) for name, value in methods.scalars.items()
        }
        vector = [VECTOR] if self._vector is not None else []
        self._read = (UNCALIBRATED, *methods.heads, *self._scalars, *vector)
        """The methods that give log-probabilities of their own, in the order of ``log_probabilities``."""

    @property
    def methods(self) -> tuple[str, ...]:
        """See ``Methods.names``."""
        return self._methods.names

    def generate(
        self, prompts: Sequence[str], sampling: Sampling, samples: int = 1
    ) -> list[list[Completion]]:
        """The base model's answers, without the heads; see ``Reader``."""
        return self._answering.generate(prompts, sampling, samples)

    def score(self, prompts: Sequence[str], answers: Sequence[Completion]) -> list[ByMethod]:
        """See ``Reader``.

        Raises:
            ModelError: a prompt has no tokens or is longer than the context, or logits are NaN.
            MachineError: there is not enough memory.
        """
        asked = list(zip(prompts, answers, strict=True))
        keys = [self._keys("score", prompt, answer.tokens or answer.text) for prompt, answer in asked]

        def see(logits: Tensor, tokens: Tensor) -> list[Values]:
            return self._see(logits, tokens[..., None])

        def compute(missing: list[int]) -> list[list[Any]]:
            texts = self._reading.encoding.encode([asked[at][1].text for at in missing], empty=True)
            tails = [list(asked[at][1].tokens) or text for at, text in zip(missing, texts, strict=True)]
            heads = self._reading.encoding.encode([asked[at][0] for at in missing])
            rows = self._reading.read(heads, tails, see)
            return [
                [[token[method][0] for token in row] for method in range(len(self._read))] for row in rows
            ]

        return [self._by_method(row) for row in self._store.answers(keys, compute)]

    def options(self, prompts: Sequence[str], options: Sequence[str]) -> list[ByMethod]:
        """See ``Reader``.

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
        found = self._methods.maps.get(method)
        return confidence if found is None else float(found(confidence))

    def close(self) -> None:
        """Drop the model; its memory is free once nobody else holds it."""
        self.__dict__.pop("_observed", None)
        self._reading.close()
        self._answering.close()

    def _see(self, logits: Tensor, wanted: Tensor) -> list[Values]:
        """Every method's log-probabilities of the tokens ``wanted`` (rows, tokens, k), row by row."""
        multipliers = {
            name: self._observed.log_multipliers[name].flatten() for name in self._methods.heads
        } | self._scalars
        found = log_probabilities(logits.flatten(0, 1), wanted.flatten(0, 1), multipliers, self._vector)
        shape = (*logits.shape[:2], len(found), wanted.shape[-1])
        values = torch.stack(found, dim=1).view(shape).tolist()
        return [[tuple(map(tuple, token)) for token in row] for row in values]

    def _keys(self, *asked: Any) -> list[str]:
        """One key for each method that is read, so that what one has read, others need not."""
        digests = self._methods.digests
        return [key_of(self._identity, name, digests.get(name, ""), *asked) for name in self._read]

    def _by_method(self, values: Sequence[Sequence[float]]) -> ByMethod:
        """By method, in the order of tables; confidence maps start from the base model's."""
        found = dict(zip(self._read, map(tuple, values), strict=True))
        return {name: found.get(name, found[UNCALIBRATED]) for name in self.methods}
