"""The mistakes of a first hour: each is one sentence that names the place, and the line that mends it.

A row: what the person did, the command line, the exit code, words of the message, words of the mend.
"""

import errno
import gzip
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loopback import serving
from tiny import save_adapter, save_tiny_llama
from written_run import write_calibration_run, write_run

from lmtools.cli.app import run

PAIR = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
QUESTION = {"id": "q1", "question": "Who wrote Faust?", "answer": "Goethe", "supporting": ["Faust"]}
PASSAGE = {"id": "1", "title": "Faust", "text": "Faust is a play by Goethe."}
COMMON = "--set data.corpus=corpus.jsonl --set data.test=questions.jsonl --set data.train=questions.jsonl"

MISTAKES = [
    # paths and names
    (
        "a file's name is mistyped",
        "data check quesions.jsonl",
        2,
        "quesions.jsonl: no such file",
        "questions.jsonl?",
    ),
    (
        "a corpus is mistyped in a setting",
        "leret train --dry-run --set data.corpus=korpus.jsonl",
        2,
        "korpus.jsonl: no such file",
        "/corpus.jsonl?",
    ),
    ("a task is mistyped", "eval calibration --dry-run --task atls", 2, "unknown task 'atls'", "atlas"),
    (
        "a recipe is mistyped",
        "ats fit --recipe ats/quikstart",
        2,
        "did you mean ats/quickstart",
        "recipes ls",
    ),
    ("a command is mistyped", "leret trian", 2, "Did you mean 'train'?", "leret --help"),
    (
        "a command is asked for without its group",
        "train",
        2,
        "No such command 'train'",
        "lmtools leret train",
    ),
    ("an option is mistyped", "ats fit --recip x", 2, "--recip", "ats fit --help"),
    ("a built-in model is mistyped", "models pull smolm2-135m-instruct", 2, "smolm2", "builtin:"),
    (
        "a model's directory is mistyped",
        "generate --prompt x --model ./modle",
        2,
        "no such directory",
        "director",
    ),
    # settings and recipes
    ("a setting is mistyped", "ats fit --set data.trian=x", 2, "did you mean train?", "recipes show"),
    (
        "a setting has the wrong type",
        "ats fit --set seed=many",
        2,
        "seed: should be a valid integer",
        "recipes show",
    ),
    ("a setting without a value", "ats fit --set seed", 2, "seed", "key=value"),
    (
        "a recipe of another system",
        "ats fit --recipe leret/quickstart",
        2,
        "a recipe for leret",
        "lmtools leret train --recipe leret/quickstart",
    ),
    # data
    ("an empty file", "data check empty.jsonl", 2, "empty.jsonl", ""),
    ("a column is missing", "data check no-text.jsonl", 2, "no-text.jsonl:1: text: missing", "add `text`"),
    ("a column's name is nearly right", "data check promt.jsonl", 2, "promt", "rename `promt` to `prompt`"),
    ("a broken line", "data check broken.jsonl", 2, "broken.jsonl:2", "broken.jsonl"),
    ("a file in Latin-1", "data check latin.jsonl", 2, "is not UTF-8", "iconv"),
    ("a download that was cut off", "data check cut.jsonl.gz", 2, "damaged gzip", "fetch"),
    (
        "preference pairs for a corpus",
        f"leret train --dry-run {COMMON} --set data.corpus=pairs.jsonl",
        2,
        "pairs.jsonl",
        '"title"',
    ),
    ("gold titles that no passage has", "data check lost.jsonl --corpus corpus.jsonl", 2, "Elsewhere", ""),
    # models
    (
        "an adapter for another base",
        "generate --prompt x --model ./tiny --set model.adapter=./adapter",
        2,
        "adapter",
        "",
    ),
    (
        "weights that can only be unpickled",
        "generate --prompt x --model ./pickled",
        2,
        "pickle",
        "safetensors",
    ),
    ("weights that are damaged", "generate --prompt x --model ./damaged", 2, "./damaged", "complete"),
    (
        "a GPU on a machine without",
        "generate --prompt x --model ./tiny --set model.device=cuda",
        2,
        "'cuda'",
        "model.device=auto or cpu",
    ),
    (
        "vLLM without its package",
        "generate --prompt x --model ./tiny --backend vllm",
        2,
        "vLLM, which is not installed",
        "pip install",
    ),
    # runs
    ("a run that is not there", "report runs/mine", 2, "runs/mine: holds no run", "runs/leret-train"),
    (
        "a run's name is mistyped",
        "hyre adapt --run runs/quiz-evla",
        2,
        "no such directory",
        "runs/quiz-eval?",
    ),
    (
        "another system's run",
        "ats eval runs/quiz-eval",
        2,
        "it is a run of `lmtools eval calibration`",
        "ats fit",
    ),
    (
        "another system's policy",
        "leret search why --policy runs/quiz-eval",
        2,
        "no trained policy",
        "leret train",
    ),
    (
        "a run that was not finished",
        "hyre adapt --run runs/unfinished",
        2,
        "has not come to its end",
        "--resume",
    ),
    ("nothing fitted yet", "ats eval", 2, "no fitted head under runs/", "ats fit"),
    ("nothing trained yet", "leret search why", 2, "no trained policy under runs/", "leret train"),
    (
        "--out is a folder of something else",
        "eval calibration --model ./tiny --task quiz.jsonl --out things",
        2,
        "holds no run",
        "another directory",
    ),
    (
        "a finished run's directory",
        "eval calibration --model ./tiny --task quiz.jsonl --out runs/quiz-eval",
        2,
        "a finished run",
        "--resume",
    ),
]


