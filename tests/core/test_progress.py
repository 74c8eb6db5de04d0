"""Progress: quiet in a pipe, on stderr only, silent in the second process."""

import pytest

from lmtools.core import progress as module
from lmtools.core.progress import describe, duration, progress, say


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


def test_in_a_pipe_at_most_one_line_in_30_seconds(capsys, monkeypatch):
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with progress(None, "reading") as bar:
        for _ in range(6):
            bar.advance(2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["reading: started", "reading: 6 (0.2/s)", "reading: 12 (0.2/s)"]
    assert len(lines) == 4


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
