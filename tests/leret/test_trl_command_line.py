"""A run's `sft.jsonl` and `preferences.jsonl` go into `trl sft` and `trl dpo` as they are."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset
from small_world import write_recipe

from lmtools.cli.app import run
from lmtools.leret.prompts import training_tokens
from lmtools.models.load import load_tokenizer
from lmtools.models.spec import ModelSpec

ONE_STEP = "--max_steps 1 --per_device_train_batch_size 2 --use_cpu --report_to none --save_strategy no"


@pytest.fixture(scope="module")
def explored(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("explored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        recipe = write_recipe(folder / "world", tiny_llama)
        assert run(["leret", "explore", "--recipe", str(recipe), "--out", str(folder / "run")]) == 0
    return folder / "run"


def commands(card: str) -> list[str]:
    return [line for line in card.splitlines() if line.startswith("trl ")]


@pytest.mark.parametrize(("place", "loss"), [(0, "train_loss"), (1, "rewards/margins")], ids=["sft", "dpo"])
def test_one_step_of_the_command_on_the_card(explored, tiny_llama, tmp_path, place, loss):
    line = commands((explored / "README.md").read_text())[place]
    names = {"BASE": str(tiny_llama), "DIR": str(explored)}
    words = [names.get(word, word) for word in shlex.split(f"{line} {ONE_STEP}")]
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
        "OMP_NUM_THREADS": "1",
    }
    trl = Path(sys.executable).with_name(words[0])
    done = subprocess.run([trl, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"'{loss}'" in done.stdout + done.stderr
    [made] = tmp_path.glob("*-policy")
    assert (made / "adapter_model.safetensors").is_file()


def test_the_run_directory_is_a_data_set_of_both_files(explored, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name, columns in {
        "sft": ["completion", "prompt"],
        "preferences": ["chosen", "prompt", "rejected"],
    }.items():
        loaded = load_dataset(str(explored), name, split="train", cache_dir=str(tmp_path))
        lines = [json.loads(line) for line in (explored / f"{name}.jsonl").open(encoding="utf-8")]
        assert sorted(loaded.column_names) == columns
        assert list(loaded) == lines


def test_trl_makes_the_same_tokens_of_them_as_our_own_training(explored, tiny_llama, tmp_path):
    """As TRL does it: the end of turn added to the completion, both tokenised apart, nothing put in front."""
    from trl import SFTConfig, SFTTrainer

    loaded = load_dataset(str(explored), "sft", split="train", cache_dir=str(tmp_path))
    arguments = SFTConfig(output_dir=str(tmp_path / "out"), use_cpu=True, bf16=False, report_to="none")
    trainer = SFTTrainer(model=str(tiny_llama), args=arguments, train_dataset=loaded)
    tokenizer = load_tokenizer(ModelSpec(name=str(tiny_llama)))
    for theirs, row in zip(trainer.train_dataset, loaded, strict=True):
        prompt, completion = training_tokens(tokenizer, row["prompt"], row["completion"])
        assert theirs["input_ids"] == prompt + completion


def test_a_file_that_holds_nothing_is_no_part_of_the_data_set(tiny_llama, tmp_path):
    # all queries alike: nothing is better than anything
    changes = {"explore.first": ["question"], "explore.later": ["question"]}
    recipe = write_recipe(tmp_path / "world", tiny_llama, changes)
    assert run(["leret", "explore", "--recipe", str(recipe), "--out", str(tmp_path / "run")]) == 0
    assert not (tmp_path / "run" / "preferences.jsonl").read_text()
    card = (tmp_path / "run" / "README.md").read_text()
    assert [line.split()[1] for line in commands(card)] == ["sft"]
    assert "preferences" not in card
