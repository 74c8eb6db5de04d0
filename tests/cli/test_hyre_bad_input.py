"""Wrong input to ``lmtools hyre``: a message, a mend, exit code 2; and what is right all the same."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny import save_tiny_llama
from tiny_hyre import crowd, recipe_file, records, tiny_recipe, trained_once, write

from lmtools.cli.app import run
from lmtools.hyre import api

SAME = {"prompt": "Why?", "chosen": "Yes.", "rejected": "Yes."}
EMPTY = {"prompt": "Why?", "chosen": "Yes.", "rejected": ""}


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    return trained_once(tiny_llama, tmp_path_factory.mktemp("hyre"))


@pytest.fixture(autouse=True)
def trained(made, tmp_path, monkeypatch):
    """A finished run under ``runs/`` of an otherwise empty folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made[1], "runs/hyre-train")


def refused(capsys, *words, code=2):
    """What a person is told, the same on stdout for a program, and no traceback."""
    capsys.readouterr()
    assert run([*words, "--json"]) == code
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert value["exit_code"] == code
    assert value["fix"]
    assert "Traceback" not in err
    assert "internal error" not in err
    return err


def answer(capsys, *words):
    capsys.readouterr()
    assert run([*words, "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def mine(rows) -> str:
    return str(write(Path("mine.jsonl"), rows))


def adapt(pairs, *more):
    return ("hyre", "adapt", "--pairs", pairs, *more)


def test_fewer_pairs_than_examples(capsys):
    told = refused(capsys, *adapt(mine(records("long", 4)), "--examples", "5"))
    assert "mine: 4 pairs, and 5 examples were asked for" in told
    assert "--examples 4" in told
    assert not Path("runs/hyre-adapt").exists()
    refused(capsys, "hyre", "adapt", "--examples", "13")
    refused(capsys, "hyre", "adapt", "--examples", "13", "--dry-run")
    refused(capsys, "hyre", "adapt", "--examples", "-1")


@pytest.mark.parametrize("same", [SAME, EMPTY])
def test_pairs_that_prefer_nothing_are_dropped_and_told(capsys, same):
    value, told = answer(capsys, *adapt(mine([same, *records("long", 6), same])))
    assert "mine.jsonl: 2 of 8 pairs left out: each has the same answer twice, or an empty one" in told
    assert len(value["examples"]) == 5
    assert value["rows"][0]["metrics"]["accuracy"]["n"] == 1
    told = refused(capsys, *adapt(mine([same, *records("long", 4)])))
    assert "4 pairs, and 5 examples" in told


@pytest.mark.parametrize("rows", [[SAME], [EMPTY], []])
@pytest.mark.parametrize("command", [("adapt",), ("query",), ("adapt", "--dry-run")])
def test_no_usable_pair(capsys, rows, command):
    told = refused(capsys, "hyre", *command, "--pairs", mine(rows))
    assert "no pair with two different answers" in told or "empty" in told


def test_training_pairs_that_prefer_nothing(capsys, tiny_llama, tmp_path):
    write(tmp_path / "train.jsonl", [SAME, EMPTY])
    path = str(recipe_file(tiny_recipe(tiny_llama, tmp_path), tmp_path / "tiny.yaml"))
    for more in ([], ["--dry-run"]):
        told = refused(capsys, "hyre", "train", "--recipe", path, *more)
        assert "no pair with two different answers" in told


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"prompt": "Why?", "completion": "So."}\n', "no preference pairs in it"),
        ('{"id": "a", "question": "Why?"}\n', "no preference pairs in it"),
        ('{"chosen": "a", "rejected": 3, "prompt": "b"}\n', "rejected"),
        ('{"chosen": "a", "rejected": "b"}\n', "prompt"),
        ('{"prompt": "Why?", "chosen"', "broken JSON"),
        ("size,price\n3,4\n", "chosen"),
        ("not data\n", "mine.jsonl"),
    ],
)
def test_pairs_of_another_schema(capsys, content, says):
    Path("mine.jsonl").write_text(content)
    told = refused(capsys, *adapt("mine.jsonl"))
    assert "mine.jsonl" in told
    assert says in told


def test_pairs_in_a_table_are_pairs(capsys):
    lines = ["prompt,chosen,rejected", *(f"Name river {n},The river {n} is old,It {n}" for n in range(6))]
    Path("mine.csv").write_text("\n".join(lines) + "\n")
    value, _ = answer(capsys, *adapt("mine.csv"))
    assert (value["user"], len(value["examples"])) == ("mine", 5)


