"""`leret explore` and `leret train` killed with SIGKILL end, resumed, in the same bytes as if left alone."""

import json
import random
import time
from pathlib import Path

import pytest
from apart import command, fork_server, kill_when

CHANGES = {
    "train.save_steps": 1,
    "train.sft.epochs": 2,
    "train.lora.dropout": 0.1,  # so that the random state has to be resumed as well
    "explore.chunk": 1,
    "explore.first": ["question", "zero-shot", "few-shot", "temperature"],
    "explore.bootstrap_questions": 2,
    "explore.selection_questions": 2,
    "explore.few_shot_candidates": 2,
    "explore.few_shot_prompts": 1,
}
FILES = ("samples.jsonl", "sft.jsonl", "preferences.jsonl")


@pytest.fixture
def server(monkeypatch):
    return fork_server(monkeypatch)


def finish(server, arguments, log):
    process = command(server, arguments, log)
    process.join()
    assert process.exitcode == 0, log.read_text()


def same(name, a: Path, b: Path) -> bool:
    return (a / name).read_bytes() == (b / name).read_bytes()


def test_explore_killed_at_random_moments(server, tiny_recipe, tmp_path):
    common = ["leret", "explore", "--recipe", str(tiny_recipe(CHANGES)), "--resume", "--out"]
    alone, killed, log = tmp_path / "alone", tmp_path / "killed", tmp_path / "log"
    start = time.monotonic()
    finish(server, [*common, str(alone)], log)
    whole = time.monotonic() - start
    chance, kills = random.Random(0), 0
    for _ in range(4):
        end = time.monotonic() + chance.uniform(0.1, 0.6) * whole
        kills += kill_when(
            command(server, [*common, str(killed)], log), lambda end=end: time.monotonic() > end
        )
    # once in the middle of the work for sure, wherever chance struck
    journal = killed / "journal.jsonl"
    size = journal.stat().st_size if journal.exists() else 0
    process = command(server, [*common, str(killed)], log)
    kills += kill_when(process, lambda: journal.exists() and journal.stat().st_size > size)
    finish(server, [*common, str(killed)], log)
    assert kills > 0
    assert all(same(name, alone, killed) for name in (*FILES, "journal.jsonl", "prompts.json"))


def test_train_killed_in_every_stage(server, tiny_recipe, tmp_path):
    common = ["leret", "train", "--recipe", str(tiny_recipe(CHANGES)), "--resume", "--out"]
    alone, killed, log = tmp_path / "alone", tmp_path / "killed", tmp_path / "log"
    finish(server, [*common, str(alone)], log)
    folder = killed / "iterations" / "1"
    moments = [
        folder / "preferences.jsonl",  # written, and samples.jsonl, which says that all is written, is not
        folder / "sft.checkpoints/checkpoint-2/adapter_config.json",  # in the middle of a checkpoint
        folder / "sft.checkpoints/checkpoint-7",  # in the second epoch
        folder / "policy.checkpoints/checkpoint-3/optimizer.pt",  # before its last file
        folder / "policy",  # trained, and not yet the run's own
    ]
    for file in moments:
        assert kill_when(command(server, [*common, str(killed)], log), file.exists), (
            f"{file}\n{log.read_text()}"
        )
    finish(server, [*common, str(killed)], log)
    assert all(same(name, alone, killed) for name in (*FILES, "prompts.json"))
    for checkpoint in ("iterations/1/sft", "iterations/1/policy", "policy"):
        assert same(f"{checkpoint}/adapter_model.safetensors", alone, killed), checkpoint
    for stage in ("sft", "policy"):
        assert losses(alone, stage) == losses(killed, stage)
    assert rows(alone) == rows(killed)
    assert not [path for path in killed.rglob("*") if path.name.endswith((".part", ".checkpoints"))]


def losses(run, stage):
    lines = (run / "iterations/1" / f"{stage}.log.jsonl").read_text().splitlines()
    return [(row["step"], row["loss"]) for row in map(json.loads, lines) if "loss" in row]


def rows(run):
    return json.loads((run / "metrics.json").read_text())["rows"]
