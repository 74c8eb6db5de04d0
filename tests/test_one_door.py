"""Every command and the function behind it make the same files."""

import json
import re
import sys
from functools import partial
from pathlib import Path

import pytest
from quiz import answer_records, choice_records, write_lines
from small_world import write_recipe
from tiny_fit import tiny_recipe as tiny_ats
from tiny_hyre import records, write
from tiny_hyre import tiny_recipe as tiny_hyre

from lmtools.ats import api as ats
from lmtools.calibration import api as calibration
from lmtools.cli.app import run as command
from lmtools.core.recipe import dump_recipe
from lmtools.hyre import api as hyre
from lmtools.leret import api as leret

VARIES = {
    "started", "finished", "resumed", "stages", "processor", "time", "seconds", "date",
    "train_runtime", "train_samples_per_second", "train_steps_per_second",
}  # fmt: skip
"""Keys of JSON files whose values tell when a run was made and how long it took."""
CLOCK = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?([.\d]*)?(\+00:00|Z| UTC)?")


def masked(value):
    """JSON without what varies from one run to the next."""
    if isinstance(value, dict):
        return {key: None if key in VARIES else masked(inner) for key, inner in value.items()}
    return [masked(inner) for inner in value] if isinstance(value, list) else value


def content(path, folder):
    """A file of a run for comparison; the run's own directory has one name in all of them."""
    data = path.read_bytes().replace(str(folder).encode(), b"RUN")
    if path.suffix == ".json":
        return masked(json.loads(data))
    if path.name.endswith(".log.jsonl"):
        return [masked(json.loads(line)) for line in data.splitlines()]
    return CLOCK.sub(b"TIME", data)


def files(folder):
    """Every file of a run that is a result: no locks, and the page apart."""
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".lock", "report.html")
    }


def test_of_the_masks(tmp_path):
    (tmp_path / "a.json").write_text('{"time": 1, "rows": [{"value": 1}]}')
    (tmp_path / "b.json").write_text('{"time": 1, "rows": [{"value": 2}]}')
    assert content(tmp_path / "a.json", tmp_path) != content(tmp_path / "b.json", tmp_path)


def assert_same_run(left: Path, right: Path) -> None:
    """The same files with the same content, and a page in both or in neither."""
    ours, theirs = files(left), files(right)
    assert ours.keys() == theirs.keys()
    assert "metrics.json" in ours
    for name in ours:
        assert content(ours[name], left) == content(theirs[name], right), name
    assert (left / "report.html").is_file()
    assert (right / "report.html").is_file()


@pytest.fixture(scope="module")
def world(tiny_llama, tmp_path_factory):
    """Recipes that take seconds, and a finished run of each system to work on."""
    folder = tmp_path_factory.mktemp("door")
    write_recipe(folder / "world", tiny_llama, {"hop.max_query_tokens": 16})
    (folder / "leret.yaml").write_text((folder / "world" / "recipe.yaml").read_text())
    (folder / "hyre.yaml").write_text(dump_recipe(tiny_hyre(tiny_llama, folder)))
    (folder / "ats.yaml").write_text(
        dump_recipe(tiny_ats(tiny_llama, folder, train={"epochs": 1}, head={"kind": "linear"}))
    )
    (folder / "calibration.yaml").write_text(
        f"system: calibration\nmodel: {{name: {tiny_llama}, device: cpu}}\nresamples: 100\nchat: true\n"
    )
    write_lines(folder / "choices.jsonl", choice_records(6))
    write_lines(folder / "answers.jsonl", answer_records(4))
    write(folder / "pairs.jsonl", records("long", 6))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        leret.run_training("leret.yaml", "trained/leret")
        hyre.run_training("hyre.yaml", "trained/hyre")
        ats.run_fit("ats.yaml", "trained/ats")
    return folder


