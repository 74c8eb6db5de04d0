"""``--track``: every training leaves its curve in training.jsonl, and sends it where it is told to."""

import json
import sys

import pytest
from small_world import write_recipe
from tiny_fit import instructions
from tiny_hyre import recipe_file, tiny_recipe

from lmtools.cli.app import run
from lmtools.core import tracking
from lmtools.core.tracking import read_curves


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sent(monkeypatch):
    """What a tracker in trackio's place is sent: (part, figures, step)."""
    found = []

    class Fake:
        def log(self, part, figures, step=None):
            found.append((part, figures, step))

        def close(self):
            found.append(("closed", {}, None))

    monkeypatch.setattr(tracking, "open_trackio", lambda tracked: Fake())
    monkeypatch.setattr(tracking, "find_spec", lambda package: object())
    return found


def by_part(sent):
    """Part -> step -> loss, of what was sent."""
    parts = {}
    for part, figures, step in sent:
        if "loss" in figures:
            parts.setdefault(part, {})[step] = figures["loss"]
    return parts


def in_file(run_directory):
    parts = {}
    for record in read_curves(run_directory / "training.jsonl"):
        assert record["epoch"] >= 1
        assert record["learning_rate"] > 0
        parts.setdefault(record["part"], {})[record["step"]] = record["loss"]
    return parts


def final(sent):
    [figures] = [figures for part, figures, _ in sent if part == "metrics"]
    return figures


@pytest.fixture
def fit(tmp_path, tiny_llama):
    source = instructions(tmp_path / "instructions.jsonl")
    settings = [f"data.train={source}", "data.limit=null", "data.layouts=[chat]", "data.validation=0.2"]
    settings += ["head.kind=linear", "compare=[mlp, vector scaling]", "train.epochs=2", "resamples=100"]
    settings += ["model.device=cpu", "vector.epochs=1", "train.batch_sequences=4"]
    words = ["ats", "fit", "--model", str(tiny_llama)]
    return [*words, *(word for one in settings for word in ("--set", one))]


def test_temperature_heads(fit, sent, tmp_path, capsys):
    assert run([*fit, "--track", "trackio", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    directory = tmp_path / "runs" / "ats-fit"
    curves = in_file(directory)
    assert {part: list(points) for part, points in curves.items()} == {
        "linear": [3, 6], "mlp": [3, 6], "vector scaling": [1],
    }  # fmt: skip
    assert by_part(sent) == curves
    assert all("validation_loss" in record for record in read_curves(directory / "training.jsonl"))
    for row in results["rows"]:
        for name, metric in row["metrics"].items():
            assert final(sent)[f"{row['name']}/{name}"] == metric["value"]
    assert sent[-1] == ("closed", {}, None)


def test_without_a_tracker_the_curve_is_there_all_the_same(fit, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)  # importing it would fail
    assert run(fit) == 0
    assert set(in_file(tmp_path / "runs" / "ats-fit")) == {"linear", "mlp", "vector scaling"}


def test_a_run_begun_without_a_tracker_goes_on_with_one(fit, sent, tmp_path, monkeypatch):
    from lmtools.ats import fit as fitting

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit_baselines", interrupt)
        assert run(fit) == 130
    assert set(in_file(tmp_path / "runs" / "ats-fit")) == {"linear", "mlp"}
    assert run([*fit, "--resume", "--track", "trackio"]) == 0
    assert set(by_part(sent)) == {"vector scaling"}  # the others were trained before
    assert final(sent)


def test_an_absent_tracker_is_told_before_anything_is_done(fit, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    assert run([*fit, "--track", "wandb", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["fix"].startswith("pip install wandb")
    assert not (tmp_path / "runs").exists()
    assert run([*fit, "--track", "mlflow"]) == 2
    assert "trackio" in capsys.readouterr().err


def test_reward_heads_and_the_backbone_under_them(sent, tmp_path, tiny_llama):
    recipe = tiny_recipe(tiny_llama, tmp_path, lora={"epochs": 2, "batch": 4, "pairs": 8, "rank": 2})
    words = ["hyre", "train", "--recipe", str(recipe_file(recipe, tmp_path / "recipe.yaml"))]
    assert run([*words, "--track", "trackio"]) == 0
    curves = in_file(tmp_path / "runs" / "hyre-train")
    assert {part: list(points) for part, points in curves.items()} == {
        "LoRA": [1, 2, 3, 4],
        "shared_base": [2, 4],
        "single head": [2, 4],
    }  # principal axes are not trained
    assert by_part(sent) == curves
    assert "pca/train-accuracy" in final(sent)


def test_reward_heads_on_tables(tmp_path, tiny_llama):
    rows = [f"{x},{(7 * x) % 11},{x + (7 * x) % 11}" for x in range(60)]
    (tmp_path / "table.csv").write_text("a,b,target\n" + "\n".join(rows) + "\n")
    given = {
        "task": "regression", "data": {"tables": [str(tmp_path / "table.csv")]},
        "heads": [{"source": "shared_base", "count": 4}], "compare": ["epinet"],
        "adapt": {"standardise": False},
        "train": {"epochs": 2, "batch": 16, "hidden": 8},
        "eval": {"examples": [0, 1], "draws": 2, "resamples": 100},
    }  # fmt: skip
    (tmp_path / "recipe.json").write_text(json.dumps({"system": "hyre", **given}))
    (tmp_path / "recipe.json").rename(tmp_path / "recipe.yaml")
    assert run(["hyre", "eval", "--recipe", "recipe.yaml"]) == 0
    assert set(in_file(tmp_path / "runs" / "hyre-eval")) == {"table/shared_base", "table/epinet"}


def test_a_query_writer(sent, tmp_path, tiny_llama):
    recipe = write_recipe(tmp_path / "world", tiny_llama, {"train.save_steps": 1})
    assert run(["leret", "train", "--recipe", str(recipe), "--track", "trackio"]) == 0
    curves, folder = by_part(sent), tmp_path / "runs" / "leret-train" / "iterations" / "1"
    for stage, part in (("sft", "SFT 1"), ("policy", "preference 1")):
        lines = [json.loads(line) for line in (folder / f"{stage}.log.jsonl").read_text().splitlines()]
        assert curves[part] == {line["step"]: line["loss"] for line in lines if "loss" in line}
    assert "SFT + preference/recall@hop2" in final(sent)
