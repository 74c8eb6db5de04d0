"""One training stage from files to a checkpoint: load, train, save whole or not at all."""

import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lmtools.core.errors import MachineError
from lmtools.core.files import written_by_others
from lmtools.core.progress import first_process, progress
from lmtools.leret.recipe import LeretRecipe, TrainSettings
from lmtools.leret.trainer import Mixed, Tell, preference_trainer, run_trainer, sft_trainer
from lmtools.models.load import LoadedModel, load
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec


def learn(
    recipe: LeretRecipe,
    spec: ModelSpec,
    rows: Sequence[dict[str, str]],
    stage: str,
    target: Path,
    seed: int,
    tell: Tell = lambda figures, step: None,
) -> None:
    """Train ``spec`` on ``rows`` (stage ``sft`` or ``policy``) and save the result as ``target``.

    Killed and called again, it goes on from the last checkpoint beside ``target``.

    Args:
        tell: is given the trainer's figures, as ``STAGE.log.jsonl`` beside ``target`` keeps them.

    Raises:
        DataError: an example is longer than `train.max_length`.
        ModelError: the model or its adapter cannot be loaded.
        MachineError: the disk is full, or the trained weights could not be gathered.
    """
    from transformers import set_seed

    set_seed(seed % 2**32)
    spec = resolve_dtype(spec)
    loaded = loaded_for_training(spec, recipe.train)
    model = trainable(loaded, recipe.train, adapter=spec.adapter is not None)
    folder = target.with_name(f"{stage}.checkpoints")
    build = sft_trainer if stage == "sft" else preference_trainer
    mixed = mixed_precision(spec, recipe.train.full, loaded.device)
    label = "SFT" if stage == "sft" else f"preference optimisation ({recipe.train.preference.loss})"
    with written_by_others(target.parent), calm():
        trainer = build(model, loaded.tokenizer, rows, recipe.train, folder, seed, mixed)
        with progress(steps(trainer), label) as bar:
            run_trainer(trainer, target.with_name(f"{stage}.log.jsonl"), bar, tell)
        save(trainer, spec, target)
        if first_process():
            shutil.rmtree(folder, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()


@contextmanager
def calm() -> Iterator[None]:
    """Without the bars that libraries draw for work of a second, in logs above all."""
    import datasets

    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        # peft asks the hub for the vocabulary of a base that is named, not stored there
        warnings.filterwarnings("ignore", message="Could not find a config file")
        yield


def loaded_for_training(spec: ModelSpec, settings: TrainSettings) -> LoadedModel:
    """The model to train. All weights are trained in float32: 16 bits round small updates away."""
    return load(spec.model_copy(update={"dtype": "float32"}) if settings.full else spec)


def mixed_precision(spec: ModelSpec, full: bool, device: str) -> Mixed | None:
    """What products are computed in where weights are float32: all of them, or at float16 LoRA's.

    float16 also needs its gradients scaled, which is part of it; on a processor there is no such thing.
    """
    if spec.dtype == "bfloat16" and full:
        return "bf16"
    return "fp16" if spec.dtype == "float16" and device != "cpu" else None


def trainable(loaded: LoadedModel, settings: TrainSettings, adapter: bool) -> Any:
    """The model as it is trained: all weights (an adapter merged), the adapter it came with, or a new one.

    It stays in evaluation mode, so that dropout does not blur the reference; the trainer switches it over.
    """
    model = loaded.model
    if settings.full:
        whole = model.merge_and_unload() if adapter else model
        return whole.requires_grad_(True)
    if adapter:
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_" in name)
        return model
    from peft import LoraConfig, get_peft_model

    lora = settings.lora
    targets = lora.target_modules if isinstance(lora.target_modules, str) else list(lora.target_modules)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    return get_peft_model(model, config)


def steps(trainer: Any) -> int:
    """Optimiser steps of the whole training, on every process together."""
    batches = -(-len(trainer.get_train_dataloader()) // trainer.args.gradient_accumulation_steps)
    return max(1, int(-(-batches * trainer.args.num_train_epochs // 1)))


def save(trainer: Any, spec: ModelSpec, target: Path) -> None:
    """An adapter (PEFT) or a full model (safetensors), with its tokenizer, written beside and renamed.

    Every process takes part: where each holds a share of the weights (FSDP, ZeRO-3), they are gathered.
    """
    part = target.with_name(f"{target.name}.part")
    if first_process():
        shutil.rmtree(part, ignore_errors=True)
    trainer.accelerator.wait_for_everyone()
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    trainer.save_model(str(part))
    trainer.accelerator.wait_for_everyone()
    if first_process():
        _keep_what_is_published(part, spec)
        shutil.rmtree(target, ignore_errors=True)
        part.rename(target)
    trainer.accelerator.wait_for_everyone()


def _keep_what_is_published(part: Path, spec: ModelSpec) -> None:
    """Only the trained weights, on their base's own name: no pickled settings, no copy of the reference, no
    empty form of a card.

    Raises:
        MachineError: the trainer wrote no weights.
    """
    for unwanted in ("training_args.bin", "README.md"):
        (part / unwanted).unlink(missing_ok=True)
    for folder in [path for path in part.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    if not any(part.glob("*.safetensors")):
        raise MachineError(
            f"{part}: the trained weights were not gathered",
            fix="with DeepSpeed ZeRO-3, set stage3_gather_16bit_weights_on_model_save, and --resume",
        )
    path = part / "adapter_config.json"
    if path.is_file():
        config = json.loads(path.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = spec.name
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
