"""``lmtools eval reward``: of a run, of weights, of a classifier, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_hyre import USERS, recipe_file, records, tiny_recipe, trained_once, write
from transformers import AutoTokenizer, LlamaForSequenceClassification

from lmtools.cli.app import run
from lmtools.hyre import api


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    """A run, weights for each user, and the pairs of both."""
    folder = tmp_path_factory.mktemp("hyre")
    _, trained = trained_once(tiny_llama, folder)
    api.adapt_targets(trained, folder / "weights")
    return folder


@pytest.fixture(scope="module")
def classifier(tiny_llama, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    LlamaForSequenceClassification.from_pretrained(tiny_llama, num_labels=1).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small(made):
    return ["--pairs", str(made / "targets.jsonl"), "--set", "resamples=100"]


def measured(capsys, *words):
    capsys.readouterr()
    assert run(["eval", "reward", *words, "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def refused(capsys, *words):
    capsys.readouterr()
    assert run(["eval", "reward", *words, "--json"]) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["exit_code"] == 2
    assert "Traceback" not in err
    return err


def test_the_last_runs_single_head(made, small, capsys):
    shutil.copytree(made / "run", "runs/hyre-train")
    value, told = measured(capsys, *small)
    assert value["run"] == "runs/eval-reward"
    [row] = value["rows"]
    assert row["name"] == "single-head"
    assert set(row["metrics"]) == {"accuracy", "pairs/accuracy", *(f"{user}/accuracy" for user in USERS)}
    assert row["metrics"]["accuracy"]["n"] == 24
    assert "long/accuracy" in told
    assert "files: runs/eval-reward/" in told
    kept = json.loads(Path("runs/eval-reward/metrics.json").read_text())
    assert kept["rows"] == value["rows"]
    inputs = json.loads(Path("runs/eval-reward/manifest.json").read_text())["inputs"]
    assert str(Path("runs/hyre-train/single").absolute()) in inputs
    again, _ = measured(capsys, *small)
    assert again["run"] == "runs/eval-reward-2"
    assert again["rows"] == value["rows"]


@pytest.mark.parametrize("user", USERS)
def test_a_users_weights(made, small, capsys, user):
    options = ["--run", str(made / "run"), "--weights", str(made / "weights" / f"{user}.json")]
    value, _ = measured(capsys, *small, *options)
    [row] = value["rows"]
    assert row["name"] == "hyre"
    other = next(name for name in USERS if name != user)
    own, others = (row["metrics"][f"{name}/accuracy"]["value"] for name in (user, other))
    assert own > others


def test_without_any_run_one_is_trained_first(tiny_llama, small, capsys, monkeypatch, tmp_path):
    path = recipe_file(tiny_recipe(tiny_llama, tmp_path), tmp_path / "tiny.yaml")
    monkeypatch.setattr(api, "DEFAULT", str(path))
    few = ["--set", "limit=1", "--set", "resamples=100"]
    _, told = measured(capsys, *few, "--dry-run")
    assert "no trained ensemble under runs/: one would be trained first" in told
    value, told = measured(capsys, *few)
    assert "no trained ensemble under runs/: training one" in told
    assert value["rows"][0]["name"] == "single-head"
    assert {path.name for path in Path("runs").iterdir()} == {"hyre-train", "eval-reward"}


def test_a_sequence_classification_model(classifier, small, capsys):
    value, _ = measured(capsys, *small, "--model", str(classifier))
    [row] = value["rows"]
    assert row["name"] == str(classifier)
    assert row["metrics"]["accuracy"]["n"] == 24
    inputs = json.loads(Path("runs/eval-reward/manifest.json").read_text())["inputs"]
    assert str(classifier) in inputs


def test_a_language_model_is_none(tiny_llama, small, capsys):
    told = refused(capsys, *small, "--model", str(tiny_llama))
    assert "is no reward model: it has no head of a single number" in told
    assert "--run RUN" in told


def test_subsets_of_rewardbench_are_sections_too(made, capsys):
    subsets = {"mt-bench-easy": 3, "math-prm": 4, "hep-go": 2, "hep-js": 1, "llmbar-natural": 0}
    rows = [
        {key: row[key] for key in ("prompt", "chosen", "rejected")} | {"subset": name}
        for name, count in subsets.items()
        for row in records("short", count)
    ]
    write(Path("bench.jsonl"), rows)
    options = ["--pairs", "bench.jsonl", "--run", str(made / "run"), "--set", "resamples=100"]
    value, told = measured(capsys, *options)
    found = value["rows"][0]["metrics"]
    assert {"Chat/accuracy", "Reasoning/accuracy", "hep-js/accuracy"} <= set(found)
    assert not {"Chat Hard/accuracy", "Safety/accuracy", "llmbar-natural/accuracy"} & set(found)
    code = (2 * found["hep-go/accuracy"]["value"] + found["hep-js/accuracy"]["value"]) / 3
    both = (found["math-prm/accuracy"]["value"] + code) / 2
    assert found["Reasoning/accuracy"]["value"] == pytest.approx(both)
    assert found["Reasoning/accuracy"]["n"] == 7
    assert "Reasoning/accuracy" in told


def test_a_plan_loads_no_weights(made, classifier, small, capsys, monkeypatch):
    monkeypatch.setattr("lmtools.models.features.load", lambda *_, **__: pytest.fail("weights were loaded"))
    plan, told = measured(capsys, *small, "--run", str(made / "run"), "--dry-run")
    assert plan == {
        "model": "single-head", "run": str(made / "run"), "pairs": dict.fromkeys(USERS, 12),
        "precision": "float32: LMTOOLS_DTYPE names it",
    }  # fmt: skip
    assert "single-head is measured on 24 pairs of 2 distributions: long 12, short 12" in told
    plan, _ = measured(capsys, *small, "--model", str(classifier), "--dry-run")
    assert plan["model"] == str(classifier)
    _, told = measured(capsys, "--dry-run")
    assert "one would be trained first" in told
    assert not Path("runs").exists()


def test_interrupted_it_is_130(made, small, capsys, monkeypatch):
    options = [*small, "--run", str(made / "run")]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("lmtools.hyre.reward.answers", stop)
        assert run(["eval", "reward", *options]) == 130
    assert "--resume" in capsys.readouterr().err
    value, _ = measured(capsys, *options, "--resume")
    assert value["run"] == "runs/eval-reward"


def test_what_it_refuses(made, classifier, small, capsys):
    both = ["--model", str(classifier), "--run", str(made / "run")]
    assert "a model, and a run or weights" in refused(capsys, *small, *both)
    assert "a model, and a run or weights" in refused(capsys, *small, *both, "--dry-run")
    assert "nowhere: no such directory" in refused(capsys, *small, "--run", "nowhere")
    assert "nowhere.jsonl" in refused(capsys, "--pairs", "nowhere.jsonl", "--run", str(made / "run"))
    assert "sead" in refused(capsys, *small, "--set", "sead=3")
    write(Path("other.jsonl"), [{"prompt": "Why?", "completion": "So."}])
    assert "no preference pairs" in refused(capsys, "--pairs", "other.jsonl", "--run", str(made / "run"))
    assert not Path("runs").exists()


def test_the_default_recipe_is_there():
    from lmtools.core.recipe import load_recipe
    from lmtools.hyre.recipe import RewardRecipe

    assert load_recipe(RewardRecipe, None, default=api.REWARD).pairs == "atlas:preferences.targets"
