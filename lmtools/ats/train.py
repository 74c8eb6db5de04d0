"""The training of one head on the cache: AdamW, early stopping on validation loss, exact resumption.

The state is on disk after every epoch: a fit that is killed goes on to exactly the same weights.
"""

import copy
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lmtools.ats.batches import Batches, by_length, shuffled
from lmtools.ats.cache import ChunkedSummary
from lmtools.ats.heads import TemperatureHead
from lmtools.ats.losses import loss_function
from lmtools.ats.recipe import LossSettings, TrainSettings
from lmtools.core.errors import ModelError, RunError
from lmtools.core.files import atomic_writer
from lmtools.core.progress import Progress, progress, say
from lmtools.core.seeds import derive

# Where a training stands, in memory and on disk.

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training sequences: losses in nats, and whether it was the best so far."""

    number: int
    loss: float
    validation: float | None
    best: bool
    steps: int = 0
    """Optimiser steps so far."""
    learning_rate: float | None = None
    """Of the last step, for all but the output layer."""


@dataclass
class TrainingState:
    """A head and its optimiser after some epochs, and the best weights so far with their loss.

    ``lowest`` is the validation loss of ``best``; without validation both follow the last epoch.
    """

    head: nn.Module
    optimizer: torch.optim.Optimizer
    best: Weights
    lowest: float
    epochs: list[Epoch] = field(default_factory=list)

    def waited(self) -> int:
        """Epochs since the best one; before the first, none."""
        best = [epoch.number for epoch in self.epochs if epoch.best]
        return len(self.epochs) - (best[-1] if best else 0)

    def save(self, path: Path) -> None:
        """Write everything in one step.

        Raises:
            MachineError: it cannot be written.
        """
        tensors = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
        record = {"epochs": [asdict(epoch) for epoch in self.epochs], "lowest": self.lowest}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with atomic_writer(path, "wb") as stream:
            stream.write(save(plain, metadata={"state": json.dumps(record)}))

    def load(self, path: Path) -> None:
        """Take up what ``save`` wrote.

        Raises:
            RunError: the file is broken, or of another head.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                record = json.loads(file.metadata()["state"])
            self.head.load_state_dict(_below("head.", tensors))
            self.best = _below("best.", tensors)
            state: dict[int, Weights] = {}
            for name, value in _below("optimizer.", tensors).items():
                number, _, key = name.partition(".")
                state.setdefault(int(number), {})[key] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
            self.epochs, self.lowest = [Epoch(**epoch) for epoch in record["epochs"]], record["lowest"]
        except Exception as error:  # OSError, SafetensorError, KeyError, RuntimeError ...
            raise RunError(
                f"{path}: no state of this training: {' '.join(str(error).split())[:200]}",
                fix=f"delete {path}: the head is then trained from its start",
            ) from error


