"""``lmtools leret train | explore | eval | search`` from the shell's side: output, exit codes, dry runs."""

import json

import pytest
from small_world import write_recipe

from lmtools.cli.app import run

SHORT = "train.preference.enabled=false"


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """``shell("leret", "train", ...)``: (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def recipe(tmp_path, tiny_llama):
    return lambda **changes: write_recipe(
        tmp_path / "world", tiny_llama, {key.replace("__", "."): value for key, value in changes.items()}
    )


def test_train_then_eval_then_search(shell, recipe, tmp_path):
    file = recipe(train__preference__max_pairs=1)
    code, out, err = shell("leret", "train", "--recipe", file, "--json")
    assert code == 0, err
    trained = json.loads(out)  # one object and nothing else
    assert trained["run"] == "runs/leret-train"
    names = ["question-as-query", "zero-shot base", "SFT", "SFT + preference"]
    assert [row["name"] for row in trained["rows"]] == names
    assert set(trained["rows"][0]["metrics"]["recall@hop2"]) == {
        "value", "low", "high", "n", "method", "clusters",
    }  # fmt: skip
    assert "lmtools leret search" in err

    code, out, err = shell("leret", "eval", "--json")  # of the last run, with its own recipe
    assert code == 0, err
    assert json.loads(out)["rows"] == trained["rows"]
    assert json.loads(out)["run"] == "runs/leret-eval"

    code, out, err = shell("leret", "search", "Where was Anna Berg born?", "--json")
    assert code == 0, err
    hops = json.loads(out)["hops"]
    assert len(hops) == 2
    assert all(set(hop) == {"query", "passages"} for hop in hops)

    code, out, err = shell("leret", "search", "Where was Anna Berg born?", "--policy", "runs/leret-train")
    assert code == 0, err
    assert "hop 1" in out
    assert "hop 2" in out

    # a second training does not disturb the first, and a finished one is not trained again
    code, _, err = shell("leret", "train", "--recipe", file, "--out", "runs/leret-train")
    assert code == 2
    assert "--resume" in err
    code, out, _ = shell(
        "leret", "train", "--recipe", file, "--out", "runs/leret-train", "--resume", "--json"
    )
    assert code == 0
    assert json.loads(out)["rows"] == trained["rows"]

    # traces of one policy do not pass for those of another
    code, _, err = shell("leret", "train", "--recipe", file, "--out", "other", "--set", SHORT)
    assert code == 0, err
    same = ("--recipe", "runs/leret-train/recipe.yaml", "--out", "runs/leret-eval", "--resume")
    code, _, err = shell("leret", "eval", "--policy", "other", *same)
    assert code == 2
    assert "other/policy: is new" in err


def test_explore_json(shell, recipe):
    code, out, err = shell("leret", "explore", "--recipe", recipe(), "--json", "--seed", 7)
    assert code == 0, err
    explored = json.loads(out)
    assert explored["seed"] == 7
    assert {row["name"] for row in explored["rows"]} >= {"zero-shot", "rule:question", "temperature-2"}


@pytest.mark.parametrize("command", ["train", "explore"])
def test_a_dry_run_loads_no_weights_and_leaves_no_run(shell, recipe, tmp_path, monkeypatch, command):
    import safetensors
    import safetensors.torch
    from transformers import PreTrainedModel

    from lmtools.models import load

    def refuse(*args, **kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(load, "load", refuse)
    monkeypatch.setattr(PreTrainedModel, "from_pretrained", refuse)
    monkeypatch.setattr(safetensors.torch, "load_file", refuse)
    file = recipe(train__sft__epochs=2)
    code, out, err = shell("leret", command, "--recipe", file, "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["questions"] == {"train": 5, "test": 3}
    assert "Question: The birthplace of Anna Berg" in plan["prompts"][0]
    assert plan["prompts"][0].endswith("<|im_start|>assistant\n")
    assert plan["tokens"][1] > plan["tokens"][0] > 0
    # zero-shot and two samples, at each of two hops, for 5 questions; measuring: 3 rows, 2 hops, 3 questions
    assert plan["generations"]["exploring"] == 5 * 2 * 3
    assert plan["generations"]["measuring"] == 4 * 2 * 3  # one of them the few-shot row, if there will be one
    assert not (tmp_path / "runs").exists()
    code, out, err = shell("leret", command, "--recipe", file, "--dry-run")
    assert code == 0
    assert out == ""
    assert "prompt of the first hop" in err


def test_eval_dry_run(shell, recipe, tmp_path):
    shell("leret", "train", "--recipe", recipe(eval__policies=["question"], train__preference__enabled=False))
    code, out, err = shell("leret", "eval", "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["questions"]["test"] == 3
    assert not (tmp_path / "runs/leret-eval").exists()


def test_interrupted_is_130_and_says_how_to_go_on(shell, recipe, monkeypatch):
    from lmtools.leret import explore

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(explore, "search_hop", stop)
        code, _, err = shell("leret", "explore", "--recipe", recipe(), "--out", "mine")
    assert code == 130
    assert "--out mine --resume" in err
    assert "Traceback" not in err
    code, _, err = shell("leret", "explore", "--recipe", recipe(), "--out", "mine", "--resume")
    assert code == 0, err