TAKEN = [
    ("CSV under the name of JSONL", "data check table.jsonl"),
    ("a JSON array under the name of JSONL", "data check array.jsonl"),
    ("a Windows file with a mark in front", "data check windows.jsonl"),
    ("an adapter given as a model", "generate --prompt x --model ./adapter --max-tokens 1"),
    ("a base model, without a chat template, as a policy", "leret train --model ./base --dry-run"),
]
"""What looks like a mistake and is simply taken as it was meant."""


@pytest.fixture(scope="module")
def models(tmp_path_factory, tiny_llama):
    """A tiny chat model, a base model, an adapter for another model, and two broken ones."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(tiny_llama, folder / "tiny")
    base = shutil.copytree(tiny_llama, folder / "base")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    save_adapter(save_tiny_llama(folder / "other", seed=7), folder / "adapter")
    pickled = shutil.copytree(tiny_llama, folder / "pickled")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    damaged = shutil.copytree(tiny_llama, folder / "damaged")
    (damaged / "model.safetensors").write_bytes(b"\xff" * 100)
    return folder


@pytest.fixture
def desk(tmp_path, monkeypatch, models):
    """The folder that a newcomer works in."""
    monkeypatch.chdir(tmp_path)
    for path in models.iterdir():
        (tmp_path / path.name).symlink_to(path)

    def write(name, *rows):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    write("questions.jsonl", QUESTION)
    write("quiz.jsonl", QUESTION)
    write("corpus.jsonl", PASSAGE)
    write("pairs.jsonl", PAIR)
    write("lost.jsonl", {**QUESTION, "supporting": ["Elsewhere"]})
    write("no-text.jsonl", {"id": "1", "title": "Faust"})
    write("promt.jsonl", {"promt": "Why?", "chosen": "Because.", "rejected": "No."})
    write("empty.jsonl")
    (tmp_path / "table.jsonl").write_text("id,question,answer\nq1,Who wrote Faust?,Goethe\n")
    (tmp_path / "array.jsonl").write_text(json.dumps([PASSAGE]))
    (tmp_path / "windows.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(PASSAGE).encode() + b"\r\n")
    (tmp_path / "broken.jsonl").write_text(json.dumps(PAIR) + '\n{"prompt": "Why?", "chosen"\n')
    (tmp_path / "latin.jsonl").write_bytes('{"id": "1", "title": "Café", "text": "x"}\n'.encode("latin-1"))
    (tmp_path / "utf16.jsonl").write_bytes(json.dumps(PASSAGE).encode("utf-16"))
    whole = gzip.compress(json.dumps(PAIR).encode() * 50)
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "things").mkdir()
    (tmp_path / "things" / "letter.txt").write_text("Dear all,")
    write_calibration_run(tmp_path / "runs" / "quiz-eval", {"uncalibrated": [True]})
    write_run(tmp_path / "runs" / "unfinished", command=("lmtools", "hyre", "train"))
    return tmp_path


def refused(capsys, words, code):
    """The message and the mend that a program reads, once a person was told the same without a traceback."""
    capsys.readouterr()
    assert run([*words, "--json"]) == code
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert "Traceback" not in err
    assert "internal error" not in err
    return value["error"], value["fix"]


@pytest.mark.parametrize(
    ("did", "line", "code", "message", "mend"), MISTAKES, ids=[row[0] for row in MISTAKES]
)
def test_a_mistake_is_a_sentence_with_its_mend(desk, capsys, did, line, code, message, mend):
    before = sorted(path.name for path in (desk / "runs").iterdir())
    said, fix = refused(capsys, shlex.split(line), code)
    assert message in said + fix
    assert mend in fix + said
    assert fix
    assert sorted(path.name for path in (desk / "runs").iterdir()) == before  # no half-made run


@pytest.mark.parametrize(("did", "line"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_is_no_mistake_is_taken(desk, capsys, did, line):
    assert run([*shlex.split(line), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_there_are_more_than_twenty():
    assert len(MISTAKES) > 20


@pytest.mark.parametrize(
    "status",
    [404, 401, 403],
    ids=[
        "a name that the hub has not",
        "a gated model without a token",
        "a gated model that was not granted",
    ],
)
def test_the_hub_says_no(desk, capsys, monkeypatch, status):
    headers = {"X-Error-Code": "RepoNotFound" if status == 404 else "GatedRepo", "X-Error-Message": "no"}
    with serving(lambda handler, body: (status, headers, b"{}")) as url:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        said, fix = refused(capsys, ["generate", "--prompt", "x", "--model", "some-org/some-model"], 2)
    assert "some-org/some-model" in said
    assert "check the spelling" in fix
    assert "hf auth login" in fix


def fails(error):
    def raise_it(*_, **__):
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("did", "error", "message", "mend"),
    [
        ("no memory", MemoryError("no room"), "out of memory", "model.batch_tokens"),
        (
            "no memory on a GPU",
            torch.OutOfMemoryError("CUDA out of memory"),
            "out of memory",
            "smaller model",
        ),
        (
            "a full disk",
            OSError(errno.ENOSPC, "No space left", "runs/x"),
            "the disk is full at runs/x",
            "then run the same command",
        ),
        (
            "a folder of somebody else",
            PermissionError(errno.EACCES, "denied", "runs/x"),
            "no permission",
            "--out",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_the_machine_says_no(desk, capsys, monkeypatch, did, error, message, mend):
    monkeypatch.setattr("lmtools.generation.hf.load", fails(error))
    said, fix = refused(capsys, ["generate", "--prompt", did, "--model", "./tiny"], 1)
    assert message in said
    assert mend in fix


def test_two_processes_on_one_run(desk, capsys):
    code = (
        "import fcntl, sys, time; f = open('runs/quiz-eval/.lock', 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        words = [
            "eval",
            "calibration",
            "--model",
            "./tiny",
            "--task",
            "quiz.jsonl",
            "--out",
            "runs/quiz-eval",
        ]
        said, fix = refused(capsys, words, 2)
        other.kill()
    assert "another process is writing this run" in said
    assert "wait for it" in fix


def test_the_makefile_tells_of_a_python_that_is_too_old(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$1" in --version) echo "Python 3.9.1";; *) exit 1;; esac\n')
    old.chmod(0o755)
    root = Path(__file__).parents[2]
    words = [
        "make",
        "--no-print-directory",
        "-C",
        str(root),
        f"PYTHON={old}",
        f"VENV={tmp_path}/venv",
        "test",
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "lmtools needs Python 3.11 to 3.13" in done.stderr
    assert "make PYTHON=" in done.stderr
