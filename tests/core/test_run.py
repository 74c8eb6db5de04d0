"""Run directories: who may write one, when one may be continued, and where a new one goes."""

import json
import os
import subprocess
import sys

import pytest

from lmtools.core.config import Config
from lmtools.core.errors import MachineError, RunError
from lmtools.core.files import file_name
from lmtools.core.recipe import dump_recipe
from lmtools.core.results import Interval, Row
from lmtools.core.run import Run, default_out, started_with


class Toy(Config):
    system: str = "toy"
    steps: int = 2
    tags: tuple[str, ...] = ("a",)


def create(directory, config=None, *, resume=False, inputs=None, seed=0, command=("lmtools", "toy", "train")):
    return Run.create(
        directory,
        config or Toy(),
        command=command,
        inputs=inputs or {"q.jsonl": "00"},
        resume=resume,
        seed=seed,
    )


def finish(run):
    run.finish(run.results("toy/good", [Row("base", {"recall": Interval(0.5, 0.4, 0.6, 10)})]))


def manifest(directory):
    return json.loads((directory / "manifest.json").read_text())


def test_a_whole_run(tmp_path, capsys):
    with create(tmp_path / "run") as run:
        with run.stage("explore"):
            run.journal().append("q1", {"reward": 1.0})
        assert run.journal() is run.journal()
        finish(run)
    assert (tmp_path / "run" / "recipe.yaml").read_text() == "system: toy\nsteps: 2\ntags:\n- a\n"
    written = manifest(tmp_path / "run")
    assert written["command"] == ["lmtools", "toy", "train"]
    assert written["inputs"] == {"q.jsonl": "00"}
    assert list(written["stages"]) == ["explore"]
    assert written["finished"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["recipe"], metrics["command"], metrics["seed"]) == ("toy/good", "lmtools toy train", 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "[explore]" in err


def test_a_second_run_needs_resume_or_another_place(tmp_path):
    create(tmp_path).close()
    with pytest.raises(RunError, match="holds an unfinished run of `lmtools toy train`") as caught:
        create(tmp_path)
    assert "--resume" in caught.value.fix
    assert "--out" in caught.value.fix
    with create(tmp_path, resume=True) as run:
        finish(run)
    with pytest.raises(RunError, match="holds a finished run"):
        create(tmp_path)


def test_resuming_keeps_start_journal_and_stage_seconds(tmp_path):
    with create(tmp_path) as run:
        run.journal().append("a", {"x": 1})
        with pytest.raises(KeyError), run.stage("explore"):
            raise KeyError
    before = manifest(tmp_path)
    assert "explore" in before["stages"]
    with create(tmp_path, resume=True, command=("lmtools", "toy", "train", "--resume")) as run:
        assert run.journal().get("a") == {"x": 1}
    after = manifest(tmp_path)
    assert len(after.pop("resumed")) == 1
    before.pop("resumed")
    assert after == before


def test_resume_refuses_what_was_started_differently_and_names_it(tmp_path):
    create(tmp_path, inputs={"q.jsonl": "00", "c.jsonl": "11"}).close()
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(RunError) as caught:
        create(
            tmp_path,
            Toy(steps=3, tags=("a", "b")),
            resume=True,
            inputs={"q.jsonl": "01", "d.jsonl": "2"},
            seed=1,
        )
    assert caught.value.message.splitlines()[1:] == [
        "  steps: was 2, is 3",
        "  tags.1: was absent, is b",
        "  input c.jsonl: is gone",
        "  input d.jsonl: is new",
        "  input q.jsonl: has changed",
        "  seed: was 0, is 1",
    ]
    assert (tmp_path / "manifest.json").read_bytes() == before
    create(tmp_path, resume=True, inputs={"q.jsonl": "00", "c.jsonl": "11"}).close()  # the lock was let go


def test_a_changed_version_is_said(tmp_path, capsys):
    create(tmp_path).close()
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text().replace('"lmtools": "0.1.0"', '"lmtools": "0.0.9"'))
    create(tmp_path, resume=True).close()
    assert "lmtools was 0.0.9 when this run started" in capsys.readouterr().err


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, resume):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        create(tmp_path, resume=resume)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize(
    "names", [[], [".lock"], [".lock", "recipe.yaml"], [".lock", ".recipe.yaml.x1.part"]]
)
def test_killed_before_the_manifest_it_starts_afresh(tmp_path, names, resume):
    for name in names:
        (tmp_path / name).write_text("")
    create(tmp_path, resume=resume).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "manifest.json", "recipe.yaml"]


