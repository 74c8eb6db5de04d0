"""training.jsonl: what it holds, what it leaves out, and that a loop gone through twice adds nothing."""

import json
import math

import pytest

from lmtools.core.config import Config
from lmtools.core.results import Interval, Row
from lmtools.core.run import Run
from lmtools.core.tracking import Curves, Point, read_curves


class Heard:
    """A tracker that keeps what it is sent."""

    def __init__(self):
        self.sent, self.closed = [], False

    def log(self, part, record, step=None):
        self.sent.append((part, dict(record), step))

    def close(self):
        self.closed = True


def open_run(directory, resume=False):
    return Run.create(directory, Config(), command=["lmtools"], inputs={}, resume=resume, seed=0)


def test_a_point_tells_what_is_known(tmp_path):
    curves = Curves(tmp_path / "training.jsonl")
    curves.add("linear", Point(4, 1, 1.5, 0.1, 1.25))
    curves.add("LoRA", Point(1, 1, 2.0))
    curves.add("linear", Point(8, 2, 1.0, 0.05, math.inf))
    curves.close()
    assert read_curves(tmp_path / "training.jsonl") == [
        {"part": "linear", "step": 4, "epoch": 1, "loss": 1.5, "learning_rate": 0.1, "validation_loss": 1.25},
        {"part": "LoRA", "step": 1, "epoch": 1, "loss": 2.0},
        {"part": "linear", "step": 8, "epoch": 2, "loss": 1.0, "learning_rate": 0.05},
    ]


def test_nothing_is_written_before_the_first_point(tmp_path):
    Curves(tmp_path / "training.jsonl").close()
    assert not (tmp_path / "training.jsonl").exists()
    assert read_curves(tmp_path / "training.jsonl") == []


@pytest.mark.parametrize("torn", ['{"part": "linear", "st', ""])
def test_a_step_that_is_there_is_not_added_again(tmp_path, torn):
    path = tmp_path / "training.jsonl"
    first = Curves(path)
    first.add("linear", Point(1, 1, 3.0))
    first.close()
    path.write_text(path.read_text() + torn)
    again = Curves(path)
    assert not again.add("linear", Point(1, 1, 3.0))
    assert again.add("linear", Point(2, 1, 2.0))
    assert again.add("mlp", Point(1, 1, 3.0))
    again.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 1]


def test_the_tracker_gets_what_is_new_and_the_final_figures_once(tmp_path):
    row = Row("policy", {"recall": Interval(0.5, 0.4, 0.6, 10)})
    heard = Heard()
    with open_run(tmp_path / "run") as run:
        run.tracker = heard
        run.curve("SFT")(Point(1, 1, 3.0))
        run.curve("SFT")(Point(1, 1, 3.0))
        run.finish(run.results("r", [row]))
    assert heard.sent == [
        ("SFT", {"step": 1, "epoch": 1, "loss": 3.0}, 1),
        ("metrics", {"policy/recall": 0.5}, None),
    ]
    assert heard.closed
    heard = Heard()
    with open_run(tmp_path / "run", resume=True) as run:
        run.tracker = heard
        run.curve("SFT")(Point(1, 1, 3.0))
        run.finish(run.results("r", [row]))
    assert heard.sent == []


def test_only_the_first_process_writes_curves(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with open_run(tmp_path / "run") as run:
        run.curve("SFT")(Point(1, 1, 3.0))
    assert not (tmp_path / "run").exists()
