"""LoRA under the heads: fine-tune the backbone together with K linear heads, before its features are kept.

The heads serve this training only: ensembles are trained afresh on the features of the tuned backbone. Each
head has a frozen random prior of its own, so that the backbone does not come to serve one judgement alone.

    adapter/      the LoRA matrices, as PEFT writes them; its presence ends the training
    training.jsonl   the loss of every step     lora-state.safetensors   where an unfinished training stands
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from lmtools.core.errors import ModelError, RecipeError, RunError
from lmtools.core.files import atomic_writer
from lmtools.core.progress import progress
from lmtools.core.run import Run
from lmtools.core.seeds import derive
from lmtools.core.tracking import Point
from lmtools.data.records import Preference
from lmtools.hyre.ensemble import Scaler
from lmtools.hyre.heads import SharedBase, bradley_terry, rate
from lmtools.hyre.pairs import answers, drawn
from lmtools.hyre.recipe import HyreRecipe, LoraSettings
from lmtools.hyre.tuned import ADAPTER, Pair, TunedBackbone, out_of_memory
from lmtools.models.files import is_adapter, resolve
from lmtools.models.spec import ModelSpec

STATE = "lora-state.safetensors"
LOOK = 32
"""Pairs whose features, before any step, tell the scale on which the heads work."""
STEPS_KEPT = 25
"""A killed training loses at most so many steps."""
MOST_GRADIENT = 1.0
"""The norm to which the gradient of all weights together is clipped."""


def check_lora(recipe: HyreRecipe) -> None:
    """Whether a recipe that wants its backbone fine-tuned can have it; looks at names only.

    Raises:
        RecipeError: the model has an adapter already.
        ModelError: the backend cannot be trained.
    """
    spec = recipe.model
    if recipe.lora is None:
        return
    if spec.backend != "hf":
        raise ModelError(
            f"lora: the backend {spec.backend} cannot be trained", fix="set model.backend=hf, or lora=null"
        )
    if spec.adapter or is_adapter(Path(spec.name).expanduser()):
        raise _has_adapter(spec)


def _has_adapter(spec: ModelSpec) -> RecipeError:
    return RecipeError(
        f"lora: the model has an adapter already, {spec.adapter or spec.name}",
        fix="set lora=null to use it as it is, or model.adapter=null to train a new one",
    )


@dataclass
class Tuning:
    """A training that has come to ``step``: every number that the next step depends on."""

    backbone: TunedBackbone
    heads: SharedBase
    optimizer: torch.optim.Optimizer
    mean: Tensor
    """(D,), as ``scale``: what the features are standardised by."""
    scale: Tensor
    step: int = 0

    def set_scaler(self, scaler: Scaler) -> None:
        """Standardise the features so from now on."""
        self.mean = torch.from_numpy(scaler.mean).to(self.mean)
        self.scale = torch.from_numpy(scaler.scale).to(self.scale)

    def learn(self, pairs: Sequence[Pair], share: float) -> float:
        """One step of AdamW on the sum over heads of -log sigmoid(f_k(chosen) - f_k(rejected)).

        Args:
            share: of the peak rates.

        Returns:
            the mean loss of a head, in nats.

        Raises:
            ModelError: it is not a number.
        """
        trained = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        self.optimizer.zero_grad(set_to_none=True)
        total = 0.0
        # As many pairs at a time as memory holds; the gradients of a step's portions add up.
        for portion in self.backbone.portions(pairs):
            loss = bradley_terry(self._margins(portion)) * (len(portion) / len(pairs))
            torch.autograd.backward(loss)
            total += float(loss.detach())
        if not math.isfinite(total):
            raise ModelError(
                "lora: the loss is not a number", fix="lower lora.learning_rate, or set model.dtype=float32"
            )
        torch.nn.utils.clip_grad_norm_(trained, MOST_GRADIENT)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.optimizer.step()
        self.step += 1
        return total / self.heads.count

    def _margins(self, pairs: Sequence[Pair]) -> Tensor:
        """(B, K). The priors are not learned through: the backbone need not please random functions."""
        features = self.backbone.features([text for pair in pairs for text in pair])
        x = (features - self.mean) * self.scale
        rewards = (self.heads.learned(x) + self.heads.fixed(x.detach()))[:, :, 0]
        return rewards[::2] - rewards[1::2]

    def save(self, path: Path) -> None:
        """Write everything in one step; raises ``MachineError`` where that fails."""
        tensors: dict[str, Tensor] = {f"lora.{name}": value for name, value in self.backbone.weights.items()}
        tensors |= {f"heads.{name}": value for name, value in self.heads.state_dict().items()}
        tensors |= {"standard.mean": self.mean, "standard.scale": self.scale}
        for index, values in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in values.items()}
        plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        with atomic_writer(path, "wb") as stream:
            stream.write(save(plain, metadata={"state": json.dumps({"step": self.step})}))

    def load(self, path: Path) -> None:
        """Take up what ``save`` wrote.

        Raises:
            RunError: the file is broken, or of another training.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                step = int(json.loads(file.metadata()["state"])["step"])
            with torch.no_grad():
                for name, weight in self.backbone.weights.items():
                    weight.copy_(tensors[f"lora.{name}"])
            self.heads.load_state_dict(_below("heads.", tensors))
            self.set_scaler(Scaler(tensors["standard.mean"].numpy(), tensors["standard.scale"].numpy()))
            state: dict[int, dict[str, Tensor]] = {}
            for name, value in _below("optimizer.", tensors).items():
                index, _, moment = name.partition(".")
                state.setdefault(int(index), {})[moment] = value
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
            self.step = step
        except Exception as error:  # OSError, SafetensorError, KeyError, RuntimeError ...
            raise RunError(
                f"{path}: no state of this training: {' '.join(str(error).split())[:200]}",
                fix=f"delete {path}: the backbone is then trained from its start",
            ) from error


