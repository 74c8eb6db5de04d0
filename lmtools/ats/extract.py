"""The language model's one pass: hidden states and summaries of logits, into the feature cache.

Batches go from long sequences to short ones, so that little of them is padding and what does not fit in
memory fails at once. Each one is recorded in a journal beside the cache, with its digest, when it is on the
disk: a killed pass goes on where it was, and batches that are damaged are read again.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPast

from lmtools.ats.cache import (
    FROM_LOGITS,
    SUMMARY,
    Array,
    FeatureCache,
    SequenceRows,
    batch_digest,
    cache_key,
    features,
    open_arrays,
    shapes,
    summarise,
)
from lmtools.core.errors import MachineError, ModelError, RunError
from lmtools.core.files import cache_dir
from lmtools.core.journal import Journal
from lmtools.core.progress import progress, say
from lmtools.models.files import ModelFiles
from lmtools.models.load import LoadedModel, base_model, load, may_merge
from lmtools.models.spec import ModelSpec

# The language model, as heads are fitted on it and put on it.


def load_base(spec: ModelSpec, files: ModelFiles | None = None) -> LoadedModel:
    """Load it with logits at float32, and with an adapter in its weights where they can hold it.

    Args:
        files: of the model, where ``resolve(spec)`` has given them already.

    Raises:
        ModelError, MachineError: as ``lmtools.models.load.load``.
    """
    return load(spec, files=files, merge=may_merge(spec), float32_logits=True)


# From a model's last hidden states to its logits, by the model's own code.
#
# Output matrix, bias, scale and soft cap differ from model to model; so the model itself is run, with its
# decoder replaced by the states.


class OutputLayer:
    """Logits of states. It belongs to the loaded model, which must not run meanwhile.

    Args:
        loaded: a causal language model, with a PEFT adapter on top or without.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        self._model: Any = base_model(loaded.model)
        self._decoder: Any = self._model.get_decoder()
        weight = self._model.get_output_embeddings().weight
        self.device, self.dtype = weight.device, weight.dtype

    @property
    def rows(self) -> Tensor:
        """The output matrix, (vocabulary, hidden)."""
        weight: Tensor = self._model.get_output_embeddings().weight
        return weight.detach()

    def __call__(self, states: Tensor) -> Tensor:
        """Logits of states after the final norm: (k, hidden) to (k, vocabulary), at the model's precision."""
        output = BaseModelOutputWithPast(last_hidden_state=states.to(self.device, self.dtype)[None])
        unused = torch.zeros(1, 1, dtype=torch.long, device=self.device)
        self._decoder.forward = lambda *args, **kwargs: output
        try:
            with torch.no_grad():
                logits: Tensor = self._model(input_ids=unused, use_cache=False).logits[0]
        finally:
            del self._decoder.forward  # the class's method comes to light again
        return logits


def last_states(loaded: LoadedModel, ids: Tensor) -> Tensor:
    """The last hidden states, after the final norm, of rows of tokens: (rows, tokens) to (..., hidden).

    Padding must be on the right, where no token sees it.

    Raises:
        ModelError: one of them is NaN or infinite.
    """
    with torch.inference_mode():
        states: Tensor = base_model(loaded.model).get_decoder()(input_ids=ids, use_cache=False)[0]
    if not torch.isfinite(states).all():
        raise ModelError(
            "the model's hidden states hold NaN or infinity",
            fix="load it at float32, and check that its weights are whole",
        )
    return states


# One pass of the model over all sequences. A batch that is on disk is not computed again.

ROOM = 2**24
"""Logits computed at a time: 64 MiB, and a few times as much while they are summarised."""
DAMAGED = (OSError, ValueError, EOFError, OverflowError, MemoryError, TypeError, RunError)
"""What numpy and the journal raise of a file that is missing, or is not what was written."""
JOURNAL = "journal.jsonl"


