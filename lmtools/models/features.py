"""Features of answers: a model's hidden states, pooled over the answer, one row of numbers each.

    reader = FeatureReader(ModelSpec(), FeatureSettings())
    reader.read([AnsweredPrompt((Message("user", "Name a river."),), "The Seine.")])  # (1, D)

A row is computed once and kept on disk. If all rows of a request are there, no model is loaded. What computes
them is a ``Pass``: transformers (``pooling``), or vLLM (``lmtools.generation.open``). Of a reward model the
reader also has the output layer, as weights on its features.

The same request gives the same bits whatever was read before. On a processor a row depends on its text alone.
On a GPU, and in vLLM, it also depends on the batch that its text was computed in: there a row is kept for
the request it was part of.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import ModelError
from lmtools.core.files import cache_dir, sha256_text
from lmtools.core.progress import progress, say
from lmtools.core.sqlite_store import KeyedTable
from lmtools.models.chat import AnsweredPrompt, EncodedAnswer, encode_answers
from lmtools.models.feature_settings import FeatureSettings, Pass
from lmtools.models.files import ModelFiles, read_json, resolve
from lmtools.models.load import identity, load, load_config, load_tokenizer, may_merge, pick_device
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec

__all__ = ["AnsweredPrompt", "FeatureReader"]

FORMAT = 2
"""Counts up when the same settings come to mean other numbers."""
STORED = np.dtype("<f4")
HEAD = "score.weight"
CLASSIFIER = "ForSequenceClassification"

# Features on disk, by key: one SQLite file for each model, which several processes may use at once.


def key_of(text: EncodedAnswer) -> bytes:
    """The key of a text: a hash of its token ids and of where the answer begins."""
    ids = np.array([len(text.prompt), *text.prompt, *text.answer], dtype="<i8")
    return hashlib.sha256(ids.tobytes()).digest()


class FeatureCache:
    """Rows of ``width`` float32 numbers, each under its key.

    Raises:
        MachineError: the file cannot be written.
    """

    def __init__(self, path: Path, width: int) -> None:
        self._table, self._width = KeyedTable(path, "features"), width

    def read(self, keys: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The rows that are there; one of another width counts as absent."""
        return {
            key: np.frombuffer(value, dtype=STORED).astype(np.float32)
            for key, value in self._table.read(keys).items()
            if len(value) == self._width * STORED.itemsize
        }

    def write(self, keys: Sequence[bytes], values: NDArray[np.float32]) -> None:
        """Keep rows (len(keys), width)."""
        rows = (row.astype(STORED, copy=False).tobytes() for row in values)
        self._table.write(zip(keys, rows, strict=True))


# The output layer of a sequence-classification reward model, read from its files.


def is_reward_model(files: ModelFiles) -> bool:
    """Whether a model, or the adapter on top of it, was trained to classify sequences."""
    if files.adapter and read_json(files.adapter / "adapter_config.json").get("task_type") == "SEQ_CLS":
        return True
    names = read_json(files.path / "config.json").get("architectures") or []
    return any(str(name).endswith(CLASSIFIER) for name in names)


def reward_head(files: ModelFiles, dtype: str) -> NDArray[np.float32]:
    """The weights (hidden,) whose product with the last token's state is the reward.

    Args:
        files: a reward model; an adapter's head comes before the model's own.
        dtype: the precision the model is loaded at, to which they are rounded.

    Raises:
        ModelError: there is no such layer, or it has several labels.
    """
    import torch

    for folder in (files.adapter, files.path):
        weight = _tensor(folder, HEAD) if folder else None
        if weight is None:
            continue
        if weight.shape[0] != 1:
            raise ModelError(
                f"{folder} is a classifier of {weight.shape[0]} labels; a reward model has one",
                fix="name a reward model with num_labels=1, or a causal language model",
            )
        rounded: NDArray[np.float32] = weight[0].to(getattr(torch, dtype)).float().numpy()
        return rounded
    raise ModelError(
        f"{files.path} is a sequence classifier without the layer {HEAD}: no reward head that is linear in "
        "the last token's state",
        fix="name a reward model made of a decoder (LlamaForSequenceClassification ...), or a causal "
        "language model",
    )