SHORT = ("resamples=100", "chat=true")
"""Of a measurement: few resamples, and prompts that the tiny model has single tokens for."""
SET = [word for setting in SHORT for word in ("--set", setting)]
CASES = {
    "leret train": (
        ["leret", "train", "--recipe", "leret.yaml"],
        partial(leret.run_training, "leret.yaml"),
    ),
    "leret explore": (
        ["leret", "explore", "--recipe", "leret.yaml"],
        partial(leret.run_exploration, "leret.yaml"),
    ),
    "leret eval": (
        ["leret", "eval", "--policy", "trained/leret", "--lm-eval-out", "lm-eval"],
        partial(leret.run_evaluation, "trained/leret", lm_eval_out=Path("lm-eval")),
    ),
    "hyre train": (
        ["hyre", "train", "--recipe", "hyre.yaml"],
        partial(hyre.run_training, "hyre.yaml"),
    ),
    "hyre eval": (
        ["hyre", "eval", "trained/hyre", "--set", "eval.draws=2"],
        partial(hyre.run_evaluation, "trained/hyre", settings=["eval.draws=2"]),
    ),
    "hyre eval, trained first": (
        ["hyre", "eval", "--recipe", "hyre.yaml"],
        partial(hyre.run_evaluation, None, recipe="hyre.yaml"),
    ),
    "hyre adapt": (
        ["hyre", "adapt", "--run", "trained/hyre", "--examples", "4", "--target", "short"],
        partial(hyre.adapt, "trained/hyre", examples=4, target="short"),
    ),
    "eval reward": (
        ["eval", "reward", "--run", "trained/hyre", "--pairs", "pairs.jsonl"],
        partial(hyre.evaluate_reward, settings=["pairs=pairs.jsonl", "run=trained/hyre"]),
    ),
    "ats fit": (
        ["ats", "fit", "--recipe", "ats.yaml"],
        partial(ats.run_fit, "ats.yaml"),
    ),
    "ats eval": (
        ["ats", "eval", "trained/ats", "--task", "choices.jsonl", *SET],
        partial(ats.run_evaluation, "trained/ats", settings=['tasks=["choices.jsonl"]', *SHORT]),
    ),
    "eval calibration --head": (
        ["eval", "calibration", "--head", "trained/ats", "--task", "answers.jsonl", *SET],
        partial(
            ats.run_evaluation, "trained/ats", settings=['tasks=["answers.jsonl"]', *SHORT],
            system="eval", action="calibration",
        ),
    ),
    "eval calibration": (
        ["eval", "calibration", "--recipe", "calibration.yaml", "--task", "choices.jsonl"],
        partial(calibration.run_evaluation, "calibration.yaml", settings=['tasks=["choices.jsonl"]']),
    ),
}  # fmt: skip
"""A command line without ``--out`` and the function behind it."""


@pytest.mark.parametrize("case", CASES)
def test_a_command_and_its_function_make_the_same_run(case, world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    arguments, function = CASES[case]
    by_command, by_function = tmp_path / "command" / "run", tmp_path / "function" / "run"
    typed = [*arguments, "--out", str(by_command)]
    monkeypatch.setattr(sys, "argv", ["lmtools", *typed])
    assert command(typed) == 0
    # Cards and manifests say what was called.
    run = function(out=by_function, command=["lmtools", *arguments, "--out", str(by_function)])
    assert run.directory == by_function
    assert run.rows
    assert_same_run(by_command, by_function)


def test_labelling_and_scoring_write_the_same_files(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    write_lines(tmp_path / "answers.jsonl", [{"prompt": "Name a river.", "completion": "The Seine."}])
    for name in ("command", "function"):
        (tmp_path / name).mkdir()
    query = ["hyre", "query", "--run", "trained/hyre", "--count", "3", "--output"]
    score = ["hyre", "score", "--run", "trained/hyre", "--input", str(tmp_path / "answers.jsonl"), "--output"]
    assert command([*query, str(tmp_path / "command" / "pairs.jsonl")]) == 0
    assert command([*score, str(tmp_path / "command" / "rewards.jsonl")]) == 0
    hyre.query("trained/hyre", count=3, output=tmp_path / "function" / "pairs.jsonl")
    hyre.score(
        "trained/hyre", str(tmp_path / "answers.jsonl"), output=tmp_path / "function" / "rewards.jsonl"
    )
    for name in ("pairs.jsonl", "rewards.jsonl"):
        written = (tmp_path / "command" / name).read_bytes()
        assert written == (tmp_path / "function" / name).read_bytes()
        assert written


def test_export_writes_the_same_model(world, tmp_path, monkeypatch):
    monkeypatch.chdir(world)
    by_command, by_function = tmp_path / "command" / "model", tmp_path / "function" / "model"
    assert command(["ats", "export", "trained/ats", "--out", str(by_command)]) == 0
    ats.export("trained/ats", by_function)
    ours, theirs = files(by_command), files(by_function)
    assert ours.keys() == theirs.keys()
    assert all(content(ours[name], by_command) == content(theirs[name], by_function) for name in ours)


def test_search_gives_the_same_hops(world, monkeypatch, capsys):
    monkeypatch.chdir(world)
    question = "Where was Anna Berg born?"
    assert command(["leret", "search", question, "--policy", "trained/leret", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    hops = leret.search(question, "trained/leret")
    assert [hop["query"] for hop in printed["hops"]] == [hop.query for hop in hops]
