"""Asking in the terminal: by scripted keys, by lines, and by single keys under a pseudo-terminal."""

import io
import math
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from types import SimpleNamespace

import numpy as np
import pytest
from imported import HEAVY, modules_after
from rich.console import Console

from lmtools.cli.ask import KEYS, Keys, ask, show_all, show_pair, weight_line
from lmtools.core.journal import Journal
from lmtools.core.strings import printable
from lmtools.data.records import Turn
from lmtools.hyre.session import Candidate, Session
from lmtools.hyre.settings import AdaptSettings

LONG = " ".join(f"word{number}" for number in range(400))


def pairs(count: int) -> list[Candidate]:
    return [
        Candidate(f"p{n}", (Turn(role="user", content=f"Why {n}?"),), f"one {n}", f"two {n}")
        for n in range(count)
    ]


def opened(path, count=6) -> Session:
    margins = np.random.default_rng(0).normal(size=(count, 3))
    return Session(pairs(count), margins, np.zeros(3), AdaptSettings(), "bald", 0, Journal(path))


def screen(width=80, height=24, terminal=False) -> Console:
    return Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal, color_system=None)


def scripted(*pressed: str, person=False) -> Keys:
    left = iter(pressed)
    return Keys(lambda: next(left, ""), person)


def asked(session, *pressed, wanted=3, person=False):
    """What came out, and what was shown."""
    console = screen()
    done = ask(
        session, wanted, note=lambda w: f"told {len(w)}", keys=scripted(*pressed, person=person),
        console=console,
    )  # fmt: skip
    return done, console.file.getvalue()


def choices(session) -> list[str]:
    return [choice for _, choice in session.labelled]


def test_keys_answer_until_there_are_enough(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    done, shown = asked(session, "1", "b", "\x1b[D")
    assert done
    assert choices(session) == ["first", "second", "first"]
    assert [f"answer {n} of 3" in shown for n in (1, 2, 3, 4)] == [True, True, True, False]
    assert "told 3" in shown
    first = session.labelled[0][0]
    assert first.turns[0].content in shown
    assert shown.index(first.first) < shown.index(first.second)


def test_skip_undo_help_more_and_keys_that_mean_nothing(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    done, shown = asked(session, "u", "s", "u", "h", "m", "x", "\n", "2", "u", "1", "q")
    assert not done
    assert choices(session) == ["first"]
    assert session.skipped == []
    for words in ("nothing to take back", "skipped", "taken back", "'x' is none", "1 of 3 answers are kept"):
        assert words in shown
    assert "cannot tell" in shown


def test_the_end_of_the_input_quits_and_the_session_goes_on_later(tmp_path):
    done, _ = asked(opened(tmp_path / "a.jsonl"), "1")
    assert not done
    again = opened(tmp_path / "a.jsonl")
    done, shown = asked(again, "2", "2")
    assert done
    assert "answer 1 of 3" not in shown
    assert choices(again) == ["first", "second", "second"]


def test_nothing_is_asked_where_there_are_enough_or_no_pair_is_left(tmp_path):
    session = opened(tmp_path / "a.jsonl", count=2)
    assert asked(session, wanted=0) == (True, "")
    done, _ = asked(session, "1", "s", wanted=5)
    assert done
    assert asked(session, wanted=5, person=True) == (True, "")


def test_a_person_may_take_the_last_answer_back(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    done, shown = asked(session, "1", "1", "1", "u", "2", "\n", person=True)
    assert done
    assert choices(session) == ["first", "first", "second"]
    assert shown.count("All 3 answers are there.") == 2


def test_interrupted_it_keeps_the_answers(tmp_path):
    def pressed():
        if len(session.labelled) == 2:
            raise KeyboardInterrupt
        return "1"

    session = opened(tmp_path / "a.jsonl")
    with pytest.raises(KeyboardInterrupt):
        ask(session, 5, note=lambda w: "", keys=Keys(pressed), console=screen())
    assert len(opened(tmp_path / "a.jsonl").labelled) == 2


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("\x1b]0;title\x07x", r"\x1b]0;title\x07x"),
        ("\x9b31mred", r"\x9b31mred"),
        ("back\x08\x7f\rover", r"back\x08\x7f\rover"),
        ("right\u202eleft\u2066", r"right\u202eleft\u2066"),
        ("half\ud800", r"half\ud800"),
        ("two\r\nlines\tand tab", "two\nlines\tand tab"),
        ("é 字 👩\u200d🚀", "é 字 👩\u200d🚀"),
    ],
)
def test_nothing_in_a_text_moves_the_terminal(text, left):
    assert printable(text).strip() == left
    candidate = Candidate("k", (Turn(role="user", content=text),), text, "[bold]plain[/bold] :smile:")
    console = screen(terminal=True)
    show_pair(console, candidate, "answer 1 of 1", "")
    show_all(console, candidate)
    shown = console.file.getvalue()
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800]", shown)
    assert "[bold]plain[/bold] :smile:" in shown


@pytest.mark.parametrize("width", [30, 60, 99, 100, 120, 200])
@pytest.mark.parametrize("height", [12, 20, 40])
@pytest.mark.parametrize("length", [3, len(LONG)])
@pytest.mark.parametrize("before", [0, 2])
def test_a_pair_fits_the_terminal(width, height, length, before):
    turns = (Turn(role="user", content="Hm"), Turn(role="assistant", content="Hm?"))[:before]
    candidate = Candidate("k", (*turns, Turn(role="user", content=LONG)), LONG[:length], LONG[:length])
    console = screen(width, height, terminal=True)
    show_pair(console, candidate, "answer 1 of 5", "12.0 of 100 heads")
    shown = console.file.getvalue().splitlines()
    # Below it are the keys and the cursor.
    assert len(shown) + math.ceil(len(KEYS) / width) < height or height == 12
    assert max(map(len, shown)) <= width
    assert ("earlier turns" in "".join(shown)) == bool(before)
    assert any(line.count("╭") == 2 for line in shown) == (width >= 100)
    cut = [line for line in shown if "│" in line and " more: m" in line]
    assert bool(cut) == (length > 3)


