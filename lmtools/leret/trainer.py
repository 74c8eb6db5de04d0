"""Training a policy with TRL: context-distillation SFT, then preference optimisation.

TRL's trainers are used as they are; only the summed IPO loss and the token-exact data path are ours.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from lmtools.core.errors import DataError
from lmtools.core.progress import Progress, first_process
from lmtools.leret.losses import ipo_loss
from lmtools.leret.prompts import training_tokens
from lmtools.leret.recipe import PreferenceSettings, SftSettings, TrainSettings


class PreferenceTrainer(DPOTrainer):  # type: ignore[misc]  # TRL has no types here
    """TRL's DPO trainer on token ids that are ours already."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class SummedIpoTrainer(PreferenceTrainer):
    """IPO on summed log-probabilities, with the reference's log-probabilities computed beforehand."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        mask = inputs["completion_mask"]
        labels = inputs["input_ids"].masked_fill(mask == 0, -100)
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            use_cache=False,
            labels=labels,
            fused_lm_head=True,
        )
        chosen, rejected = outputs.log_probs[:, -(mask.size(1) - 1) :].sum(dim=1).chunk(2)
        delta = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        mode = "train" if self.model.training else "eval"
        gathered = self.accelerator.gather_for_metrics(delta.detach())
        self._metrics[mode]["rewards/margins"].append(gathered.mean().item())
        self._metrics[mode]["rewards/accuracies"].append((gathered > 0).float().mean().item())
        loss = ipo_loss(delta, self.beta).mean()
        return (loss, outputs) if return_outputs else loss


class Log(TrainerCallback):  # type: ignore[misc]
    """Advances a progress bar, and appends what the trainer logs to `training.jsonl`."""

    def __init__(self, path: Path, stage: str, bar: Progress) -> None:
        self.path, self.stage, self.bar = path, stage, bar

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimiser step is done."""
        self.bar.advance()

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """The trainer reports its running figures."""
        if first_process() and logs:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"stage": self.stage, "step": state.global_step, **logs}) + "\n")


def sft_dataset(rows: Sequence[dict[str, str]], tokenizer: Any, max_length: int) -> Dataset:
    """`input_ids` and `completion_mask` of every example; the prompt is masked out of the loss.

    Raises:
        DataError: an example is longer than ``max_length``.
    """
    examples = [training_tokens(tokenizer, row["prompt"], row["completion"]) for row in rows]
    check_length([len(prompt) + len(completion) for prompt, completion in examples], max_length)
    return Dataset.from_list(
        [
            {"input_ids": prompt + completion, "completion_mask": [0] * len(prompt) + [1] * len(completion)}
            for prompt, completion in examples
        ]
    )


def preference_dataset(rows: Sequence[dict[str, str]], tokenizer: Any, max_length: int) -> Dataset:
    """`prompt_ids`, `chosen_ids` and `rejected_ids` of every pair.

    Raises:
        DataError: a pair is longer than ``max_length``.
    """
    examples = []
    for row in rows:
        prompt, chosen = training_tokens(tokenizer, row["prompt"], row["chosen"])
        _, rejected = training_tokens(tokenizer, "", row["rejected"])
        examples.append({"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected})
    longest = [
        len(example["prompt_ids"]) + max(len(example["chosen_ids"]), len(example["rejected_ids"]))
        for example in examples
    ]
    check_length(longest, max_length)
    return Dataset.from_list(examples)


def check_length(lengths: Sequence[int], max_length: int) -> None:
    """Training on a prompt cut short would not be what inference asks with: too long is an error.

    Raises:
        DataError: the longest is over ``max_length``.
    """
    if max(lengths, default=0) > max_length:
        raise DataError(
            f"the longest training example has {max(lengths)} tokens, over train.max_length = {max_length}",
            fix=f"--set train.max_length={max(lengths)}, or a smaller hop.passage_words",
        )


def common_arguments(
    settings: TrainSettings, stage: SftSettings | PreferenceSettings, folder: Path, seed: int, device: str
) -> dict[str, Any]:
    """What both trainers are told in the same way."""
    return {
        "output_dir": str(folder),
        "num_train_epochs": stage.epochs,
        "per_device_train_batch_size": stage.batch_size,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "learning_rate": stage.learning_rate,
        "warmup_steps": stage.warmup_steps,
        "lr_scheduler_type": "linear",
        "optim": stage.optimizer,
        "max_grad_norm": settings.max_grad_norm,
        "gradient_checkpointing": settings.gradient_checkpointing,
        "bf16": False,  # weights have the recipe's dtype; adapters are float32
        "logging_steps": 10,
        "save_strategy": "steps",
        "save_steps": settings.save_steps,
        "save_total_limit": 1,
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed % 2**32,
        "use_cpu": device == "cpu",
        "max_length": None,
    }


def sft_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, str]],
    settings: TrainSettings,
    folder: Path,
    seed: int,
) -> SFTTrainer:
    """The trainer of the SFT stage; ``model`` carries its adapter already."""
    arguments = common_arguments(settings, settings.sft, folder, seed, model.device.type)
    return SFTTrainer(
        model=model,
        args=SFTConfig(**arguments, completion_only_loss=True, train_sampling_strategy="group_by_length"),
        train_dataset=sft_dataset(rows, tokenizer, settings.max_length),
        processing_class=tokenizer,
    )


def preference_trainer(
    model: Any,
    tokenizer: Any,
    rows: Sequence[dict[str, str]],
    settings: TrainSettings,
    folder: Path,
    seed: int,
) -> DPOTrainer:
    """The trainer of the preference stage; the model as it is now is the reference."""
    preference = settings.preference
    arguments = common_arguments(settings, preference, folder, seed, model.device.type)
    loss = {"ipo-mean": "ipo", "ipo": "sigmoid"}.get(preference.loss, preference.loss)
    kind = SummedIpoTrainer if preference.loss == "ipo" else PreferenceTrainer
    return kind(
        model=model,
        args=DPOConfig(**arguments, beta=preference.beta, loss_type=[loss], precompute_ref_log_probs=True),
        train_dataset=preference_dataset(rows, tokenizer, settings.max_length),
        processing_class=tokenizer,
    )


def run_trainer(trainer: Any, log: Path, stage: str, bar: Progress) -> None:
    """Train to the end, from the last checkpoint where there is one."""
    from transformers.trainer_utils import get_last_checkpoint

    folder = Path(trainer.args.output_dir)
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    trainer.add_callback(Log(log, stage, bar))
    trainer.train(resume_from_checkpoint=last)
    torch.cuda.empty_cache() if torch.cuda.is_available() else None
