"""The whole way with the built-in model on a handful of the bundled questions, and under a real launcher."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_world import write_recipe

from lmtools.cli.app import run
from lmtools.core.files import bundled

SMALL = {
    "data.train_limit": 12,
    "data.test_limit": 3,
    "hop.passage_words": 12,
    "hop.max_query_tokens": 24,
    "explore.later": "[question+phrase, phrase, question]",
    "train.gradient_accumulation": 1,
    "train.sft.batch_size": 4,
    "train.sft.epochs": 3,
    "train.sft.warmup_steps": 2,
    "train.save_steps": 1,  # the loss is logged as often
    "train.preference.total_pairs": 4,
    "eval.resamples": 100,
}


@pytest.mark.slow
@pytest.mark.skipif(not bundled("data", "atlas", "corpus.jsonl").exists(), reason="needs the bundled data")
def test_train_and_search_with_the_built_in_model(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    settings = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]
    assert run(["leret", "train", "--recipe", "leret/quickstart", "--out", "run", "--json", *settings]) == 0
    rows = {row["name"]: row["metrics"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert set(rows) == {"question-as-query", "zero-shot base", "SFT", "SFT + preference"}
    assert all(0 <= metrics["recall@hop2"]["value"] <= 1 for metrics in rows.values())
    log = (tmp_path / "run/iterations/1/sft.log.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, log) if "loss" in row]
    epoch = len(losses) // 3
    assert epoch >= 4
    assert sum(losses[-epoch:]) < 0.8 * sum(losses[:epoch])
    assert run(["leret", "search", "Which river flows through Paris?", "--policy", "run", "--json"]) == 0
    hops = json.loads(capsys.readouterr().out)["hops"]
    assert len(hops) == 2
    assert len(hops[0]["passages"]) == 3


@pytest.mark.slow
def test_accelerate_launches_it(tmp_path, tiny_llama):
    """The launcher itself, with two processes; what they do is tested in test_processes."""
    recipe = write_recipe(tmp_path / "world", tiny_llama, {"eval.policies": ["question", "trained"]})
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    launch = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]
    train = ["lmtools", "leret", "train", "--recipe", str(recipe), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", *launch, "-m", *train],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["run"] == "runs/leret-train"
    history = (tmp_path / "runs/leret-train/iterations/1/sft.log.jsonl").read_text().splitlines()
    assert json.loads(history[-1])["step"] == 3  # 10 examples, two at a time in each of two processes
