"""The output layer of a sequence-classification reward model, read from its files."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import ModelError
from lmtools.models.files import ModelFiles, read_json

HEAD = "score.weight"
CLASSIFIER = "ForSequenceClassification"


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
