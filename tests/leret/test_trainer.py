"""The preference losses against full forward passes by hand and TRL's own, and our files in plain TRL."""

import json
import math
from typing import get_args

import pytest
import torch

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.leret.prompts import training_tokens
from lmtools.leret.recipe import LossName, TrainSettings
from lmtools.leret.train import load_trainable, trainable
from lmtools.leret.trainer import CompletionSftTrainer, SummedIpoTrainer, preference_trainer, sft_trainer
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

PROMPT = "<|im_start|>user\nQuestion: Which river?<|im_end|>\n<|im_start|>assistant\n"
PAIRS = [
    {"prompt": PROMPT, "chosen": "Seine", "rejected": "which of the rivers"},
    {"prompt": PROMPT + "Paris", "chosen": "capital of France", "rejected": "x"},
    {"prompt": "short", "chosen": "The Seine flows", "rejected": "river river"},
]
SFT = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in PAIRS]


def settings(loss="ipo", *, full=False, **preference):
    preference = {"loss": loss, "batch_size": 3, "warmup_steps": 0, "learning_rate": 1e-3, **preference}
    return TrainSettings.model_validate(
        {
            "full": full,
            "lora": {"r": 4},
            "preference": preference,
            "sft": {"batch_size": 2, "warmup_steps": 0},
        }
    )


@pytest.fixture(params=["full", "new adapter", "trained adapter"])
def policy(request, tiny_llama, tmp_path):
    """(model ready to train, its tokenizer, whether all weights are trained)."""
    spec = ModelSpec(name=str(tiny_llama), device="cpu")
    if request.param == "trained adapter":
        first = trainable(load(spec), settings(), adapter=False)
        shake(first)
        first.save_pretrained(tmp_path / "adapter")
        spec = spec.model_copy(update={"adapter": str(tmp_path / "adapter")})
    loaded, full = load(spec), request.param == "full"
    return trainable(loaded, settings(full=full), adapter=spec.adapter is not None), loaded.tokenizer, full


def shake(model):
    """Move every trained weight, so that the policy is no longer the reference."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def logprob(model, tokenizer, prompt, completion):
    """(sum of the completion's log-probabilities, its number of tokens), by one sequence's forward pass."""
    head, tail = training_tokens(tokenizer, prompt, completion)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
    return logits.log_softmax(-1).gather(1, torch.tensor(tail)[:, None]).sum().item(), len(tail)


def scored(model, tokenizer):
    model.eval()
    return [
        [logprob(model, tokenizer, pair["prompt"], pair[side]) for side in ("chosen", "rejected")]
        for pair in PAIRS
    ]


def first_loss(trainer):
    [batch] = list(trainer.get_train_dataloader())
    trainer.model.eval()
    return trainer.compute_loss(trainer.model, batch).item()


def by_hand(policy, reference, loss, beta=0.05):
    values = []
    for (chosen, rejected), (ref_chosen, ref_rejected) in zip(policy, reference, strict=True):
        better, worse = chosen[0] - ref_chosen[0], rejected[0] - ref_rejected[0]
        if loss == "ipo-mean":
            better, worse = better / chosen[1], worse / rejected[1]
        margin = better - worse
        values.append(
            -math.log(1 / (1 + math.exp(-beta * margin)))
            if loss == "sigmoid"
            else (margin - 1 / (2 * beta)) ** 2
        )
    return sum(values) / len(values)


@pytest.mark.parametrize("loss", ["ipo", "ipo-mean", "sigmoid"])
def test_the_loss_is_the_formula_and_the_reference_is_the_start(policy, tmp_path, loss):
    model, tokenizer, full = policy
    trainer = preference_trainer(model, tokenizer, PAIRS, settings(loss, full=full), tmp_path, 0)
    reference = scored(model, tokenizer)
    assert first_loss(trainer) == pytest.approx(by_hand(reference, reference, loss), rel=1e-5)
    shake(trainer.model)
    moved = scored(trainer.model, tokenizer)
    expected = by_hand(moved, reference, loss)
    assert first_loss(trainer) == pytest.approx(expected, rel=1e-4)
    others = [by_hand(moved, reference, other) for other in ("ipo", "ipo-mean", "sigmoid") if other != loss]
    assert all(abs(expected - other) > 1e-2 * expected for other in others)


@pytest.mark.parametrize("mixed", [None, "bf16"])
def test_summed_ipo_starts_at_the_squared_margin(policy, tmp_path, mixed):
    model, tokenizer, full = policy
    stated = settings(full=full, epochs=1)
    trainer = preference_trainer(model, tokenizer, PAIRS, stated, tmp_path, 0, mixed)
    assert isinstance(trainer, SummedIpoTrainer)
    assert trainer.accelerator.mixed_precision == (mixed or "no")
    # (0 - 1 / (2 * 0.05))^2, also in bfloat16: policy and reference are computed alike
    assert trainer.train().training_loss == pytest.approx(100, rel=1e-5 if mixed is None else 1e-3)


@pytest.mark.parametrize("loss", get_args(LossName))
def test_every_loss_of_the_recipe_takes_a_step(tiny_llama, tmp_path, loss):
    loaded = load(ModelSpec(name=str(tiny_llama), device="cpu"))
    model = trainable(loaded, settings(loss), adapter=False)
    trainer = preference_trainer(model, loaded.tokenizer, PAIRS, settings(loss), tmp_path, 0)
    before = {name: value.clone() for name, value in model.named_parameters() if value.requires_grad}
    result = trainer.train()
    assert math.isfinite(result.training_loss)
    after = dict(trainer.accelerator.unwrap_model(trainer.model).named_parameters())
    assert any(not torch.equal(value, after[name]) for name, value in before.items())
    assert all(not parameter.requires_grad or "lora_" in name for name, parameter in after.items())


def test_a_preference_step_makes_the_chosen_likelier(policy, tmp_path):
    model, tokenizer, full = policy
    stated = settings(full=full, epochs=10, learning_rate=1e-4 if full else 3e-3)
    trainer = preference_trainer(model, tokenizer, PAIRS, stated, tmp_path, 0)
    before = scored(trainer.model, tokenizer)
    trainer.model.train()
    trainer.train()
    after = scored(trainer.model, tokenizer)
    margins = [[chosen[0] - rejected[0] for chosen, rejected in found] for found in (before, after)]
    assert sum(margins[1]) > sum(margins[0]) + 1


@pytest.mark.parametrize("full", [True, False])
def test_gradient_checkpointing_trains_all_the_same(tiny_llama, tmp_path, full):
    losses = []
    for checkpointing in (False, True):
        loaded = load(ModelSpec(name=str(tiny_llama), device="cpu"))
        stated = settings(full=full).model_copy(update={"gradient_checkpointing": checkpointing})
        torch.manual_seed(0)
        stated = stated.model_copy(update={"lora": stated.lora.model_copy(update={"dropout": 0.0})})
        model = trainable(loaded, stated, adapter=False)
        trainer = sft_trainer(model, loaded.tokenizer, SFT * 4, stated, tmp_path / str(checkpointing), 0)
        losses.append(trainer.train().training_loss)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("build", [sft_trainer, preference_trainer])
def test_an_example_that_is_too_long_is_never_cut(tiny_llama, tmp_path, build):
    loaded = load(ModelSpec(name=str(tiny_llama), device="cpu"))
    stated = settings().model_copy(update={"max_length": 20})
    with pytest.raises(DataError, match=r"over train.max_length = 20") as error:
        build(
            loaded.model, loaded.tokenizer, PAIRS if build is preference_trainer else SFT, stated, tmp_path, 0
        )
    assert "train.max_length=" in error.value.fix


def test_full_training_of_a_bfloat16_model_keeps_small_updates(tiny_llama, tmp_path):
    """At the paper's learning rate an update is far below what bfloat16 weights can hold."""
    spec = ModelSpec(name=str(tiny_llama), device="cpu", dtype="bfloat16")
    stated = settings(full=True, learning_rate=1e-7)
    loaded = load_trainable(spec, stated)
    model = trainable(loaded, stated, adapter=False)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = preference_trainer(model, loaded.tokenizer, PAIRS, stated, tmp_path, 0)
    trainer.train()
    changed = [
        name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])
    ]
    assert len(changed) == len(before)


