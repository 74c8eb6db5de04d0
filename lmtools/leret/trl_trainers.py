"""TRL's trainers, changed only where LeReT or a processor needs it: the summed IPO loss, token ids that are
ours already, and no scoring of prompt positions where TRL has no GPU kernel to leave them out.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import DPOTrainer, SFTTrainer

from lmtools.core.seeds import derive
from lmtools.leret.losses import completion_log_probs, ipo_loss


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
        num_items_in_batch: "torch.Tensor | None" = None,
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