def _tensor(folder: Path, name: str) -> Any:
    """The tensor of a folder's safetensors files that is ``name``, PEFT's prefix aside; None without one."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for key in tensors.keys():  # noqa: SIM118
                if key.removeprefix("base_model.model.") == name:
                    return tensors.get_tensor(key)
    return None


# The reader.


class FeatureReader:
    """Reads answers with one model, at one setting.

    Args:
        spec: the model. Its backend is hf; for vllm, ``lmtools.generation.open`` gives the pass.
        settings: which layers, how they are pooled, how long a text may be.
        open_pass: loads what computes features, in place of transformers.

    Raises:
        ModelError: the model cannot be used, has no such layer, or its own head cannot be kept.
        MachineError: a download failed, or the cache cannot be written.
    """

    def __init__(
        self, spec: ModelSpec, settings: FeatureSettings, open_pass: Callable[[], Pass] | None = None
    ) -> None:
        if spec.backend != "hf" and open_pass is None:
            raise ModelError(
                f"model.backend: {spec.backend} gives no hidden states here", fix="set model.backend=hf"
            )
        self._spec, self._settings = resolve_dtype(spec), settings
        self._files = resolve(spec)
        self._config = load_config(spec, self._files).get_text_config()
        self._layers = layer_numbers(settings.layers, int(self._config.num_hidden_layers))
        self._reward = is_reward_model(self._files)
        self.own_head = self._own_head() if self._reward else None
        """(D,), float32: the reward of a reward model is the product of a row of features with it."""
        self._device = pick_device(spec.device)
        self._open_pass = open_pass or self._load
        self._pass: Pass | None = None
        self._warned = False

    @cached_property
    def identity(self) -> str:
        """Model, adapter and precision by content, and the settings; the same for every backend."""
        layers = ",".join(map(str, self._layers))
        pooling = ",".join(self._settings.pooling)
        model = identity(self._spec, self._files)
        return f"{model} layers {layers} pooling {pooling} max_tokens {self._settings.max_tokens}"

    @property
    def width(self) -> int:
        """D, the numbers in a row: layer by layer, in each pooling by pooling."""
        return len(self._layers) * len(self._settings.pooling) * int(self._config.hidden_size)

    @property
    def depth(self) -> float:
        """The share of the model's layers that are run: those behind the last one that is read are not."""
        return max(self._layers) / int(self._config.num_hidden_layers)

    def read(self, answered: Sequence[AnsweredPrompt], label: str = "features") -> NDArray[np.float32]:
        """The features of answers, (n, D).

        Args:
            answered: conversations and their answers; equal ones are read once.
            label: what is being done, for the progress bar.

        Raises:
            DataError: an answer is empty.
            ModelError: the model's numbers are not finite, or its chat template refuses a conversation.
            MachineError: there is not enough memory, or the cache cannot be written.
        """
        if not answered:
            return np.empty((0, self.width), np.float32)
        texts = self._texts(answered)
        keys = self._keys(texts)
        rows = self._cache.read(list(dict.fromkeys(keys)))
        # Keyed, so that equal texts are computed once.
        requested = dict(zip(keys, texts, strict=True))
        if len(rows) < len(requested):
            rows |= self._compute(requested, set(rows), label)
        return np.stack([rows[key] for key in keys])

    def close(self) -> None:
        """Drop the model; a later ``read`` loads it again."""
        if self._pass is not None:
            self._pass.close()
        self._pass = None

    def _texts(self, answered: Sequence[AnsweredPrompt]) -> tuple[EncodedAnswer, ...]:
        context = getattr(self._config, "max_position_embeddings", None) or self._settings.max_tokens
        encoded = encode_answers(self._tokenizer, answered, min(self._settings.max_tokens, int(context)))
        if encoded.cut and not self._warned:
            self._warned = True
            say(
                f"{encoded.cut} of {len(answered)} texts are longer than features.max_tokens="
                f"{self._settings.max_tokens} and were cut"
            )
        return encoded.texts

    def _keys(self, texts: Sequence[EncodedAnswer]) -> list[bytes]:
        """A key for every text: of it where it is computed alone, else also of all texts of the request."""
        keys = [key_of(text) for text in texts]
        if self._alone:
            return keys
        request = b"".join([str(self._spec.batch_tokens).encode(), *dict.fromkeys(keys)])
        return [hashlib.sha256(request + key).digest() for key in keys]

    @property
    def _alone(self) -> bool:
        """Whether every text is computed by itself. On a GPU that would leave most of it idle."""
        return self._spec.backend == "hf" and self._device == "cpu"

    def _compute(
        self, requested: dict[bytes, EncodedAnswer], kept: set[bytes], label: str
    ) -> dict[bytes, NDArray[np.float32]]:
        """Rows that the cache lacks; each batch is kept as soon as it is computed, should the rest fail."""
        keys, texts = list(requested), list(requested.values())
        rows: dict[bytes, NDArray[np.float32]] = {}
        if self._pass is None:
            self._pass = self._open_pass()
        with progress(len(keys) - len(kept), f"{label} (texts)") as bar:
            for indices, values in self._pass.read(texts, {at for at, key in enumerate(keys) if key in kept}):
                if not np.isfinite(values).all():
                    raise ModelError(
                        "the model's hidden states hold NaN or infinity",
                        fix="set model.dtype=float32, and check that the model's weights are whole",
                    )
                batch = [keys[index] for index in indices]
                self._cache.write(batch, values)
                rows |= zip(batch, values, strict=True)
                bar.advance(len(set(batch) - kept))
        return rows

    @cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self._spec, self._files)

    @cached_property
    def _cache(self) -> FeatureCache:
        """One file for each model, backend and kind of features; texts are cut already when they get here."""
        backend = self._spec.backend, self._device
        kind = (FORMAT, *backend, identity(self._spec, self._files), self._layers)
        name = sha256_text(repr((*kind, self._settings.pooling)))[:16]
        return FeatureCache(cache_dir("features", f"{name}.sqlite"), self.width)

    def _load(self) -> Pass:
        from lmtools.models.pooling import HfPass

        loaded = load(self._spec, files=self._files, merge=may_merge(self._spec), reward=self._reward)
        return HfPass(
            loaded, self._layers, self._settings.pooling, self._spec.batch_tokens, alone=self._alone
        )

    def _own_head(self) -> NDArray[np.float32]:
        """The reward model's own head, zero but where the last layer's last token is."""
        last = int(self._config.num_hidden_layers)
        head = reward_head(self._files, self._spec.dtype)
        if last not in self._layers or "last" not in self._settings.pooling:
            raise ModelError(
                f"{self._spec.name} is a reward model: its own head needs the last layer, at the last token",
                fix="set features.layers and features.pooling so that they have -1 and last",
            )
        block = self._layers.index(last) * len(self._settings.pooling) + self._settings.pooling.index("last")
        weights = np.zeros(self.width, np.float32)
        weights[block * len(head) : (block + 1) * len(head)] = head
        return weights


def layer_numbers(layers: Sequence[int], last: int) -> tuple[int, ...]:
    """Layers counted from 1, of a model that has ``last`` of them: -1 becomes ``last``.

    Raises:
        ModelError: there is no such layer, or one is named twice.
    """
    numbers = tuple(layer if layer > 0 else last + 1 + layer for layer in layers)
    if wrong := [layer for layer, at in zip(layers, numbers, strict=True) if not 1 <= at <= last]:
        raise ModelError(
            f"features.layers: the model has {last} layers, and no layer {wrong[0]}",
            fix=f"name layers from 1 to {last}, or from -{last} to -1",
        )
    if len(set(numbers)) < len(numbers):
        raise ModelError(
            f"features.layers: {list(layers)} names a layer twice, in a model of {last}",
            fix="name each layer once",
        )
    return numbers
