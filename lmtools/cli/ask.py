"""Asking a person, in the terminal, which of two answers is the better one: one key a pair.

Without a terminal on standard input it reads a line a pair, so that a script can answer:

    printf '1\\n2\\ns\\n1\\n' | lmtools hyre adapt --ask --examples 3
"""

import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lmtools.core.strings import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

    from lmtools.core.arrays import Floats
    from lmtools.hyre.session import Candidate, Session


# What `lmtools hyre adapt --ask` shows: a conversation and two answers to it, fitted to the terminal.
#
# The texts are a model's, and so not trusted: what a terminal would obey is shown by its escape.

WIDE = 100
"""Columns from which on the answers stand side by side."""
FRAME = 4
"""What a panel's borders and padding take of its columns."""
KEYS = "1 the first   2 the second   s skip   u undo   m all   h help   q quit"
HELP = """\
1, a, left    the first answer is the better one
2, b, right   the second answer is the better one
s             skip this pair: you cannot tell
u             take the last answer or skip back, and ask again
m             show the whole conversation and both answers in full
q             quit; the answers are kept, and you can continue later
h, ?          this help"""


def show_pair(console: "Console", candidate: "Candidate", title: str, note: str) -> None:
    """The pair, cut to what the terminal has room for, and what the ensemble makes of the answers so far.

    Args:
        title: how far the session is.
        note: which heads carry the weight; a line.
    """
    from rich.rule import Rule
    from rich.text import Text

    questions = [turn for turn in candidate.turns if turn.role == "user"] or list(candidate.turns)
    before = len(candidate.turns) - 1
    head = f"after {before} earlier turn{'s' if before > 1 else ''}; m shows all" if before > 0 else ""
    room = None
    if console.is_terminal:
        # Besides the texts there are the title, the line before the answers and that of the cursor.
        around = [
            line.wrap(console, console.width) for line in map(Text, (head, printable(note), KEYS)) if line
        ]
        room = console.height - 3 - sum(map(len, around))
    console.print(Rule(Text(title, style="bold"), align="left", style="dim"))
    if head:
        console.print(Text(head, style="dim"))
    question = Text(printable(questions[-1].content) if questions else "", style="bold")
    lines = list(question.wrap(console, console.width))
    if room is not None:
        # The question has a quarter of the screen, the answers the rest.
        lines = _cut(lines, max(2, room // 4))
        room -= len(lines)
    console.print(Text("\n").join(lines), "", sep="\n")
    console.print(_answers(console, candidate, room))
    console.print(Text(printable(note), style="dim"))


def show_all(console: "Console", candidate: "Candidate") -> None:
    """Every turn and both answers, uncut."""
    from rich.padding import Padding
    from rich.text import Text

    turns = [(turn.role, turn.content) for turn in candidate.turns]
    for name, text in [*turns, ("1", candidate.first), ("2", candidate.second)]:
        console.print(Text(printable(name), style="bold cyan"))
        console.print(Padding(Text(printable(text).strip()), (0, 0, 1, 2)))


def weight_line(sources: Sequence[str]) -> "Callable[[Floats], str]":
    """A function of weights (K,): a line on how many heads speak, and of which ``sources`` (K,) they are."""

    def line(weights: "Floats") -> str:
        import numpy as np

        from lmtools.metrics.preference import effective_heads

        size = np.abs(weights)
        if not size.any():
            return f"{len(weights)} heads, of which none has been heard yet"
        share: dict[str, float] = {}
        for source, part in zip(sources, size / size.sum(), strict=True):
            share[source] = share.get(source, 0.0) + float(part)
        first = sorted(share.items(), key=lambda item: -item[1])[:4]
        named = ", ".join(f"{source} {part:.0%}" for source, part in first)
        return f"{effective_heads(weights):.1f} of {len(weights)} heads carry the weight ({named})"

    return line


def _answers(console: "Console", candidate: "Candidate", room: int | None) -> "RenderableType":
    """Side by side in ``room`` rows, or one under the other."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    wide = console.width >= WIDE
    columns = ((console.width - 1) // 2 if wide else console.width) - FRAME
    texts = [
        list(Text(printable(text).strip()).wrap(console, columns))
        for text in (candidate.first, candidate.second)
    ]
    if room is not None:
        first, second = map(len, texts)
        free = room - 2 if wide else room - 4
        # Of two that are one under the other, a short one leaves its room to the other.
        most = (free, free) if wide else (max(free // 2, free - second), max(free // 2, free - first))
        texts = [_cut(lines, max(2, rows)) for lines, rows in zip(texts, most, strict=True)]
    panels = [
        Panel(
            Text("\n").join(lines),
            title=Text(name, style="bold cyan"),
            title_align="left",
            border_style="cyan",
            height=max(map(len, texts)) + 2 if wide else None,
        )
        for name, lines in zip("12", texts, strict=True)
    ]
    if not wide:
        return Group(*panels)
    table = Table.grid(padding=(0, 1, 0, 0), expand=True)
    table.add_column(ratio=1)
    table.add_column(ratio=1)
    table.add_row(*panels)
    return table


def _cut(lines: "list[Text]", rows: int) -> "list[Text]":
    """At most so many rows, of which the last one says how many are missing."""
    from rich.text import Text

    if len(lines) <= rows:
        return lines
    missing = len(lines) - rows + 1
    note = f"… {missing} more: m shows all"
    return [*lines[: rows - 1], Text(note, style="dim not bold")]


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
    count: int,
    *,
    note: "Callable[[Floats], str] | None" = None,
    keys: Keys | None = None,
    console: "Console | None" = None,
) -> bool:
    """Ask about one pair after the other; True when ``count`` answers are there or no pair is left.

    False: the user quit, or the input ended. What was answered is kept in any case.

    Args:
        note: a line about the weights (K,); ``weight_line``, if none is given.
        keys: standard input, if none are given.
        console: standard error, if none is given.

    Raises:
        KeyboardInterrupt: Ctrl-C; the terminal is as it was before.
        MachineError: an answer cannot be recorded.
    """
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)
    note = note or weight_line(session.sources)
    decided = False  # whether this sitting has anything to take back
    with _standard_input() if keys is None else nullcontext(keys) as source:
        while True:
            answers, candidate = len(session.labelled), session.next()
            if answers >= count or candidate is None:
                # A wrong key that was the last one can be taken back, where somebody sits at the keyboard.
                if not (decided and source.person and _take_back_the_last(console, source, answers, count)):
                    return True
                session.undo()
                continue
            show_pair(console, candidate, f"answer {answers + 1} of {count}", note(session.weights()[0]))
            # Keys that ask for more to read, or mean nothing, leave the pair as it is.
            action: Action | None = "help"
            while action in ("help", "more", None):
                console.print(KEYS, style="dim", highlight=False)
                action = _read(source, console)
                if action == "help":
                    console.print(HELP, highlight=False)
                elif action == "more":
                    show_all(console, candidate)
            if action == "quit":
                console.print(f"{answers} of {count} answers are kept.", highlight=False)
                return False
            _decide(session, action, console)
            decided = True


def _decide(session: "Session", action: Action | None, console: "Console") -> None:
    """Record an answer or a skip, or take the last one back."""
    if action == "first" or action == "second":
        session.answer(action)
        outcome = f"the {action} is better"
    elif action == "skip":
        session.skip()
        outcome = "skipped"
    else:
        outcome = "taken back" if session.undo() else "there is nothing to take back"
    console.print(f"  {outcome}", style="green", highlight=False)


def _take_back_the_last(console: "Console", keys: Keys, answers: int, count: int) -> bool:
    """Whether a person who pressed a wrong key last wants it back."""
    all_there = f"All {count} answers are there." if answers >= count else "No pair is left."
    console.print(f"{all_there} u takes the last one back; any other key: done.", highlight=False)
    return ACTIONS.get(keys.read()) == "undo"


def _read(keys: Keys, console: "Console") -> Action | None:
    """The next key's meaning; None, and a word about it, where it has none."""
    key = keys.read()
    action = ACTIONS.get(key)
    if action is None:
        line = f"  {key.strip()[:20]!a} is none of the keys"
        console.print(line, style="yellow", highlight=False, markup=False)
    return action


@contextmanager
def _standard_input() -> Iterator[Keys]:
    """Single keys of a terminal, or lines of anything else."""
    if sys.stdin is None:
        yield Keys(lambda: "")
    elif sys.stdin.isatty() and os.name == "posix":
        with single_keys(sys.stdin.fileno()) as read:
            yield Keys(read, person=True)
    else:
        yield Keys(_line)


def _line() -> str:
    """A line's first word as a key; empty lines are no key, and the end of the input is the empty one."""
    line = sys.stdin.readline()
    return line.strip().lower() or ("\n" if line else "")


@contextmanager
def single_keys(descriptor: int) -> Iterator[Callable[[], str]]:
    """Keys of a terminal as they are pressed, unseen; its mode is restored however this ends.

    Keys that come at one stroke, as a pasted text does, are one answer, not several: the first one counts.
    """
    import termios
    import tty

    before = termios.tcgetattr(descriptor)

    def read() -> str:
        while not select.select([descriptor], [], [], AWAKE)[0]:
            unbuffered()  # after Ctrl-Z the shell has set a mode of its own
        pressed = os.read(descriptor, 1024).decode("utf-8", "replace")
        return pressed if pressed in ACTIONS else pressed[:1].lower()

    def unbuffered() -> None:
        # Not raw: Ctrl-C and Ctrl-Z keep their meaning.
        tty.setcbreak(descriptor, termios.TCSADRAIN)

    try:
        unbuffered()
        yield read
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
