"""TRL's trainers as LeReT uses them: context-distillation SFT, then preference optimisation.

Prompt and completion come as token ids, tokenised as in generation, so that a policy is trained on
exactly the tokens that it is asked with.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import gcd
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset, load_from_disk
from torch import Tensor
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.core.progress import Progress, first_process
from lmtools.core.seeds import derive
from lmtools.leret.processes import wait_for_everyone
from lmtools.leret.prompts import training_tokens
from lmtools.leret.recipe import PreferenceSettings, SftSettings, TrainSettings

# The preference loss in which LeReT differs from TRL, and log-probabilities without the memory of all logits.


def ipo_loss(delta: Tensor, beta: float) -> Tensor:
    """Identity preference optimisation (Azar et al. 2023, eq. 17) on *summed* log-probabilities, as in LeReT.

    ``(delta - 1 / (2 beta))^2`` with
    ``delta = [log pi(y_w|x) - log ref(y_w|x)] - [log pi(y_l|x) - log ref(y_l|x)]``.

    TRL's ``ipo`` divides each log-ratio by its completion's length first, so that beta does not carry over.

    Args:
        delta: (pairs,) in nats.
        beta: regularisation, > 0; the target margin is ``1 / (2 beta)`` nats.

    Returns:
        (pairs,) losses.

    >>> import torch
    >>> ipo_loss(torch.tensor([5.0, 0.0]), beta=0.1)
    tensor([ 0., 25.])
    """
    return (delta - 1 / (2 * beta)) ** 2


def completion_log_probs(model: Any, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
    """Log-probabilities of the labelled tokens; only positions from the first label on meet the vocabulary.

    TRL scores every position where it has no Triton kernel, so on a processor: a third of a training step.

    Args:
        model: a causal language model; its forward is called as it is, so wrappers of it see the call.
        input_ids, attention_mask: (batch, length), padded on the right.
        labels: (batch, length), -100 where a token is not scored.

    Returns:
        (batch, positions) in nats, 0 where there is no label.
    """
    labelled = (labels != -100).any(dim=0).nonzero()
    keep = labels.size(1) - int(labelled[0]) + 1 if len(labelled) else 2
    logits = model(
        input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=keep
    ).logits
    targets = labels[:, 1 - keep :]
    scored = targets != -100
    chosen = logits[:, :-1].float().log_softmax(dim=-1).gather(-1, targets.clamp(min=0).unsqueeze(-1))
    values: Tensor = chosen.squeeze(-1).masked_fill(~scored, 0.0)
    return values


# TRL's trainers, changed only where LeReT or a processor needs it: the summed IPO loss, token ids that are
# ours already, and no scoring of prompt positions where TRL has no GPU kernel to leave them out.


class ByLength(Sampler[int]):
    """Examples of like length together, in an order that follows from the epoch: resumed, it is the same.

    transformers' own draws from the global generator, which a resumed process has used differently.

    Args:
        lengths: of the examples, in tokens.
        together: examples in one optimiser step.
        epoch: the epoch that begins when the sampler is iterated over.
    """

    def __init__(self, lengths: list[int], together: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.together, self.seed, self.epoch = lengths, together, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive(self.seed, "epoch", self.epoch()))
        return iter(get_length_grouped_indices(self.lengths, self.together, generator=generator))


class CompletionSftTrainer(SFTTrainer):  # type: ignore[misc]  # TRL has no types here
    """SFT by length; on a processor its loss meets the vocabulary only from the first completion token on."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> ByLength:
        lengths = [len(ids) for ids in (train_dataset or self.train_dataset)["input_ids"]]
        together = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return ByLength(lengths, together, self.args.seed, lambda: int(self.state.epoch or 0))

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Any:
        """The negative log-likelihood of the completions: TRL's on a GPU, and its equal on a processor."""
        if return_outputs or inputs["input_ids"].device.type != "cpu":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        labels = inputs["labels"]
        total = -completion_log_probs(model, inputs["input_ids"], inputs["attention_mask"], labels).sum()
        if num_items_in_batch is None:
            return total / (labels[:, 1:] != -100).sum().clamp(min=1)
        # The count is of the tokens on every process, and gradients are averaged over processes.
        every = self.args.average_tokens_across_devices
        return total * (self.accelerator.num_processes if every else 1) / num_items_in_batch


class PreferenceTrainer(DPOTrainer):  # type: ignore[misc]
    """TRL's DPO trainer on token ids that are ours already."""

    def _prepare_dataset(self, dataset: Dataset, *args: Any, **kwargs: Any) -> Dataset:
        return dataset


class SummedIpoTrainer(PreferenceTrainer):
    """IPO on summed log-probabilities, with the reference's log-probabilities computed beforehand."""

    def compute_ref_log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """(chosen, rejected) log-probabilities under the model as it is before training, (pairs,) each."""
        with torch.no_grad(), self.accelerator.autocast():
            return self._log_probs(model, inputs).chunk(2)

    def _log_probs(self, model: Any, inputs: dict[str, Any]) -> Any:
        """Summed log-probabilities of the completions, chosen first: (2 x pairs,)."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        labels = ids.masked_fill(inputs["completion_mask"] == 0, -100)
        if ids.device.type == "cpu":
            return completion_log_probs(model, ids, mask, labels).sum(dim=1)
        outputs = model(
            input_ids=ids, attention_mask=mask, use_cache=False, labels=labels, fused_lm_head=True
        )
        return outputs.log_probs[:, 1 - ids.size(1) :].sum(dim=1)

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        chosen, rejected = self._log_probs(model, inputs).chunk(2)
        delta = (chosen - inputs["ref_chosen_logps"]) - (rejected - inputs["ref_rejected_logps"])
        mode = "train" if self.model.training else "eval"
        gathered = self.accelerator.gather_for_metrics(delta.detach())
        self._metrics[mode]["rewards/margins"].append(gathered.mean().item())
        self._metrics[mode]["rewards/accuracies"].append((gathered > 0).float().mean().item())
        loss = ipo_loss(delta, self.beta).mean()
        return (loss, {"delta": delta}) if return_outputs else loss


Mixed = Literal["bf16", "fp16"]
LogCallback = Callable[[Mapping[str, Any], int], None]
"""What is given a trainer's figures, and the step that they are of."""


class Log(TrainerCallback):  # type: ignore[misc]
    """Advances a progress bar, and keeps the trainer's figures (loss, learning rate ...) in a JSONL file.

    The file is the trainer's own history, which its checkpoints carry: a resumed training repeats no line.
    ``tell`` is given them as they come; after a kill, those since the last checkpoint come twice.
    """

    def __init__(self, path: Path, bar: Progress, tell: LogCallback) -> None:
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


def run_trainer(
    trainer: Any, log: Path, bar: Progress, tell: LogCallback = lambda figures, step: None
) -> None:
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
