"""Training that is interrupted at any step and resumed ends in exactly the weights of one that was not."""

import pytest
import torch
from transformers import TrainerCallback, set_seed

from lmtools.core.progress import progress
from lmtools.leret.recipe import TrainSettings
from lmtools.leret.train import trainable
from lmtools.leret.trainer import ByLength, last_checkpoint, preference_trainer, run_trainer, sft_trainer
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

ROWS = [
    {
        "prompt": "word " * (n % 4 + 1),
        "completion": f"river {n}",
        "chosen": f"river {n}",
        "rejected": f"no {n}",
    }
    for n in range(7)
]


def settings(full):
    stage = {"batch_size": 2, "epochs": 2, "warmup_steps": 0, "learning_rate": 1e-2}
    return TrainSettings.model_validate(
        {"save_steps": 1, "full": full, "lora": {"r": 4, "dropout": 0.2}, "sft": stage, "preference": stage}
    )


class Interrupt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_save(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


def train(build, spec, stated, folder, stop=None):
    set_seed(3)
    loaded = load(spec)
    model = trainable(loaded, stated, adapter=spec.adapter is not None)
    trainer = build(model, loaded.tokenizer, ROWS, stated, folder, 3)
    if stop:
        trainer.add_callback(Interrupt(stop))
    with progress(8, "training") as bar:
        run_trainer(trainer, folder.with_suffix(".jsonl"), bar)
    weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
    history = [(row["step"], row["loss"]) for row in trainer.state.log_history if "loss" in row]
    return {name: value.clone() for name, value in weights.items()}, history


@pytest.mark.parametrize(
    ("build", "start"),
    [
        (sft_trainer, "new adapter"),
        (sft_trainer, "full"),
        (preference_trainer, "new adapter"),
        (preference_trainer, "trained adapter"),
    ],
)
def test_resumed_training_is_the_uninterrupted_one(tiny_llama, tmp_path, build, start):
    stated = settings(start == "full")
    spec = ModelSpec(name=str(tiny_llama), device="cpu")
    if start == "trained adapter":
        adapter = trainable(load(spec), stated, adapter=False)
        torch.nn.init.normal_(next(p for n, p in adapter.named_parameters() if "lora_B" in n), std=0.1)
        adapter.save_pretrained(tmp_path / "adapter")
        spec = spec.model_copy(update={"adapter": str(tmp_path / "adapter")})
    whole, history = train(build, spec, stated, tmp_path / "whole")
    stop = 6  # in the second of two epochs
    with pytest.raises(KeyboardInterrupt):
        train(build, spec, stated, tmp_path / "stopped", stop)
    resumed, again = train(build, spec, stated, tmp_path / "stopped")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())
    assert again == history


def test_a_torn_checkpoint_is_passed_over(tmp_path):
    assert last_checkpoint(tmp_path / "none") is None
    for step, state in ((9, "{}"), (10, '{"global_step": 10}'), (11, '{"global_st'), (12, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path).name == "checkpoint-10"


def test_by_length_depends_on_the_epoch_alone():
    lengths = [n % 13 for n in range(200)]
    orders = []
    for epoch in (0, 1, 0):
        torch.manual_seed(len(orders))
        orders.append(list(ByLength(lengths, 8, 5, lambda epoch=epoch: epoch)))
    assert orders[0] == orders[2] != orders[1]
    assert all(sorted(order) == list(range(200)) for order in orders)
    parts = [[lengths[index] for index in orders[0][at : at + 8]] for at in range(0, 200, 8)]
    spread = [max(part) - min(part) for part in parts]
    assert sum(spread) / len(spread) < 3  # of 12