@pytest.mark.parametrize("command", ["adapt", "query"])
def test_pairs_that_are_not_there(capsys, command):
    assert "nowhere.jsonl" in refused(capsys, "hyre", command, "--pairs", "nowhere.jsonl")


@pytest.mark.parametrize("command", ["adapt", "query"])
def test_an_unknown_target_or_way_to_ask(capsys, command):
    told = refused(capsys, "hyre", command, "--target", "formal")
    assert "no pairs of 'formal'" in told
    assert "long, short" in told
    told = refused(capsys, "hyre", command, "--by", "coin")
    assert "--by coin: no such way to choose" in told
    assert "entropy, bald, variance, random" in told


@pytest.mark.parametrize(
    "words", [["adapt", "--run"], ["query", "--run"], ["eval"], ["score", "--input", "x.jsonl", "--run"]]
)
def test_a_folder_that_is_no_trained_run(capsys, words):
    Path("other").mkdir()
    write(Path("x.jsonl"), [{"prompt": "Why?", "completion": "So."}])
    for name in ("other", "nowhere"):
        told = refused(capsys, "hyre", *words, name)
        assert f"{name}: holds no trained ensemble" in told or f"{name}: no such directory" in told
        assert "lmtools hyre train" in told


def test_settings_that_do_not_exist(capsys):
    assert "temprature" in refused(capsys, "hyre", "adapt", "--set", "adapt.temprature=1")
    assert "temprature" in refused(capsys, "hyre", "train", "--set", "adapt.temprature=1")
    told = refused(capsys, "hyre", "train", "--set", "heads=[gaussian_limit]", "--set", "adapt.rule=reweight")
    assert "gaussian_limit stands alone" in told


def test_weights_for_another_ensemble(capsys, tiny_llama, tmp_path):
    answer(capsys, "hyre", "adapt")
    other = recipe_file(tiny_recipe(tiny_llama, tmp_path, seed=3, compare=[]), tmp_path / "tiny.yaml")
    random = ["--set", "heads=[{source: random, count: 3}]"]
    answer(capsys, "hyre", "train", "--recipe", str(other), *random, "--out", "runs/other")
    write(Path("answers.jsonl"), [{"prompt": "Why?", "completion": "So."}])
    given = ["--run", "runs/other", "--weights", "runs/hyre-adapt"]
    for words in (["hyre", "query"], ["hyre", "score", "--input", "answers.jsonl"], ["eval", "reward"]):
        told = refused(capsys, *words, *given)
        assert "weights of 4 heads for another ensemble than this one of 3" in told
    told = refused(capsys, "hyre", "query", "--weights", "runs/nowhere")
    assert "cannot be read" in told
    Path("weights.json").write_text("[1, 2]")
    assert "no weights of `lmtools hyre adapt`" in refused(
        capsys, "hyre", "query", "--weights", "weights.json"
    )


@pytest.mark.parametrize("command", ["adapt", "eval"])
def test_an_ensemble_for_another_backbone(capsys, tmp_path, command):
    other = save_tiny_llama(tmp_path / "other", seed=7)
    told = refused(capsys, "hyre", command, "--set", f"model.name={other}")
    assert "its ensemble was trained on other features" in told


def test_a_model_whose_numbers_are_not_finite(capsys, tmp_path, tiny_llama):
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_llama, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    name = "model.layers.1.mlp.down_proj.weight"
    save_file(weights | {name: torch.full_like(weights[name], torch.nan)}, broken / "model.safetensors")
    path = str(recipe_file(tiny_recipe(broken, tmp_path), tmp_path / "tiny.yaml"))
    told = refused(capsys, "hyre", "train", "--recipe", path)
    assert "hidden states hold NaN" in told
    assert not list(Path("runs").rglob("hyre-train-2/ensemble"))


def test_every_head_gets_some_of_them_terribly_wrong(capsys):
    """Labels that contradict each other, of heads that are loud: there are weights all the same."""
    turned = [row | {"chosen": row["rejected"], "rejected": row["chosen"]} if n % 2 else row
              for n, row in enumerate(records("long", 12))]  # fmt: skip
    value, _ = answer(capsys, *adapt(mine(turned), "--examples", "10", "--set", "adapt.scale=1e6"))
    assert sum(value["weights"]) == pytest.approx(1)
    assert all(0 <= weight <= 1 for weight in value["weights"])
    assert min(value["losses"]) > 1


