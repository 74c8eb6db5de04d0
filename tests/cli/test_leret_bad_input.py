"""A user's mistakes and a machine's faults: one message with place and mend, and nothing half done."""

import json
import os
import socket
import threading
from pathlib import Path

import pytest
from apart import command, fork_server
from loopback import serving
from small_world import write_recipe

from lmtools.cli.app import run


@pytest.fixture
def world(tmp_path, tiny_llama, monkeypatch):
    """A folder with a good recipe and good data, to be spoilt; it is the working directory."""
    write_recipe(tmp_path / "world", tiny_llama)
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


@pytest.fixture
def refused(world, capsys):
    """``refused(*settings)``: the message of a command that must fail, after checking its form."""

    def call(*settings, command="explore", code=2, out="run", clean=True):
        words = [word for setting in settings for word in ("--set", setting)]
        got = run(["leret", command, "--recipe", "recipe.yaml", "--out", out, *words])
        printed, error = capsys.readouterr()
        assert got == code, error
        return checked(error, printed, world / out if clean else None)

    return call


def checked(error, printed, out):
    assert printed == ""
    assert [line.startswith("error: ") for line in error.splitlines()].count(True) == 1
    assert "\n  fix: " in error
    assert "Traceback" not in error
    assert "internal error" not in error
    if out is not None:
        assert not out.exists()
    return error[error.index("error: ") :]


def spoil(file, line, change):
    """Rewrite one line (from 1) of a JSONL file: a dict updates the record, a text replaces it."""
    lines = file.read_text(encoding="utf-8").splitlines()
    lines[line - 1] = change if isinstance(change, str) else json.dumps(json.loads(lines[line - 1]) | change)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


# --- the recipe -------------------------------------------------------------------------------------------


def test_unknown_recipe_key(refused, world):
    (world / "recipe.yaml").write_text((world / "recipe.yaml").read_text() + "trian: {}\n")
    error = refused("hop.hosp=3")
    assert "recipe.yaml:" in error
    assert "trian" in error
    assert "train" in error
    assert "hop.hosp" in error  # all faults at once
    assert "did you mean hops?" in error


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("hop.hops=many", ["hop.hops", "integer"]),
        ("explore.first=[zero-shot, clairvoyance]", ["explore.first", "clairvoyance"]),
        ("explore.first=[]", ["explore.first is empty"]),
        ("train.preference.loss=ippo", ["train.preference.loss", "ipo"]),
        ("eval.policies=[]", ["eval.policies"]),
        ("data.train_limit=0", ["data.train_limit"]),
    ],
)
def test_a_setting_that_cannot_be(refused, setting, words):
    error = refused(setting)
    assert all(word in error for word in words)


def test_a_recipe_that_is_not_there(world, capsys):
    assert run(["leret", "train", "--recipe", "leret/quickstrat"]) == 2
    assert "did you mean leret/quickstart" in checked(capsys.readouterr().err, "", world / "runs")


# --- the data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "line", "change", "words"),
    [
        ("train.jsonl", 2, '{"id": "q1", "answer": "x"}', ["train.jsonl:2", "question", "missing"]),
        ("train.jsonl", 3, {"question": 5}, ["train.jsonl:3", "question", "5"]),
        ("train.jsonl", 4, {"id": "q0"}, ["train.jsonl:4", "q0", "1"]),
        ("test.jsonl", 1, {"supporting": ["Atlantis"]}, ["q5", "Atlantis", "not in the corpus"]),
        ("test.jsonl", 2, {"supporting": []}, ["q6", "no gold title"]),
        ("train.jsonl", 5, '{"id": "q4", "question"', ["train.jsonl:5", "JSON"]),
        ("corpus.jsonl", 3, {"text": "a\x00b"}, ["corpus.jsonl:3", "text", "NUL"]),
        ("corpus.jsonl", 4, '{"id": "p3", "title": "\\ud800", "text": ""}', ["corpus.jsonl:4", "surrogate"]),
        ("corpus.jsonl", 5, {"text": "word " * 1_000_000}, ["corpus.jsonl:5", "text"]),
        ("corpus.jsonl", 6, {"id": "p0"}, ["corpus.jsonl:6", "p0"]),
        ("corpus.jsonl", 7, '{"id": "p6", "title": "no text"}', ["corpus.jsonl:7", "text", "missing"]),
    ],
    ids=[
        "missing column", "wrong type", "duplicate id", "gold title not in corpus", "question without gold",
        "broken JSON", "NUL byte", "lone surrogate", "passage of 5 MB", "duplicate passage",
        "passage without text",
    ],
)  # fmt: skip
def test_data_that_breaks_its_contract(refused, world, file, line, change, words):
    spoil(world / file, line, change)
    error = refused()
    assert all(word.lower() in error.lower() for word in words), error
    assert len(error) < 3000


@pytest.mark.parametrize("file", ["corpus.jsonl", "train.jsonl"])
def test_an_empty_file(refused, world, file):
    (world / file).write_text("")
    error = refused()
    assert file in error
    assert "empty" in error


def test_a_file_that_is_not_there(refused):
    assert "gone.jsonl" in refused("data.train=gone.jsonl")
    assert "atlas:tset" in refused("data.test=atlas:tset")


def test_a_question_from_the_shell_that_is_not_text(world, capsys):
    Path("runs/x/policy").mkdir(parents=True)
    Path("runs/x/recipe.yaml").write_bytes(Path("recipe.yaml").read_bytes())
    Path("runs/x/policy/adapter_config.json").write_text("{}")
    assert run(["leret", "search", "caf\udce9"]) == 2
    assert "not UTF-8" in checked(capsys.readouterr().err, "", None)
    assert run(["leret", "search", " "]) == 2
    assert "empty" in checked(capsys.readouterr().err, "", None)


