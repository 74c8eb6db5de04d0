"""Where the training of a head stands, on disk: with it a killed fit goes on to exactly the same weights."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from lmtools.core.errors import RunError
from lmtools.core.files import atomic_writer

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
        places = [epoch.number for epoch in self.epochs if epoch.best]
        return len(self.epochs) - (places[-1] if places else 0)

    def save(self, path: Path) -> None:
        """Write everything in one step.

        Raises:
            MachineError: it cannot be written.
        """
        tensors = {f"head.{name}": value for name, value in self.head.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for place, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{place}.{name}": value for name, value in values.items()}
        told = {"epochs": [asdict(epoch) for epoch in self.epochs], "lowest": self.lowest}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with atomic_writer(path, "wb") as stream:
            stream.write(save(plain, metadata={"state": json.dumps(told)}))

    def load(self, path: Path) -> None:
        """Take up what ``save`` wrote.

        Raises:
            RunError: the file is broken, or of another head.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                told = json.loads(file.metadata()["state"])
            self.head.load_state_dict(_below("head.", tensors))
            self.best = _below("best.", tensors)
            state: dict[int, Weights] = {}
            for name, value in _below("optimizer.", tensors).items():
                place, _, what = name.partition(".")
                state.setdefault(int(place), {})[what] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
            self.epochs, self.lowest = [Epoch(**epoch) for epoch in told["epochs"]], told["lowest"]
        except Exception as error:  # OSError, SafetensorError, KeyError, RuntimeError ...
            raise RunError(
                f"{path}: no state of this training: {' '.join(str(error).split())[:200]}",
                fix=f"delete {path}: the head is then trained from its start",
            ) from error


def _below(prefix: str, tensors: Weights) -> Weights:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