def test_one_head(capsys, tiny_llama, tmp_path):
    write(tmp_path / "train.jsonl", crowd())
    path = recipe_file(tiny_recipe(tiny_llama, tmp_path, compare=[]), tmp_path / "tiny.yaml")
    one = ["--set", "heads=[{source: shared_base, count: 1}]", "--out", "runs/one"]
    answer(capsys, "hyre", "train", "--recipe", str(path), *one)
    value, told = answer(capsys, "hyre", "adapt", "--run", "runs/one")
    assert (value["weights"], value["effective_heads"]) == ([1.0], 1.0)
    assert "effective heads 1.0 of 1" in told
    named, _ = answer(capsys, "hyre", "query", "--run", "runs/one", "--count", "3")
    assert len(named["pairs"]) == 3


def test_a_target_too_small_to_measure(capsys, tmp_path, tiny_llama):
    write(tmp_path / "targets.jsonl", [*records("long", 6), *records("short", 1)])
    path = str(recipe_file(tiny_recipe(tiny_llama, tmp_path), tmp_path / "tiny.yaml"))
    assert "short: 1 pair, too few" in refused(capsys, "hyre", "eval", "--recipe", path)


def test_answers_that_cannot_be_scored(capsys):
    write(Path("answers.jsonl"), [{"prompt": "Why?", "completion": ""}])
    assert "answers.jsonl" in refused(capsys, "hyre", "score", "--input", "answers.jsonl")
    assert "nowhere.jsonl" in refused(capsys, "hyre", "score", "--input", "nowhere.jsonl")
    write(Path("answers.jsonl"), [SAME])
    assert "answers.jsonl" in refused(capsys, "hyre", "score", "--input", "answers.jsonl")


# Nothing is trained before every input was looked at, and nothing bundled in place of the user's own.

NO_RUN = [
    (["adapt", "--pairs", "nope.jsonl"], "nope.jsonl"),
    (["adapt", "--set", "data.train=nope.jsonl"], "data.train=nope.jsonl"),
    (["adapt", "--by", "coin"], "no such way to choose"),
    (["adapt", "--target", "nobody"], "nobody"),
    (["adapt", "--examples", "100000"], "100000 examples were asked for"),
    (["query", "--pairs", "nope.jsonl"], "nope.jsonl"),
    (["query", "--weights", "nope.json"], "nope.json"),
    (["score", "--input", "nope.jsonl"], "nope.jsonl"),
]


@pytest.fixture
def no_training(trained, monkeypatch):
    shutil.rmtree("runs")
    monkeypatch.setattr(api, "run_training", lambda *_, **__: pytest.fail("something was trained"))


@pytest.mark.parametrize(("words", "says"), NO_RUN)
def test_without_a_run_an_input_is_looked_at_first(capsys, no_training, words, says):
    assert says in refused(capsys, "hyre", *words)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["hyre", "adapt", "--pairs", "mine.jsonl"],
        ["hyre", "adapt", "--dry-run", "--pairs", "mine.jsonl"],
        ["hyre", "query", "--pairs", "mine.jsonl"],
        ["hyre", "score", "--input", "mine.jsonl"],
        ["eval", "reward", "--pairs", "mine.jsonl"],
        ["eval", "reward", "--dry-run", "--pairs", "mine.jsonl"],
    ],
)
def test_nothing_bundled_is_trained_for_the_users_own(capsys, no_training, words):
    if words[1] == "score":
        write(Path("mine.jsonl"), [{"prompt": "Why?", "completion": "So."}])
    else:
        mine(records("long", 6))
    told = refused(capsys, *words)
    assert "no trained ensemble under runs/, and none is trained on bundled pairs for " in told
    assert "mine.jsonl" in told
    assert "lmtools hyre train --set data.train=FILE" in told


@pytest.mark.parametrize("words", [["adapt"], ["query"], ["eval"], ["adapt", "--dry-run"]])
def test_a_training_that_was_not_finished_is_told_of(capsys, tiny_llama, tmp_path, monkeypatch, words):
    path = str(recipe_file(tiny_recipe(tiny_llama, tmp_path), tmp_path / "tiny.yaml"))
    monkeypatch.setattr("lmtools.hyre.inputs.train", lambda *_: interrupt())
    training = ["hyre", "train", "--recipe", path]
    monkeypatch.setattr("sys.argv", ["lmtools", *training])
    assert run(training) == 130
    told = refused(capsys, "hyre", *words)
    assert "runs/hyre-train-2: the last `lmtools hyre train` has not come to its end" in told
    assert f"--recipe {path} --resume --out runs/hyre-train-2" in told
    assert "runs/hyre-train)" in told
    assert "no such directory" in refused(capsys, "hyre", "adapt", "--run", "nowhere")


def interrupt():
    raise KeyboardInterrupt
