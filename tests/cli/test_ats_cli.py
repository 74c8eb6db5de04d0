"""``lmtools ats``: plans, runs, and what each command refuses."""

import json
from pathlib import Path

import pytest
from tiny_fit import instructions

from lmtools.cli.app import run


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small(empty_folder, tiny_llama):
    """Options of a fit that takes seconds."""
    source = instructions(empty_folder / "instructions.jsonl")
    settings = [f"data.train={source}", "data.limit=null", "data.layouts=[chat]", "compare=[Platt, scalar]"]
    settings += ["head.kind=linear", "train.epochs=1", "resamples=100", "model.device=cpu"]
    return ["--model", str(tiny_llama), *(word for one in settings for word in ("--set", one))]


def answer(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_plan_shows_what_is_learnt_and_loads_no_weights(small, capsys, monkeypatch):
    monkeypatch.setattr("lmtools.models.load.load", lambda *_, **__: pytest.fail("weights were loaded"))
    assert run(["ats", "fit", *small, "--dry-run"]) == 0
    told = capsys.readouterr().err
    assert "assistant\n[[" in told
    assert "<|im_end|>]]" in told
    assert "14 instructions make 14 sequences" in told
    assert run(["ats", "fit", *small, "--dry-run", "--json"]) == 0
    plan = answer(capsys)
    assert 0 < plan["response_tokens"] < plan["tokens"]
    assert plan["head_parameters"] == 33
    learnt = "".join(token["text"] for token in plan["example"] if token["response"])
    assert learnt.endswith("<|im_end|>")
    assert not list(plan["unchecked"])


def test_what_is_planned_is_what_is_kept(small, capsys):
    run(["ats", "fit", *small, "--dry-run", "--json"])
    plan = answer(capsys)
    assert run(["ats", "fit", *small, "--json"]) == 0
    told = capsys.readouterr()
    assert f"{plan['tokens']:,} tokens, {plan['response_tokens']:,} of them" in told.err


def test_a_fit_prints_its_figures_and_what_to_do_next(small, capsys):
    assert run(["ats", "fit", *small, "--json"]) == 0
    told = capsys.readouterr()
    value = json.loads(told.out)
    assert [row["name"] for row in value["rows"]] == [
        "uncalibrated",
        "scalar (selective smoothing)",
        "Platt",
        "linear",
    ]
    assert value["run"] == "runs/ats-fit"
    assert "lmtools ats eval runs/ats-fit" in told.err
    assert run(["ats", "fit", *small, "--out", "runs/ats-fit"]) == 2
    assert "holds a finished run" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["eval", "export"])
def test_there_must_be_a_fitted_run(empty_folder, capsys, command):
    assert run(["ats", command]) == 2
    assert "lmtools ats fit" in capsys.readouterr().err
    (empty_folder / "mine").mkdir()
    assert run(["ats", command, "mine"]) == 2
    assert "mine: holds no fitted head" in capsys.readouterr().err


def test_the_last_fit_is_measured_with_its_model(small, tiny_llama, capsys):
    for out in ("runs/first", "runs/second"):
        assert run(["ats", "fit", *small, "--out", out]) == 0
    capsys.readouterr()
    task = ["--task", "atlas-short", "--set", "limit=3", "--set", "resamples=100"]
    assert run(["ats", "eval", *task, "--json"]) == 0
    value = answer(capsys)
    assert value["run"] == "runs/ats-eval"
    assert {"uncalibrated", "Platt", "linear"} <= {row["name"] for row in value["rows"]}
    inputs = json.loads(Path("runs/ats-eval/manifest.json").read_text())["inputs"]
    assert str(Path("runs/second/head").absolute()) in inputs
    assert str(tiny_llama) in inputs


def test_the_fit_inside_a_quickstart_is_found(small, capsys):
    assert run(["ats", "fit", *small, "--out", "runs/leret-quickstart/ats"]) == 0
    capsys.readouterr()
    assert run(["ats", "eval", "--task", "atlas-short", "--set", "limit=3", "--dry-run", "--json"]) == 0
    assert answer(capsys)
    assert run(["ats", "export", "--json"]) == 0
    assert answer(capsys)["run"] == "runs/leret-quickstart/ats"
    assert Path("runs/leret-quickstart/ats/vllm/config.json").is_file()


def test_faults_of_a_recipe_end_with_two(small, capsys):
    assert run(["ats", "fit", *small, "--set", "loss.name=hinge"]) == 2
    assert "loss.name" in capsys.readouterr().err
    assert run(["ats", "fit", *small, "--backend", "server"]) == 2
    assert "hidden states" in capsys.readouterr().err
