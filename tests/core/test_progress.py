"""Progress: quiet in a pipe, on stderr only, silent in the second process."""

import time

import pytest

from lmtools.core import progress as module
from lmtools.core.progress import describe, duration, progress, say, working


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (8, "8.0 s"),
        (42.4, "42 s"),
        (60, "1 min"),
        (250, "4 min 10 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_describe():
    assert describe(120, 600, 60) == "120/600 (2/s, 4 min left)"
    assert describe(5, None, 10) == "5 (0.5/s)"
    assert describe(0, 10, 0) == "0/10 (0/s)"


def test_in_a_pipe_a_line_at_the_start_and_one_at_the_end(capsys):
    with progress(3, "exploring") as bar:
        for _ in range(3):
            bar.advance()
    out, err = capsys.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first == "exploring: 3 to do"
    assert last.startswith("exploring: 3 done in ")


class Clock:
    """Stands in for ``time`` in the module: moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(module, "_pulse", module._Pulse())
    return made


def test_in_a_pipe_at_most_one_line_in_ten_seconds(capsys, clock, monkeypatch):
    monkeypatch.setattr(module.threading.Thread, "start", lambda self: None)
    with progress(None, "reading") as bar:
        for _ in range(6):
            clock.now += 4
            bar.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "reading: started",
        "reading: 6 (0.5/s)",
        "reading: 12 (0.5/s)",
        "reading: 12 done in 24 s",
    ]


def waited(capsys, lines):
    """What stderr has once it has this many lines."""
    said, end = "", time.monotonic() + 10
    while said.count("\n") < lines and time.monotonic() < end:
        time.sleep(0.01)
        said += capsys.readouterr().err
    return said.splitlines()


def test_a_batch_that_takes_longer_speaks_too(capsys, clock, monkeypatch):
    monkeypatch.setattr(module, "QUIET_SECONDS", 0.5)
    with working("[measure]"):
        clock.now = 3.0
        assert waited(capsys, 1) == ["[measure]: 3.0 s so far"]
        with progress(4, "answering") as bar:
            clock.now = 12.0
            assert waited(capsys, 2) == ["answering: 4 to do", "answering: on the first of 4, 9.0 s so far"]
            bar.advance()
            clock.now = 21.0
            assert waited(capsys, 1)[-1] == "answering: 1/4 (0.0556/s, 54 s left)"
        assert waited(capsys, 1) == ["answering: 1 done in 18 s"]
    clock.now = 99.0
    time.sleep(0.2)
    assert capsys.readouterr().err == ""


def test_an_error_inside_passes_through_and_no_end_is_claimed(capsys):
    with pytest.raises(KeyError), progress(3, "exploring"):
        raise KeyError
    assert "done" not in capsys.readouterr().err


def test_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress(2, "exploring") as bar:
        bar.advance(2)
    out, err = capsys.readouterr()
    assert out == ""
    assert "exploring" in err
    assert "2/2" in err


def test_only_the_first_process_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    say("hello")
    with progress(1, "exploring") as bar:
        bar.advance()
    assert capsys.readouterr() == ("", "")
