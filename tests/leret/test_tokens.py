"""Training text and inference text are the same, token for token, for any kind of tokenizer."""

import copy

import pytest
import torch
from tokenizers.processors import TemplateProcessing

from lmtools.generation.hf import HfGenerator
from lmtools.generation.protocol import Sampling
from lmtools.leret.policy import Policy, QueryRequest
from lmtools.leret.prompts import ZERO_SHOT, PassageText, encode, training_tokens
from lmtools.leret.recipe import TrainSettings
from lmtools.leret.train import trainable
from lmtools.leret.trainer import preference_trainer, sft_trainer
from lmtools.models.chat import end_of_turn, render
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec

KINDS = ("chat", "plain", "plain+bos", "chat+bos")
ASK = QueryRequest(ZERO_SHOT, "Which river flows through Paris?", ())
LATER = QueryRequest(ZERO_SHOT, ASK.question, (PassageText("Paris", "Paris is the capital of France."),))
SHORT = TrainSettings.model_validate(
    {
        "full": True,
        "sft": {"epochs": 60, "batch_size": 4, "learning_rate": 1e-2, "warmup_steps": 0},
        "preference": {"batch_size": 4, "warmup_steps": 0},
    }
)


@pytest.fixture(params=KINDS)
def loaded(request, tiny_llama):
    """The tiny model; its tokenizer has a chat template or none, and puts a token before text or none."""
    found = load(ModelSpec(name=str(tiny_llama), device="cpu"))
    tokenizer = copy.deepcopy(found.tokenizer)
    if "plain" in request.param:
        tokenizer.chat_template = None
        tokenizer.bos_token, tokenizer.eos_token = "<|im_start|>", "<|im_end|>"
    if "bos" in request.param:
        bos = (tokenizer.bos_token, tokenizer.bos_token_id)
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{bos[0]} $A", special_tokens=[bos]
        )
        assert tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return LoadedModel(found.model, tokenizer, found.identity, found.device)


def rows(loaded, *completions):
    policy = Policy(None, lambda messages: render(loaded.tokenizer, messages))
    asks = (ASK, LATER)
    return [
        {"prompt": policy.text(asks[n % 2]), "completion": completion}
        for n, completion in enumerate(completions)
    ]


def unpadded(batch, row, key):
    return batch[key][row][batch["attention_mask"][row] == 1].tolist()


def test_one_end_of_turn_and_no_second_beginning(loaded):
    tokenizer = loaded.tokenizer
    [row] = rows(loaded, "Seine river")
    prompt, completion = training_tokens(tokenizer, **row)
    [end] = encode(tokenizer, end_of_turn(tokenizer))
    assert completion.count(end) == 1
    assert completion[-1] == end
    assert completion[:-1] == encode(tokenizer, "Seine river")
    # what plain text would be given in front stands there once at most
    assert prompt[:2] != [tokenizer.bos_token_id] * 2
    assert tokenizer.decode(prompt + completion) == row["prompt"] + "Seine river" + end_of_turn(tokenizer)


def test_a_completion_that_ends_already_is_not_ended_twice(loaded):
    end = end_of_turn(loaded.tokenizer)
    assert training_tokens(loaded.tokenizer, "a", f"b{end}") == training_tokens(loaded.tokenizer, "a", "b")


def test_the_trainers_batches_hold_these_tokens_with_the_prompt_masked_out(loaded, tmp_path):
    examples = rows(loaded, "Seine river", "Paris", "the Seine", "x")
    expected = [training_tokens(loaded.tokenizer, **row) for row in examples]
    trainer = sft_trainer(loaded.model, loaded.tokenizer, examples, SHORT, tmp_path, 0)
    [batch] = list(trainer.get_train_dataloader())
    found = []
    for row, labels in enumerate(batch["labels"]):
        ids = unpadded(batch, row, "input_ids")
        taught = labels[batch["attention_mask"][row] == 1].tolist()
        prompt, completion = next(pair for pair in expected if pair[0] + pair[1] == ids)
        assert taught == [-100] * len(prompt) + completion
        assert (labels[batch["attention_mask"][row] == 0] == -100).all()
        found.append((prompt, completion))
    assert sorted(found) == sorted(expected)


def test_the_preference_batches_likewise(loaded, tmp_path):
    pairs = [
        {"prompt": row["prompt"], "chosen": row["completion"], "rejected": "a worse query"}
        for row in rows(loaded, "Seine river", "Paris")
    ]
    trainer = preference_trainer(loaded.model, loaded.tokenizer, pairs, SHORT, tmp_path, 0)
    [batch] = list(trainer.get_train_dataloader())
    sides = [
        training_tokens(loaded.tokenizer, pair["prompt"], pair[side])
        for side in ("chosen", "rejected")
        for pair in pairs
    ]
    found = []
    for row in range(4):
        mask = batch["completion_mask"][row][batch["attention_mask"][row] == 1].tolist()
        ids = unpadded(batch, row, "input_ids")
        found.append((ids[: mask.index(1)], ids[mask.index(1) :]))
        assert mask == sorted(mask)
    assert sorted(found) == sorted(sides)
    # chosen first, then rejected, in the same order of prompts
    assert [prompt for prompt, _ in found[:2]] == [prompt for prompt, _ in found[2:]]


def test_what_was_learnt_is_what_is_generated(loaded, tmp_path):
    """Overfitted on two examples, the model writes their very tokens, end of turn included, and stops."""
    examples = rows(loaded, "Seine river", "Paris source")
    model = trainable(loaded, SHORT, adapter=False)
    trainer = sft_trainer(model, loaded.tokenizer, examples, SHORT, tmp_path, 0)
    trainer.train()
    generator = HfGenerator.from_loaded(LoadedModel(model.eval(), loaded.tokenizer, "tiny", "cpu"))
    prompts = [row["prompt"] for row in examples]
    for row, [completion] in zip(examples, generator.generate(prompts, Sampling(max_tokens=20)), strict=True):
        prompt, expected = training_tokens(loaded.tokenizer, **row)
        assert list(completion.tokens) == expected
        assert completion.finish == "stop"
        assert completion.text == row["completion"]
        # and the probabilities of generation are those of training's forward pass
        ids = torch.tensor([prompt + expected])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits.log_softmax(-1)[0, len(prompt) - 1 : -1]
        by_hand = logprobs.gather(1, torch.tensor(expected)[:, None])[:, 0].tolist()
        assert completion.logprobs == pytest.approx(by_hand, abs=1e-4)
