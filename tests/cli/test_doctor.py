"""``lmtools doctor``: what it reports, and that it names the line that installs what is missing."""

import json
import sys

import pytest

from lmtools.cli import doctor as module
from lmtools.cli.app import run
from lmtools.cli.doctor import OPTIONAL, PARTS, Part
from lmtools.core.files import cache_dir
from lmtools.models.builtin import BUILTINS


def report(capsys):
    return json.loads(capsys.readouterr().out)


def test_json_report(capsys):
    assert run(["doctor", "--json"]) == 0
    found = report(capsys)
    assert found["ok"]
    assert found["versions"]["python"] == sys.version.split()[0]
    assert found["cache"]["path"] == str(cache_dir())
    assert found["cache"]["free_gb"] > 0
    assert found["machine"]["cores"] >= 1
    assert isinstance(found["gpus"], list)
    assert found["builtin_models"] == dict.fromkeys(BUILTINS, False)


def test_a_missing_required_part_is_exit_1_with_its_line(capsys, monkeypatch):
    part = Part("retrieval: dense", ("json", "no_such_module_here"), "pip install it")
    monkeypatch.setattr(module, "PARTS", (part,))
    assert run(["doctor"]) == 1
    assert "missing no_such_module_here: pip install it" in capsys.readouterr().out


def test_a_missing_optional_part_is_fine(capsys, monkeypatch):
    monkeypatch.setattr(module, "PARTS", (Part(OPTIONAL[0], ("no_such_module_here",), "pip install it"),))
    assert run(["doctor", "--json"]) == 0
    (part,) = report(capsys)["parts"]
    assert part["missing"] == ["no_such_module_here"]


def test_the_speed_of_each_precision_is_measured(capsys, monkeypatch):
    monkeypatch.delenv("LMTOOLS_DTYPE")
    rates = {"float32": 30.0, "bfloat16": 1.5, "float16": 0.0}
    monkeypatch.setattr("lmtools.models.precision.measure_matmul", lambda dtype, device: rates[dtype])
    assert run(["doctor", "--json"]) == 0
    found = report(capsys)["precision"]
    assert (found["gflops"], found["dtype"]) == (rates, "float32")
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "float32 30, bfloat16 1.5, float16 0" in said
    assert "auto is float32: bfloat16 is 20 times slower on this processor (1.5 against 30 GFLOP/s)" in said


def test_present_models_and_used_space_are_seen(capsys):
    folder = BUILTINS["all-minilm-l6-v2"].folder
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\0" * 20_000_000)
    assert run(["doctor", "--json"]) == 0
    found = report(capsys)
    assert found["builtin_models"] == {"smollm2-135m-instruct": False, "all-minilm-l6-v2": True}
    assert found["cache"]["used_gb"] == 0.02


def test_absent_models_come_with_the_line_that_fetches_them(capsys):
    assert run(["doctor"]) == 0
    assert "lmtools models pull builtin:smollm2-135m-instruct" in capsys.readouterr().out


def test_cuda_builds_beside_a_cpu_torch_are_noted(monkeypatch):
    fakes = {"torch": "2.13.0+cpu", "torchvision": "0.28.0", "torchaudio": "2.13.0+stub"}
    monkeypatch.setattr(module, "installed_version", fakes.get)
    (note,) = module._notes()
    assert "pip uninstall torchvision" in note


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_says_how_to_install_it(part):
    assert part.modules
    assert "install" in part.install
