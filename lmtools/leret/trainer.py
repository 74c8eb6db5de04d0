"""Training a policy with TRL: context-distillation SFT, then preference optimisation, token for token."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset, load_from_disk
from transformers import PrinterCallback, TrainerCallback
from trl import DPOConfig, SFTConfig

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.core.progress import Progress, first_process
from lmtools.leret.processes import wait_for_everyone
from lmtools.leret.prompts import training_tokens
from lmtools.leret.recipe import PreferenceSettings, SftSettings, TrainSettings
from lmtools.leret.trl_trainers import CompletionSftTrainer, PreferenceTrainer, SummedIpoTrainer

Mixed = Literal["bf16", "fp16"]
Tell = Callable[[Mapping[str, Any], int], None]
"""What is given a trainer's figures, and the step that they are of."""


class Log(TrainerCallback):  # type: ignore[misc]
    """Advances a progress bar, and keeps the trainer's figures (loss, learning rate ...) in a JSONL file.

    The file is the trainer's own history, which its checkpoints carry: a resumed training repeats no line.
    ``tell`` is given them as they come; after a kill, those since the last checkpoint come twice.
    """

    def __init__(self, path: Path, bar: Progress, tell: Tell) -> None:
        self.path, self.bar, self.tell = path, bar, tell

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Steps that a checkpoint brings along are done already."""
        self.bar.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One optimiser step is done."""
        self.bar.advance()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Figures since the last time."""
        self.tell(logs or {}, state.global_step)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint was written."""
        if first_process():
            write_jsonl(self.path, state.log_history)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last step is done."""
        self.on_save(args, state, control)


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


def shared(dataset: Dataset, folder: Path) -> Dataset:
    """The data set as files under ``folder``, one copy for all processes of a run.

    TRL writes the reference's log-probabilities beside them, for the other processes and for a resumption.
    """
    if first_process():
        dataset.save_to_disk(str(folder))
    wait_for_everyone()
    return load_from_disk(str(folder))


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
    settings: TrainSettings,
    stage: SftSettings | PreferenceSettings,
    folder: Path,
    seed: int,
    device: str,
    mixed: Mixed | None,
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
        "bf16": mixed == "bf16",
        "fp16": mixed == "fp16",
        "logging_steps": gcd(10, settings.save_steps),  # so that no logged mean reaches over a checkpoint
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
    mixed: Mixed | None = None,
) -> CompletionSftTrainer:
    """The trainer of the SFT stage; ``model`` carries its adapter already.

    Args:
        mixed: the precision of products where weights are float32.
    """
    arguments = common_arguments(settings, settings.sft, folder, seed, model.device.type, mixed)
    return CompletionSftTrainer(
        model=model,
        args=SFTConfig(**arguments, completion_only_loss=True),
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
    mixed: Mixed | None = None,
) -> PreferenceTrainer:
    """The trainer of the preference stage; the model as it is now is the reference.

    Args:
        mixed: the precision of products where weights are float32.
    """
    preference = settings.preference
    arguments = common_arguments(settings, preference, folder, seed, model.device.type, mixed)
    loss = {"ipo-mean": "ipo", "ipo": "sigmoid"}.get(preference.loss, preference.loss)
    kind = SummedIpoTrainer if preference.loss == "ipo" else PreferenceTrainer
    trainer = kind(
        model=model,
        args=DPOConfig(**arguments, beta=preference.beta, loss_type=[loss], precompute_ref_log_probs=True),
        train_dataset=shared(preference_dataset(rows, tokenizer, settings.max_length), folder / "pairs"),
        processing_class=tokenizer,
    )
    # With the reference's log-probabilities at hand its adapter is of no use, and beside it in a checkpoint
    # transformers overlooks the policy's own when it resumes.
    if "ref" in getattr(trainer.model, "peft_config", {}):
        trainer.model.delete_adapter("ref")
    return trainer


def run_trainer(trainer: Any, log: Path, bar: Progress, tell: Tell = lambda figures, step: None) -> None:
    """Train to the end, from the last whole checkpoint where there is one."""
    last = last_checkpoint(Path(trainer.args.output_dir))
    trainer.add_callback(Log(log, bar, tell))
    trainer.remove_callback(PrinterCallback)  # it writes to stdout, which is the command's
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that was written to its end; its state is the last file the trainer writes."""
    for checkpoint in sorted(folder.glob("checkpoint-*"), key=_step, reverse=True):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        return checkpoint
    return None


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