def extract(
    sequences: SequenceRows,
    identity: str,
    open_model: Callable[[], LoadedModel],
    *,
    batch_tokens: int,
    device: str = "cpu",
    dtype: str = "float16",
    from_logits: bool = False,
) -> FeatureCache:
    """The cache of these sequences; the model is loaded only if some of it is missing.

    Args:
        sequences: what the model reads.
        identity: the model by content, as ``LoadedModel.identity``.
        open_model: opens that model.
        batch_tokens: tokens (padding included) in one forward pass.
        device: that the model is opened on.
        dtype: of the kept hidden states.
        from_logits: also keep, of every row, what features are made of beside the hidden state.

    Raises:
        ModelError: the model's numbers are not finite, or too large for ``dtype``.
        MachineError: the cache cannot be written.
    """
    key = cache_key(identity, sequences, dtype, from_logits, device, batch_tokens)
    folder = cache_dir("ats", key[:32])
    layout = sequences.layout()
    names = ["hidden", *SUMMARY, *(FROM_LOGITS if from_logits else ())]
    batches = list(_batches(np.diff(layout["rows"]), batch_tokens))
    with _alone(folder), _writable(folder):
        kept = _kept(folder, names, layout, batches)
        if len(kept) < len(batches):
            _read(folder, sequences, layout, open_model, batches, kept, dtype, from_logits)
        else:
            say(f"the model's features are in the cache: {folder}")
        return FeatureCache({**layout, **open_arrays(folder, names)})


def _kept(
    folder: Path, names: Sequence[str], layout: Mapping[str, Array], batches: Sequence[tuple[int, int]]
) -> set[int]:
    """The first sequences of the batches that are on the disk as they were written; others are forgotten."""
    path = folder / JOURNAL
    if not path.exists():
        return set()
    whole: dict[str, Any] = {}
    try:
        with Journal(path) as journal:
            records = {key: journal.get(key) for key in journal}
        arrays = open_arrays(folder, names)
        for start, end in batches:
            record = records.get(str(start))
            if record and record == {"end": end, "sha256": batch_digest(arrays, layout, start, end)}:
                whole[str(start)] = record
        if whole == records:
            return set(map(int, whole))
        damaged = f"{len(records) - len(whole)} of {len(records)} batches"
    except DAMAGED:
        whole, damaged = {}, "all of it"
    say(f"damaged in the feature cache {folder}, and read again: {damaged}")
    path.unlink()
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
        return set()
    with Journal(path) as journal:
        for key, record in whole.items():
            journal.append(key, record)
    return set(map(int, whole))


def _read(
    folder: Path,
    sequences: SequenceRows,
    layout: Mapping[str, Array],
    open_model: Callable[[], LoadedModel],
    batches: Sequence[tuple[int, int]],
    kept: Collection[int],
    dtype: str,
    from_logits: bool,
) -> None:
    """Read the batches that have not been read."""
    loaded = open_model()
    hidden = int(OutputLayer(loaded).rows.shape[1])
    folder.mkdir(exist_ok=True)
    arrays = _create(folder, shapes(layout, hidden, dtype, from_logits), begun=bool(kept))
    reader = _BatchReader(loaded, arrays, layout, from_logits)
    rows = layout["rows"]
    with Journal(folder / JOURNAL) as journal, progress(int(rows[-1]), "tokens read by the model") as bar:
        for start, end in batches:
            if start not in kept:
                reader.read(start, [sequences.inputs(index) for index in range(start, end)])
                for array in arrays.values():
                    array.flush()
                digest = batch_digest(arrays, layout, start, end)
                journal.append(str(start), {"end": end, "sha256": digest})
            bar.advance(int(rows[end] - rows[start]))