def train_adapter(
    recipe: HyreRecipe, lora: LoraSettings, preferences: Sequence[Preference], run: Run
) -> None:
    """Train on the pairs and write the adapter; goes on from the last state of a killed training.

    Raises:
        RecipeError, ModelError, MachineError, RunError: as ``inputs.tuned_inputs``.
    """
    if resolve(recipe.model).adapter is not None:  # a hub name may be one
        raise _has_adapter(recipe.model)
    seed = derive(recipe.seed, "lora")
    backbone = TunedBackbone(recipe.model, recipe.features, lora.rank, seed)
    texts = backbone.tokenised(answers(drawn(preferences, lora.pairs, seed)))
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    order = batches(len(pairs), lora, seed)
    callback, state = run.curve("LoRA"), run.path(STATE)
    steps = len(order) // lora.epochs
    try:
        tuning = _start(recipe, lora, backbone, seed)
        if state.exists():
            tuning.load(state)
        else:
            first = [pairs[index] for batch in order for index in batch][: min(LOOK, len(pairs))]
            tuning.set_scaler(backbone.scaler(first))
        with progress(len(order), "LoRA (steps)") as bar:
            bar.advance(tuning.step)
            for step in range(tuning.step, len(order)):
                share = rate(step, len(order))
                loss = tuning.learn([pairs[index] for index in order[step]], share)
                callback(Point(step + 1, step // steps + 1, loss, lora.learning_rate * share))
                if tuning.step % STEPS_KEPT == 0:
                    tuning.save(state)
                bar.advance()
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory(error) from error
    backbone.save(run.path(ADAPTER))


def batches(count: int, lora: LoraSettings, seed: int) -> list[list[int]]:
    """Which pairs each step is on: every pair once an epoch, in an order of its own."""
    order = torch.Generator().manual_seed(seed % 2**63)
    return [
        batch.tolist()
        for _ in range(lora.epochs)
        for batch in torch.split(torch.randperm(count, generator=order), lora.batch)
    ]


def _start(recipe: HyreRecipe, lora: LoraSettings, backbone: TunedBackbone, seed: int) -> Tuning:
    """A training before its first step; heads are linear, and learn at the rate at which heads always do."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "heads") % 2**63)
        heads = SharedBase(backbone.width, recipe.heads_count, 1, 0, recipe.train.prior_scale)
    heads = heads.to(backbone.device)
    learned = [weight for weight in heads.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": list(backbone.weights.values()), "peak": lora.learning_rate, "weight_decay": 0.0},
        {"params": learned, "peak": recipe.train.learning_rate, "weight_decay": recipe.train.weight_decay},
    ]
    zero = torch.zeros(backbone.width, device=backbone.device)
    return Tuning(backbone, heads, torch.optim.AdamW(groups), zero, zero.clone())


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