def test_a_short_answer_leaves_its_room_to_the_long_one():
    console = screen(60, 30, terminal=True)
    show_pair(console, Candidate("k", (Turn(role="user", content="Q"),), "short", LONG), "answer 1 of 1", "")
    rows = [line for line in console.file.getvalue().splitlines() if line.startswith("│")]
    assert len(rows) == 30 - 3 - 2 - 1 - 4  # title, line, cursor; keys; prompt; frames


def test_where_there_is_no_terminal_nothing_is_cut():
    console = screen(height=10)
    show_pair(console, Candidate("k", (Turn(role="user", content="Q"),), LONG, LONG), "answer 1 of 1", "")
    assert console.file.getvalue().count("word399") == 2


def test_all_shows_every_turn():
    turns = (Turn(role="system", content="S"), Turn(role="user", content=LONG))
    console = screen(height=10, terminal=True)
    show_all(console, Candidate("k", turns, "one", LONG))
    shown = console.file.getvalue()
    assert [word in shown for word in ("system", "user", "one")] == [True] * 3
    assert shown.count("word399") == 2


def test_the_line_about_weights_names_the_sources_that_carry_them():
    told = weight_line(["pca", "pca", "random", "mixture"])
    assert told(np.array([0.5, 0.5, 0, 0])) == (
        "2.0 of 4 heads carry the weight (pca 100%, random 0%, mixture 0%)"
    )
    assert "random 100%" in told(np.array([0.0, 0.0, -3.0, 0.0]))
    assert told(np.zeros(4)) == "4 heads, of which none has been heard yet"


CHILD = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # what a background job inherits ignores it
from lmtools.cli.ask import ask
from lmtools.data.records import Turn

class Asked:  # the session, but for what imports torch
    key, turns, first, second = "k", (Turn(role="user", content="Why?"),), "one", "two"

    def __init__(self): self.labelled = []
    def next(self): return self
    def weights(self): return [1.0], [0.0]
    def answer(self, choice): self.labelled.append(choice)
    def undo(self): return self.labelled and self.labelled.pop()

session = Asked()
try:
    print("DONE", ask(session, 2, note=lambda w: ""), session.labelled)
except KeyboardInterrupt:
    print("INTERRUPTED", session.labelled)
"""


class Terminal:
    """A child on a pseudo-terminal of which we hold the other end."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        self.child = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=self.slave, stdout=subprocess.PIPE, stderr=self.slave,
            text=True, start_new_session=True,
        )  # fmt: skip
        self.shown = ""

    def wait_for(self, words: str) -> None:
        """Read what is shown until ``words`` are among what is new."""
        start = len(self.shown)
        while words not in self.shown[start:]:
            self.shown += os.read(self.master, 4096).decode("utf-8", "replace")

    def press(self, key: str) -> None:
        os.write(self.master, key.encode())

    def end(self) -> str:
        out = self.child.communicate(timeout=60)[0]
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return out


@pytest.fixture
def terminal():
    found = Terminal()
    yield found
    found.child.kill()
    found.child.wait()
    found.child.stdout.close()


def test_one_key_is_enough_and_the_terminal_is_as_before(terminal):
    terminal.wait_for("q quit")
    assert not termios.tcgetattr(terminal.slave)[3] & (termios.ICANON | termios.ECHO)
    terminal.press("1")
    terminal.wait_for("q quit")
    terminal.press("\x1b[C")
    terminal.wait_for("any other key: done")
    terminal.press("u")
    terminal.wait_for("q quit")
    terminal.press("222")  # pasted: one answer
    terminal.wait_for("any other key: done")
    terminal.press("\n")
    assert terminal.end() == "DONE True ['first', 'second']\n"


@pytest.mark.parametrize("key", ["q", "\x04", "Q"])
def test_quitting_restores_the_terminal(terminal, key):
    terminal.wait_for("q quit")
    terminal.press(key)
    assert terminal.end() == "DONE False []\n"


def test_ctrl_c_restores_the_terminal(terminal):
    terminal.wait_for("q quit")
    terminal.press("2")
    terminal.wait_for("q quit")
    terminal.child.send_signal(signal.SIGINT)
    assert terminal.end() == "INTERRUPTED ['second']\n"


def test_stopped_and_continued_it_takes_single_keys_again(terminal):
    terminal.wait_for("q quit")
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.before)  # as a shell does meanwhile
    while termios.tcgetattr(terminal.slave)[3] & termios.ICANON:
        time.sleep(0.01)
    terminal.press("1")
    terminal.wait_for("q quit")
    terminal.press("q")
    assert terminal.end() == "DONE False ['first']\n"


def test_without_a_terminal_lines_answer_and_stdout_stays_clean():
    done = subprocess.run(
        [sys.executable, "-c", CHILD], input="\n 2 \nu\nB\n1", capture_output=True, text=True, check=True
    )
    assert done.stdout == "DONE True ['second', 'first']\n"
    assert "answer 2 of 2" in done.stderr


def test_a_closed_input_is_its_end(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    session = SimpleNamespace(labelled=[], next=lambda: pairs(1)[0], weights=lambda: ([], []))
    assert not ask(session, 2, note=lambda w: "", console=screen())


def test_the_commands_import_nothing_heavy_for_it():
    assert modules_after("import lmtools.cli.ask").isdisjoint(HEAVY | {"numpy", "rich"})