def test_torn_files_of_a_killed_run_are_removed(tmp_path):
    create(tmp_path).close()
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / ".model.safetensors.ab.part").write_text("")
    (tmp_path / "policy" / ".vllm.cd.part").mkdir()
    (tmp_path / "policy" / ".vllm.cd.part" / ".config.json.ef.part").write_text("")
    create(tmp_path, resume=True).close()
    assert list((tmp_path / "policy").iterdir()) == []


def test_two_processes_cannot_write_one_run(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_run import create; from pathlib import Path\n"
        "run = create(Path(sys.argv[2])); print('open', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, os.path.dirname(__file__), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert other.stdout.readline() == "open\n"
    with pytest.raises(RunError, match="another process is writing this run"):
        create(tmp_path, resume=True)
    other.communicate("")
    create(tmp_path, resume=True).close()


def test_the_second_of_several_processes_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with create(tmp_path / "run") as run:
        with run.stage("explore"):
            run.journal().append("a", {})
        finish(run)
        assert not run.writes
    assert not (tmp_path / "run").exists()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot write"):
        create(tmp_path / "file" / "run")


def test_default_out_takes_the_next_free_name(tmp_path):
    assert default_out("toy", "train", root=tmp_path) == tmp_path / "toy-train"
    create(tmp_path / "toy-train").close()
    assert default_out("toy", "train", root=tmp_path) == tmp_path / "toy-train-2"
    (tmp_path / "toy-train-2").mkdir()
    assert default_out("toy", "train", root=tmp_path) == tmp_path / "toy-train-2"
    (tmp_path / "toy-train-2" / "x").write_text("")
    assert default_out("toy", "train", root=tmp_path) == tmp_path / "toy-train-3"
    assert default_out("toy", "eval", root=tmp_path) == tmp_path / "toy-eval"


def test_default_out_resumes_the_last_unfinished(tmp_path, capsys):
    assert default_out("toy", "train", resume=True, root=tmp_path) == tmp_path / "toy-train"
    assert "no unfinished run of toy train" in capsys.readouterr().err
    for name in ("toy-train", "toy-train-2", "toy-train-3"):
        with create(tmp_path / name) as run:
            if name == "toy-train-3":
                finish(run)
    assert default_out("toy", "train", resume=True, root=tmp_path) == tmp_path / "toy-train-2"


def test_started_with_knows_the_same_run(tmp_path):
    create(tmp_path / "run", inputs={"q.jsonl": "00"}, seed=1).close()
    recipe = dump_recipe(Toy())
    assert started_with(tmp_path / "run", recipe, {"q.jsonl": "00"}, 1)
    assert not started_with(tmp_path / "run", recipe, {"q.jsonl": "01"}, 1)
    assert not started_with(tmp_path / "run", recipe, {"q.jsonl": "00"}, 2)
    assert not started_with(tmp_path / "run", dump_recipe(Toy(steps=3)), {"q.jsonl": "00"}, 1)
    assert started_with(tmp_path / "nothing yet", recipe, {}, 0)


def test_a_name_of_a_file_is_no_path():
    assert file_name("dsp-academy") == "dsp-academy"
    assert "/" not in file_name("/etc/passwd") + file_name("../../x")
    assert file_name("..") not in (".", "..")
    assert len(file_name("x" * 500)) <= 120
    assert file_name("x" * 500) != file_name("x" * 501)