# --- the model --------------------------------------------------------------------------------------------


def test_a_model_that_is_none(refused, world):
    (world / "mine").mkdir()
    error = refused(f"model.name={world}/mine")
    assert "is not a model" in error
    assert "config.json" in error
    assert "no such directory" in refused(f"model.name={world}/yours")
    assert "is a file" in refused("model.name=recipe.yaml")


def test_a_model_whose_weights_are_cut_short(refused, world, tiny_llama):
    copy = world / "cut"
    copy.mkdir()
    for path in tiny_llama.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    error = refused(f"model.name={copy}", clean=False)
    assert "cannot load" in error
    assert str(copy) in error


def test_an_adapter_for_another_base(refused, world, tiny_llama):
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    other = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2,
        )
    )  # fmt: skip
    get_peft_model(other, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(world / "adapter")
    error = refused(f"model.adapter={world}/adapter")
    assert "does not fit" in error
    assert str(world / "adapter") in error


# --- the output directory ---------------------------------------------------------------------------------


def test_an_output_directory_that_cannot_be_made(refused, world):
    if os.geteuid() == 0:
        place = "/proc/run"  # where not even root may write
    else:
        (world / "locked").mkdir(mode=0o500)
        place = str(world / "locked" / "run")
    error = refused(out=place, code=1)
    assert place in error
    assert "--out" in error


def test_an_output_directory_of_something_else(refused, world):
    (world / "notes").mkdir()
    (world / "notes/mine.txt").write_text("mine")
    assert "holds no run" in refused(out="notes", clean=False)
    assert [path.name for path in (world / "notes").iterdir()] == ["mine.txt"]


@pytest.fixture
def limited(world, tmp_path, monkeypatch):
    """``limited(size, ...)``: a command whose files may not grow over ``size`` bytes; (exit code, output)."""
    context = fork_server(monkeypatch)

    def call(size, *arguments):
        process = command(context, list(arguments), tmp_path / "log", file_size=size)
        process.join()
        return process.exitcode, (tmp_path / "log").read_text()

    return call


@pytest.mark.parametrize(
    ("size", "where"), [(1000, "recipe.yaml"), (4600, "journal.jsonl")], ids=["at once", "in the middle"]
)
def test_a_full_disk_while_exploring(world, limited, capsys, size, where):
    arguments = ["leret", "explore", "--recipe", "recipe.yaml", "--out", "run"]
    assert run([*arguments[:-1], "first"]) == 0  # so that the index is there already
    first = world / "first"
    assert (first / "manifest.json").stat().st_size < 4600 < (first / "journal.jsonl").stat().st_size
    capsys.readouterr()
    code, output = limited(size, *arguments)
    assert code == 1, output
    error = checked(output, "", None)
    assert where in error
    left = {path.name for path in (world / "run").rglob("*")}
    assert left <= {".lock", "recipe.yaml", "manifest.json", "journal.jsonl"}
    assert run([*arguments, "--resume"]) == 0
    for name in ("samples.jsonl", "sft.jsonl", "preferences.jsonl"):
        assert (world / "run" / name).read_bytes() == (first / name).read_bytes()


def test_a_full_disk_while_training(world, limited):
    arguments = ["leret", "train", "--recipe", "recipe.yaml", "--set", "eval.policies=[question]"]
    full = [*arguments, "--set", "train.lora.r=32", "--out", "run"]
    code, output = limited(150_000, *full)
    assert code == 1, output
    error = checked(output, "", None)
    assert "run/iterations/1" in error
    assert not (world / "run/iterations/1/sft").exists()
    assert run([*full, "--resume"]) == 0
    assert (world / "run/policy/adapter_model.safetensors").exists()


# --- the search service -----------------------------------------------------------------------------------


def http(url, timeout=1.0):
    return f"retriever={{kind: http, url: '{url}', timeout: {timeout}, retries: 0}}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((200, {}, b"<html>hello</html>"), ["no result list", "<html>hello"]),
        ({"results": "none"}, ["no result list"]),
        ({"results": [[{"id": "p0", "title": "Anna Berg", "score": "high"}]]}, ["no result list", "score"]),
        ((500, {}, b"out of order"), ["500", "out of order"]),
    ],
    ids=["garbage", "wrong form", "wrong type", "500"],
)
def test_a_service_that_fails(refused, answer, words):
    with serving(lambda handler, body: answer) as url:
        error = refused(http(url), code=1, clean=False)
    assert url in error
    assert all(word in error for word in words), error


def test_a_service_that_hangs(refused):
    released = threading.Event()
    with serving(lambda handler, body: released.wait(30) and {"results": []}) as url:
        error = refused(http(url, timeout=0.3), code=1, clean=False)
        released.set()
    assert url in error
    assert "0.3" in error


def test_a_service_that_is_not_there(refused):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/search"
    assert url in refused(http(url), code=1, clean=False)


def test_a_service_that_fails_leaves_a_run_to_resume(refused, world, capsys):
    with serving(lambda handler, body: (500, {}, b"")) as url:
        refused(http(url), code=1, clean=False)
        assert not (world / "run/samples.jsonl").exists()
        assert not list((world / "run").rglob("*.part"))

    def answer(handler, body):
        hits = [{"id": "p0", "title": "Anna Berg", "score": 1.0}]
        return {"results": [hits for _ in body["queries"]]}

    with serving(answer) as url:
        words = ["--set", http(url)]
        assert run(["leret", "explore", "--recipe", "recipe.yaml", "--out", "again", *words]) == 0
