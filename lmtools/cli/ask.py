"""Asking a person, in the terminal, which of two answers is the better one: one key a pair.

Without a terminal on standard input it reads a line a pair, so that a script can answer:

    printf '1\\n2\\ns\\n1\\n' | lmtools hyre adapt --ask --examples 3
"""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmtools.cli.ask_screen import HELP, KEYS, safe, show_all, show_pair

if TYPE_CHECKING:
    from rich.console import Console

    from lmtools.hyre.reweighting import Floats
    from lmtools.hyre.session import Session

Action = Literal["first", "second", "skip", "undo", "more", "help", "quit"]
ACTIONS: dict[str, Action] = {
    "1": "first", "a": "first", "\x1b[D": "first", "\x1bOD": "first",
    "2": "second", "b": "second", "\x1b[C": "second", "\x1bOC": "second",
    "s": "skip", "u": "undo", "m": "more", "h": "help", "?": "help",
    "q": "quit", "\x04": "quit", "": "quit",
}  # fmt: skip
"""What a key means; arrows come as escape sequences, the end of the input as an empty key."""

AWAKE = 0.2
"""Seconds between looks at the terminal's mode."""


@dataclass(frozen=True)
class Keys:
    """Where answers come from. ``read`` waits for a key; ``person``: somebody sits at the keyboard."""

    read: Callable[[], str]
    person: bool = False


def ask(
    session: "Session",
    *,
    wanted: int,
    tell: "Callable[[Floats], str]",
    keys: Keys | None = None,
    console: "Console | None" = None,
) -> bool:
    """Ask about one pair after the other; True when ``wanted`` answers are there or no pair is left.

    False: the user quit, or the input ended. What was answered is kept in any case.

    Args:
        tell: a line about the weights (K,), such as ``ask_screen.weight_line`` makes.
        keys: standard input, if none are given.
        console: standard error, if none is given.

    Raises:
        KeyboardInterrupt: Ctrl-C; the terminal is as it was before.
        MachineError: an answer cannot be recorded.
    """
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)
    with _standard_input() if keys is None else nullcontext(keys) as source:
        return _ask(session, wanted, tell, source, console)


def _ask(
    session: "Session", wanted: int, tell: "Callable[[Floats], str]", keys: Keys, console: "Console"
) -> bool:
    decided = False
    while True:
        count, candidate = len(session.labelled), session.next()
        if count >= wanted or candidate is None:
            if not (decided and keys.person and _take_back_the_last(console, keys, count, wanted)):
                return True
            session.undo()
            continue
        show_pair(console, candidate, f"answer {count + 1} of {wanted}", tell(session.weights()[0]))
        action: Action | None = "help"
        while action in ("help", "more", None):
            console.print(KEYS, style="dim", highlight=False)
            action = _read(keys, console)
            if action == "help":
                console.print(HELP, highlight=False)
            elif action == "more":
                show_all(console, candidate)
        if action == "quit":
            console.print(f"{count} of {wanted} answers are kept.", highlight=False)
            return False
        _decide(session, action, console)
        decided = True


def _decide(session: "Session", action: Action | None, console: "Console") -> None:
    """Do what the user asked for."""
    if action == "first" or action == "second":
        session.answer(action)
        said = f"the {action} is better"
    elif action == "skip":
        session.skip()
        said = "skipped"
    else:
        said = "taken back" if session.undo() else "there is nothing to take back"
    console.print(f"  {said}", style="green", highlight=False)


def _take_back_the_last(console: "Console", keys: Keys, count: int, wanted: int) -> bool:
    """Whether a person who pressed a wrong key last wants it back."""
    all_there = f"All {wanted} answers are there." if count >= wanted else "No pair is left."
    console.print(f"{all_there} u takes the last one back; any other key: done.", highlight=False)
    return ACTIONS.get(keys.read()) == "undo"


def _read(keys: Keys, console: "Console") -> Action | None:
    """The next key's meaning; None, and a word about it, where it has none."""
    key = keys.read()
    action = ACTIONS.get(key)
    if action is None:
        console.print(f"  {safe(key)[:20]!r} is none of the keys", style="yellow", highlight=False)
    return action


@contextmanager
def _standard_input() -> Iterator[Keys]:
    """Single keys of a terminal, or lines of anything else."""
    if sys.stdin is None:
        yield Keys(lambda: "")
    elif sys.stdin.isatty() and os.name == "posix":
        with one_key(sys.stdin.fileno()) as read:
            yield Keys(read, person=True)
    else:
        yield Keys(_line)


def _line() -> str:
    """A line's first word as a key; empty lines are no key, and the end of the input is the empty one."""
    line = sys.stdin.readline()
    return line.strip().lower() or ("\n" if line else "")


@contextmanager
def one_key(descriptor: int) -> Iterator[Callable[[], str]]:
    """Keys of a terminal as they are pressed, unseen; its mode is restored however this ends.

    Keys that come at one stroke, as a pasted text does, are one answer, not several: the first one counts.
    """
    import termios
    import tty

    before = termios.tcgetattr(descriptor)

    def read() -> str:
        while not select.select([descriptor], [], [], AWAKE)[0]:
            one_at_a_time()  # after Ctrl-Z the shell has set a mode of its own
        pressed = os.read(descriptor, 1024).decode("utf-8", "replace")
        return pressed if pressed in ACTIONS else pressed[:1].lower()

    def one_at_a_time() -> None:
        # Not raw: Ctrl-C and Ctrl-Z keep their meaning.
        tty.setcbreak(descriptor, termios.TCSADRAIN)

    try:
        one_at_a_time()
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
