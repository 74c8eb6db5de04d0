"""Trackers: absent, failing, pretended and real ones."""

import json
import math
import sqlite3
import subprocess
import sys
from importlib.util import find_spec
from types import ModuleType

import pytest

from lmtools.core import tracking
from lmtools.core.errors import MachineError, MissingPackageError
from lmtools.core.tracking import FilteredTracker, PartTracker, TrackedRun, check_tracker, open_tracker


class Kept:
    def __init__(self, fails=False):
        self.sent, self.closed, self.fails = [], 0, fails

    def log(self, part, record, step=None):
        if self.fails:
            raise OSError("no route")
        self.sent.append((part, dict(record), step))

    def close(self):
        self.closed += 1


@pytest.fixture
def tracked(tmp_path):
    return TrackedRun("ats-fit", "0123456789abcdef", tmp_path, {"seed": 3, "model": {"name": "tiny"}})


@pytest.mark.parametrize("name", sorted(tracking.PACKAGES))
def test_an_absent_package_is_named_with_the_line_that_installs_it(name, tracked, monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda package: None)
    for refuses in (lambda: check_tracker(name), lambda: open_tracker(name, tracked)):
        with pytest.raises(MissingPackageError) as caught:
            refuses()
        assert f"--track {name}" in caught.value.message
        assert caught.value.fix == f"pip install {tracking.PACKAGES[name]}"


def test_only_finite_numbers_pass():
    kept = Kept()
    FilteredTracker("fake", kept).log(
        "SFT", {"loss": 1, "text": "x", "flag": True, "nan": math.nan, "rate": 0.5}, 3
    )
    FilteredTracker("fake", kept).log("SFT", {"text": "x"}, 4)
    assert kept.sent == [("SFT", {"loss": 1.0, "rate": 0.5}, 3)]


def test_a_tracker_that_fails_is_left_alone_after_one_note(capsys):
    kept = Kept(fails=True)
    sent = FilteredTracker("wandb", kept)
    for step in range(3):
        sent.log("SFT", {"loss": 1.0}, step)
    sent.close()
    told = capsys.readouterr().err
    assert told.count("wandb failed") == 1
    assert "no route" in told
    assert kept.closed == 0


def test_a_part_of_a_run_has_its_prefix_and_does_not_close():
    kept = Kept()
    part = PartTracker(kept, "ats")
    part.log("linear", {"loss": 1.0}, 2)
    part.close()
    assert kept.sent == [("ats/linear", {"loss": 1.0}, 2)]
    assert not kept.closed


@pytest.fixture
def wandb(monkeypatch):
    """A module in wandb's place that keeps what it is told."""
    told = {"log": [], "metrics": [], "summary": {}, "finished": 0}
    module = ModuleType("wandb")

    class FakeRun:
        summary = told["summary"]

        def log(self, record):
            told["log"].append(record)

        def define_metric(self, name, step_metric):
            told["metrics"].append((name, step_metric))

        def finish(self):
            told["finished"] += 1

    def init(**options):
        told["init"] = options
        return FakeRun()

    module.init, module.Settings = init, dict
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr(tracking, "find_spec", lambda package: object())
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return told


def test_wandb_is_told_of_run_curves_and_figures(wandb, tracked):
    sent = open_tracker("wandb", tracked)
    sent.log("linear", {"loss": 2.0}, 1)
    sent.log("linear", {"loss": 1.0}, 2)
    sent.log("mlp", {"loss": 3.0}, 1)
    sent.log("metrics", {"policy/recall": 0.5})
    sent.close()
    options = wandb["init"]
    assert (options["project"], options["name"], options["id"]) == ("lmtools", "ats-fit", "0123456789abcdef")
    assert options["config"] == tracked.recipe
    assert options["resume"] == "allow"
    assert "mode" not in options  # WANDB_MODE is the user's
    assert not options["settings"]["save_code"]
    assert wandb["metrics"] == [("linear/*", "linear/step"), ("mlp/*", "mlp/step")]
    assert [record["linear/step"] for record in wandb["log"][:2]] == [1.0, 2.0]
    assert wandb["log"][2] == {"mlp/loss": 3.0, "mlp/step": 1}
    assert wandb["summary"] == {"metrics/policy/recall": 0.5}
    assert wandb["finished"] == 1


def test_one_that_cannot_begin_is_an_error_that_can_be_mended(wandb, tracked, monkeypatch):
    def refuse(**options):
        raise RuntimeError("api_key not configured (no-tty).")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(MachineError, match="api_key not configured") as caught:
        open_tracker("wandb", tracked)
    assert "WANDB_MODE=offline" in caught.value.fix


def test_tensorboard_reads_back_what_was_sent(tracked):
    pytest.importorskip("tensorboard", reason="pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sent = open_tracker("tensorboard", tracked)
    for step, loss in ((1, 3.0), (2, 2.5)):
        sent.log("scalar (NLL)", {"loss": loss}, step)
    sent.log("metrics", {"SFT + preference/recall@hop2": 0.5})
    sent.close()
    events = EventAccumulator(str(tracked.directory / "tensorboard")).Reload()
    assert len(events.Tags()["scalars"]) == 2
    [curve] = [tag for tag in events.Tags()["scalars"] if tag.endswith("/loss")]
    assert [(event.step, event.value) for event in events.Scalars(curve)] == [(1, 3.0), (2, 2.5)]


TRACKIO = """
import sys
from pathlib import Path
from lmtools.core.tracking import TrackedRun, open_tracker
folder = Path(sys.argv[1])
for first, last in ((1, 3), (3, 5)):  # the second time as a run that is resumed
    sent = open_tracker("trackio", TrackedRun("ats-fit", "0123456789abcdef", folder, {"seed": 3}))
    for step in range(first, last):
        sent.log("linear", {"loss": 1.0 / step}, step)
    sent.close()
"""


@pytest.mark.skipif(find_spec("trackio") is None, reason="pip install trackio")
def test_trackio_keeps_what_was_sent_on_this_machine(tmp_path):
    """In a process of its own: trackio's folder is fixed when it is imported."""
    settings = {
        "TRACKIO_DIR": str(tmp_path / "kept"),
        "HF_HUB_OFFLINE": "1",
        "PATH": "",
        "HOME": str(tmp_path),
    }
    command = [sys.executable, "-c", TRACKIO, str(tmp_path)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""  # which is the command's
    [database] = (tmp_path / "kept").glob("lmtools*.db")
    with sqlite3.connect(database) as opened:
        rows = opened.execute("select run_name, step, metrics from metrics order by step").fetchall()
    assert {name for name, _, _ in rows} == {"ats-fit-01234567"}
    assert [(step, json.loads(metrics)["linear/loss"]) for _, step, metrics in rows] == [
        (step, 1.0 / step) for step in range(1, 5)
    ]


def test_naming_no_tracker_imports_none():
    code = "import sys, lmtools.core.run, lmtools.cli.options; print(sorted(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in found for name in ("trackio", "wandb", "tensorboard", "torch"))