def test_full_training_on_top_of_an_adapter_merges_it(tiny_llama, tmp_path):
    spec = ModelSpec(name=str(tiny_llama), device="cpu")
    adapted = trainable(load(spec), settings(), adapter=False)
    shake(adapted)
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load(spec.model_copy(update={"adapter": str(tmp_path / "adapter")}))
    expected = scored(loaded.model, loaded.tokenizer)
    model = trainable(loaded, settings(full=True), adapter=True)
    assert not hasattr(model, "peft_config")
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert [v for pair in scored(model, loaded.tokenizer) for v in pair] == [
        pytest.approx(value, rel=1e-4) for pair in expected for value in pair
    ]


@pytest.mark.parametrize("accumulation", [1, 2])
def test_sft_takes_the_steps_of_plain_trl(tiny_llama, tmp_path, accumulation):
    from trl import SFTTrainer

    class Plain(SFTTrainer):
        _get_train_sampler = CompletionSftTrainer._get_train_sampler

    stated = settings(full=True).model_copy(update={"gradient_accumulation": accumulation})
    found = []
    for plain in (False, True):
        loaded = load(ModelSpec(name=str(tiny_llama), device="cpu"))
        model = trainable(loaded, stated, adapter=False)
        trainer = sft_trainer(model, loaded.tokenizer, SFT * 2, stated, tmp_path / str(plain), 0)
        if plain:
            trainer = Plain(
                model=model,
                args=trainer.args,
                train_dataset=trainer.train_dataset,
                processing_class=loaded.tokenizer,
            )
        loss = trainer.train().training_loss
        found.append(
            (loss, {name: value.detach().clone() for name, value in trainer.model.named_parameters()})
        )
    (ours, weights), (theirs, expected) = found
    assert ours == pytest.approx(theirs, rel=1e-5)
    assert all(torch.allclose(value, expected[name], atol=1e-4) for name, value in weights.items())


# --- the files in TRL as it is ------------------------------------------------------------------------------


def test_the_files_load_in_plain_trl(tiny_llama, tmp_path):
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    strange = {"prompt": "title\u2028line \x85 \u00e9", "completion": "a\u2028b"}
    write_jsonl(tmp_path / "sft.jsonl", [*SFT, strange])
    write_jsonl(tmp_path / "preferences.jsonl", PAIRS)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    common = {
        "max_steps": 1,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "report_to": "none",
        "bf16": False,
    }
    for name, trainer_class, config_class in (
        ("sft.jsonl", SFTTrainer, SFTConfig),
        ("preferences.jsonl", DPOTrainer, DPOConfig),
    ):
        dataset = load_dataset(
            "json", data_files=str(tmp_path / name), split="train", cache_dir=tmp_path / "cache"
        )
        assert dataset.to_list() == [
            json.loads(line) for line in (tmp_path / name).read_text().split("\n")[:-1]
        ]
        trainer = trainer_class(
            model=AutoModelForCausalLM.from_pretrained(tiny_llama),
            args=config_class(output_dir=str(tmp_path / "out"), **common),
            train_dataset=dataset,
            processing_class=tokenizer,
        )
        assert math.isfinite(trainer.train().training_loss)