def _batches(lengths: Array, batch_tokens: int) -> Iterator[tuple[int, int]]:
    """Runs of sequences, of at most ``batch_tokens`` padded tokens or of one sequence."""
    start = 0
    while start < len(lengths):
        end = min(len(lengths), start + max(1, batch_tokens // int(lengths[start])))
        yield start, end
        start = end


class _BatchReader:
    """Runs the model on a batch and writes its rows."""

    def __init__(
        self, loaded: LoadedModel, arrays: Mapping[str, Any], layout: Mapping[str, Array], from_logits: bool
    ) -> None:
        self._loaded, self._arrays, self._layout = loaded, arrays, layout
        self._output = OutputLayer(loaded)
        self._from_logits = from_logits

    def read(self, first: int, sequences: list[tuple[int, ...]]) -> None:
        """Fill the rows of the sequences from number ``first`` on."""
        width = max(map(len, sequences))
        ids = torch.zeros(len(sequences), width, dtype=torch.long)
        valid = torch.zeros(len(sequences), width, dtype=torch.bool)
        for row, tokens in enumerate(sequences):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            valid[row, : len(tokens)] = True
        device = self._loaded.device
        states = last_states(self._loaded, ids.to(device))[valid.to(device)]  # row after row, no padding
        start, token = int(self._layout["rows"][first]), int(self._layout["tokens"][first])
        self._arrays["hidden"][start : start + len(states)] = _narrow(states, self._arrays["hidden"].dtype)
        response = torch.from_numpy(np.array(self._layout["wanted"][start : start + len(states)])).to(device)
        # Logits a few rows at a time, and only of rows whose logits something asks for.
        step = max(1, ROOM // len(self._output.rows))
        for part in range(0, len(states), step):
            chosen = response[part : part + step]
            group = states[part : part + step]
            if not self._from_logits:
                group = group[chosen]
            if not len(group):
                continue
            logits = self._output(group)
            if self._from_logits:
                self._keep_features(start + part, group, logits)
                logits = logits[chosen]
            token = self._keep_summaries(token, logits)

    def _keep_summaries(self, token: int, logits: Tensor) -> int:
        """Summaries of the response tokens from number ``token`` on; returns the number after the last."""
        end = token + len(logits)
        labels = torch.from_numpy(self._layout["labels"][token:end]).to(logits.device)
        for name, value in vars(summarise(logits, labels)).items():
            self._arrays[name][token:end] = value.cpu().numpy()
        return end

    def _keep_features(self, row: int, states: Tensor, logits: Tensor) -> None:
        """What features are made of, of the rows from number ``row`` on."""
        columns = features(("max-logit", "log-std"), states, logits).cpu().numpy().T
        part = slice(row, row + len(logits))
        self._arrays["max_logit"][part], self._arrays["log_std"][part] = columns
        self._arrays["argmax"][part] = logits.argmax(dim=-1).cpu().numpy()


def _narrow(states: Tensor, dtype: Any) -> Array:
    kept = states.cpu().to(getattr(torch, dtype.name))
    if not torch.isfinite(kept).all():
        raise ModelError(
            f"the model's hidden states are too large for {dtype}", fix="set data.cache_dtype=float32"
        )
    return kept.numpy()


def _create(folder: Path, sizes: Mapping[str, Any], begun: bool) -> dict[str, Any]:
    """The files, their room on the disk taken; those of a pass that has begun as they are."""
    arrays = {}
    for name, (shape, dtype) in sizes.items():
        path = folder / f"{name}.npy"
        arrays[name] = np.lib.format.open_memmap(
            path, mode="r+" if begun else "w+", dtype=None if begun else np.dtype(dtype), shape=shape
        )
        if not begun and hasattr(os, "posix_fallocate"):
            # A mapped file that finds the disk full would end the process without a word.
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return arrays


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Of several processes one reads, the others wait and find it done."""
    from filelock import FileLock, Timeout

    with _writable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            say(f"another process makes the feature cache {folder}: waiting for it")
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MachineError(
            f"cannot write the feature cache {folder}: {error.strerror or error}",
            fix="free some space, or set LMTOOLS_CACHE to a directory that can be written",
        ) from error