def _below(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


# AdamW on batches of cached features, stopped early by the validation loss.

EVALUATED = 8192
"""Padded tokens of a batch without gradients."""


def train_head(
    head: TemperatureHead,
    batches: Batches,
    train: Sequence[int],
    validation: Sequence[int],
    loss_settings: LossSettings,
    settings: TrainSettings,
    seed: int,
    *,
    state: Path | None = None,
    finished: Callable[[Epoch], None] = lambda epoch: None,
) -> TrainingState:
    """Train ``head`` in place; it ends with the weights of the lowest validation loss, its start among them.

    Without validation sequences it ends with those of the last epoch.

    Args:
        head: a new head, on the device of ``batches``.
        train: sequences to train on.
        validation: sequences that decide when to stop.
        loss_settings: what it learns from.
        settings: how it is trained.
        seed: of the order of the sequences.
        state: where to keep the state after every epoch; one that is there is taken up.
        finished: is called after every epoch, also for those taken up.

    Raises:
        ModelError: the loss is not a number.
        RunError: ``state`` is broken.
    """
    optimizer = _optimizer(head, settings)
    # The start is a candidate too: a head that only overfits ends as no head at all.
    start = validation_loss(head, batches, validation, loss_settings) if validation else math.inf
    at = TrainingState(head, optimizer, copy.deepcopy(head.state_dict()), start)
    if state is not None and state.exists():
        at.load(state)
        for epoch in at.epochs:
            finished(epoch)
    lengths = batches.cache.lengths()[list(train)]
    steps = math.ceil(len(train) / settings.batch_sequences)
    with progress(steps * (settings.epochs - len(at.epochs)), f"{head.config.kind}: batches") as bar:
        while len(at.epochs) < settings.epochs and not (validation and at.waited() > settings.patience):
            number = len(at.epochs) + 1
            # The order is drawn anew from the seed in every epoch, so that a resumed training sees the same.
            order = shuffled(lengths, settings.batch_sequences, derive(seed, "epoch", number))
            groups = [[train[position] for position in batch] for batch in order]
            loss = _epoch(at, batches, groups, loss_settings, settings, bar)
            held_out = validation_loss(head, batches, validation, loss_settings) if validation else None
            better, last_rate = held_out is None or held_out < at.lowest, optimizer.param_groups[0]["lr"]
            _conclude(at, Epoch(number, loss, held_out, better, number * len(groups), last_rate))
            if state is not None:
                at.save(state)
            finished(at.epochs[-1])
    head.load_state_dict(at.best)
    head.eval()
    return at


def _conclude(at: TrainingState, epoch: Epoch) -> None:
    """Add an epoch to the state, and say how it went."""
    if epoch.best:
        at.best = copy.deepcopy(at.head.state_dict())
        at.lowest = at.lowest if epoch.validation is None else epoch.validation
    at.epochs.append(epoch)
    validation = "" if epoch.validation is None else f", validation {epoch.validation:.4f}"
    say(f"epoch {epoch.number}: loss {epoch.loss:.4f}{validation}")


def _optimizer(head: TemperatureHead, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW, with a separate peak rate for the output layer."""
    named = list(head.named_parameters())
    output = [value for name, value in named if name.startswith("output.")]
    inner = [value for name, value in named if not name.startswith("output.")]
    groups = [
        {"params": values, "peak": peak}
        for values, peak in ((inner, settings.learning_rate), (output, settings.output_learning_rate))
        if values
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def _epoch(
    at: TrainingState,
    batches: Batches,
    groups: list[list[int]],
    loss_settings: LossSettings,
    settings: TrainSettings,
    bar: Progress,
) -> float:
    """One pass; returns the mean loss of the batches, before each one's step."""
    at.head.train()
    first, total = len(groups) * len(at.epochs), len(groups) * settings.epochs
    sum_of_losses = 0.0
    for step, sequences in enumerate(groups, start=first):
        for group in at.optimizer.param_groups:
            group["lr"] = group["peak"] * rate(step, total, settings)
        batch = batches.make(sequences)
        multiplier = at.head(batch.features, valid=batch.valid, select=batch.response).exp()
        loss = loss_function(loss_settings, batch.masked)(batch.summary, multiplier).mean()
        if not torch.isfinite(loss):
            raise ModelError("the loss of the head is not a number", fix="lower train.learning_rate")
        at.optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(at.head.parameters(), settings.clip_grad)
        at.optimizer.step()
        sum_of_losses += float(loss.detach())
        bar.advance()
    return sum_of_losses / len(groups)


def rate(step: int, total: int, settings: TrainSettings) -> float:
    """The share of the peak learning rate at a step, from 0: linear up, then along a cosine to 0."""
    up = min(1.0, (step + 1) / settings.warmup) if settings.warmup else 1.0
    return up * (0.5 + 0.5 * math.cos(math.pi * step / total)) if settings.cosine else up


def log_multipliers(head: TemperatureHead, batches: Batches, sequences: Sequence[int]) -> Tensor:
    """Log multipliers of all response tokens of these sequences, in their order: (n,), on the processor."""
    head.eval()
    counts = batches.cache.counts()[list(sequences)]
    parts: list[Tensor] = [torch.empty(0)] * len(sequences)
    with torch.no_grad():
        for positions in by_length(batches.cache.lengths()[list(sequences)], EVALUATED):
            batch = batches.make([sequences[position] for position in positions])
            flat = head(batch.features, valid=batch.valid, select=batch.response).cpu()
            for position, values in zip(positions, flat.split(counts[positions].tolist()), strict=True):
                parts[position] = values
    return torch.cat(parts) if parts else torch.empty(0)


def validation_loss(
    head: TemperatureHead, batches: Batches, sequences: Sequence[int], loss_settings: LossSettings
) -> float:
    """The loss of all response tokens of these sequences at once, from their summaries."""
    summary = batches.cache.summary(sequences)
    masked = int(batches.cache.lengths()[list(sequences)].sum()) - len(summary.label)
    multiplier = log_multipliers(head, batches, sequences).exp()
    loss = loss_function(loss_settings, masked)
    return float(loss(ChunkedSummary.of(summary), multiplier.double()).mean())
