"""`leret train` and `leret explore` from a recipe to a policy, with a tiny model in this process."""

import json
from pathlib import Path

import pytest

from lmtools.core.errors import DataError
from lmtools.core.recipe import load_recipe
from lmtools.core.results import read_results
from lmtools.core.run import Run
from lmtools.leret.api import explore, train
from lmtools.leret.inputs import open_policy, policy_spec, prepare, slices
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.train import trainable
from lmtools.models.load import load

FULL = {
    "train.iterations": 2,
    "train.full": True,
    "explore.first": ["question", "zero-shot", "few-shot"],
    "explore.bootstrap_questions": 2,
    "explore.selection_questions": 2,
    "explore.few_shot_prompts": 1,
    "explore.few_shot_candidates": 2,
}

SHORT = {"train.preference.enabled": False, "eval.policies": ["question"]}


def run_train(recipe_file, out, resume=False, command=train):
    recipe = load_recipe(LeretRecipe, str(recipe_file), default="")
    setup = prepare(recipe)
    with Run.create(out, recipe, command=["lmtools"], inputs=setup.hashes, resume=resume, seed=0) as run:
        results = command(setup, run, "r")
        run.finish(results)
    return recipe, results


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def snapshot(folder):
    """Every file's bytes and time, but for what a resumption is meant to touch."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ("manifest.json", "metrics.json", ".lock")
    }


@pytest.mark.parametrize("changes", [{}, FULL], ids=["lora", "full, twice"])
def test_train_from_recipe_to_policy(tiny_recipe, tmp_path, changes):
    out = tmp_path / "run"
    recipe, results = run_train(tiny_recipe(changes), out)
    iterations = recipe.train.iterations
    assert (out / "policy" / "adapter_config.json").exists() != recipe.train.full
    assert not list(out.rglob("*.part"))
    assert not list(out.rglob("*.checkpoints"))
    spec = policy_spec(recipe, out / "policy")
    assert (spec.adapter is None) == recipe.train.full
    assert (
        open_policy(spec, recipe).generator.identity != open_policy(recipe.model, recipe).generator.identity
    )
    assert load(spec).model is not None
    # the run's files are those of its iterations, one after the other
    for name in ("samples.jsonl", "sft.jsonl", "preferences.jsonl"):
        parts = [lines(out / "iterations" / str(n) / name) for n in range(1, iterations + 1)]
        assert all(parts)
        assert lines(out / name) == [row for part in parts for row in part]
    assert {row["iteration"] for row in lines(out / "samples.jsonl")} == set(range(1, iterations + 1))
    asked = {row["question_id"]: row["iteration"] for row in lines(out / "samples.jsonl")}
    assert asked == {
        q: 1 if iterations == 1 or q in ("q0", "q1") else 2 for q in ("q0", "q1", "q2", "q3", "q4")
    }
    # measured
    names = ["question-as-query", "zero-shot base", "few-shot base", "SFT", "SFT + preference"]
    assert [row.name for row in results.rows] == [n for n in names if n != "few-shot base" or changes]
    assert read_results(out / "metrics.json").rows == results.rows
    # training left its figures
    for n in range(1, iterations + 1):
        for stage in ("sft", "policy"):
            history = lines(out / "iterations" / str(n) / f"{stage}.log.jsonl")
            assert history[-1]["train_loss"] > 0
    # nothing is done twice
    before = snapshot(out)
    _, again = run_train(tiny_recipe(changes), out, resume=True)
    assert snapshot(out) == before
    assert again.rows == results.rows


def test_training_lowers_the_loss(tiny_recipe, tmp_path):
    run_train(tiny_recipe(SHORT | {"train.sft.epochs": 12}), tmp_path / "run")
    losses = [row["loss"] for row in lines(tmp_path / "run/iterations/1/sft.log.jsonl") if "loss" in row]
    assert len(losses) > 2
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("stage", ["sft", "preference"])
def test_a_stage_that_is_off_leaves_no_checkpoint_and_no_row(tiny_recipe, tmp_path, stage):
    changes = {f"train.{stage}.enabled": False, "eval.policies": ["sft", "trained"]}
    _, results = run_train(tiny_recipe(changes), tmp_path / "run")
    [kept, name] = ("policy", "preference") if stage == "sft" else ("sft", "SFT")
    assert [path.name for path in sorted((tmp_path / "run/iterations/1").iterdir()) if path.is_dir()] == [
        kept
    ]
    assert [row.name for row in results.rows] == [name]
    published = tmp_path / "run/policy/adapter_model.safetensors"
    assert (
        published.read_bytes()
        == (tmp_path / f"run/iterations/1/{kept}/adapter_model.safetensors").read_bytes()
    )


def test_nothing_to_learn_is_told(tiny_recipe, tmp_path):
    changes = {"explore.first": ["zero-shot"], "explore.later": ["zero-shot"], "hop.max_query_tokens": 1}
    with pytest.raises(DataError, match="nothing was learnt") as error:
        run_train(tiny_recipe(changes), tmp_path / "run")
    assert "explore.first" in error.value.fix
    assert not (tmp_path / "run/policy").exists()
    assert not (tmp_path / "run/metrics.json").exists()


def test_explore_writes_the_same_files_and_trains_nothing(tiny_recipe, tmp_path):
    file = tiny_recipe(SHORT)
    _, results = run_train(file, tmp_path / "explored", command=explore)
    run_train(file, tmp_path / "trained")
    for name in ("samples.jsonl", "sft.jsonl", "preferences.jsonl"):
        assert (tmp_path / "explored" / name).read_bytes() == (tmp_path / "trained" / name).read_bytes()
    assert not (tmp_path / "explored/policy").exists()
    assert {"rule:question", "rule:phrase", "zero-shot", "temperature-1", "temperature-2"} == {
        row.name for row in results.rows
    }
    assert all("reward" in row.metrics for row in results.rows)


def test_a_title_with_a_rare_line_separator_is_learnt_from(tiny_recipe, tmp_path):
    file = tiny_recipe(SHORT)
    world = file.parent
    for path in world.glob("*.jsonl"):
        path.write_text(path.read_text().replace("Anna Berg", "Anna\\u2028Berg"), encoding="utf-8")
    run_train(file, tmp_path / "run")
    assert any("\u2028" in row["prompt"] for row in lines(tmp_path / "run/sft.jsonl"))


def test_an_answer_reward_explores_until_the_answer_is_right(tiny_recipe, tmp_path):
    changes = {"explore.reward": "answer-f1", "eval.policies": ["question"], "eval.answers": True}
    _, results = run_train(tiny_recipe(changes), tmp_path / "run", command=explore)
    assert results.rows
    assert all(0 <= row["reward"] <= 1 for row in lines(tmp_path / "run/samples.jsonl"))


@pytest.mark.parametrize("changes", [{"explore.reward": "answer-em"}, {"eval.answers": True}])
def test_answers_that_are_missing_are_told_before_any_work(tiny_recipe, changes):
    file = tiny_recipe(changes)
    for path in (file.parent / "train.jsonl", file.parent / "test.jsonl"):
        path.write_text(path.read_text().replace('"answer": "Estonia"', '"answer": ""'), encoding="utf-8")
        path.write_text(path.read_text().replace('"answer": "Finland"', '"answer": ""'), encoding="utf-8")
    with pytest.raises(DataError, match="no answer") as error:
        prepare(load_recipe(LeretRecipe, str(file), default=""))
    assert str(error.value).count("'q") >= 1


def test_a_policy_goes_on_from_the_recipes_own_adapter(tiny_recipe, tmp_path):
    run_train(tiny_recipe(SHORT), tmp_path / "first")
    changes = SHORT | {"model.adapter": str(tmp_path / "first/policy")}
    recipe, _ = run_train(tiny_recipe(changes, tmp_path / "second-world"), tmp_path / "second")
    model = trainable(load(policy_spec(recipe, tmp_path / "second/policy")), recipe.train, adapter=True)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        name for name, _ in model.named_parameters() if "lora_" in name
    }


def test_slices_are_runs_of_nearly_equal_length(world):
    parts = slices(world.questions, 3)
    assert [question for part in parts for question in part] == list(world.questions)
    assert sorted(map(len, parts)) == [2, 3, 3]


def test_the_run_knows_its_inputs(tiny_recipe, tmp_path):
    file = tiny_recipe()
    run_train(file, tmp_path / "run", command=explore)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    recipe = load_recipe(LeretRecipe, str(file), default="")
    expected = {recipe.data.train, recipe.data.test, recipe.data.corpus, recipe.model.name, "retriever"}
    assert set(manifest["inputs"]) == expected
    assert all(Path(name).exists() for name in expected - {"retriever"})
