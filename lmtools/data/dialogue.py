r"""Dialogues written as one text, in the form of hh-rlhf (Bai et al., 2022).

"\n\nHuman: What is a pen?\n\nAssistant: A thing to write with."
"""

import re
from collections.abc import Sequence
from typing import Literal

Spoken = tuple[Literal["user", "assistant"], str]
"""Who speaks, and what is said."""
SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):(?=\s|\Z)")


def dialogue(text: str) -> tuple[Spoken, ...]:
    r"""The turns of a text that opens with one; none if it is no dialogue.

    Empty turns are dropped, and what one of the two says twice in a row is one turn: chat templates want the
    roles to alternate.

    >>> dialogue("Human: Hi\n\nAssistant: Hello.\n\nHuman:")
    (('user', 'Hi'), ('assistant', 'Hello.'))
    """
    before, *rest = SPEAKER.split(text.strip())
    if before or not rest:
        return ()
    turns: list[Spoken] = []
    for speaker, said in zip(rest[::2], map(str.strip, rest[1::2]), strict=True):
        role: Literal["user", "assistant"] = "user" if speaker == "Human" else "assistant"
        if said and turns and turns[-1][0] == role:
            turns[-1] = (role, f"{turns[-1][1]}\n\n{said}")
        elif said:
            turns.append((role, said))
    return tuple(turns)


def common_start(one: Sequence[object], two: Sequence[object]) -> int:
    """How many items two sequences begin with in common, the last item of each aside.

    >>> common_start("abcd", "abce"), common_start("ab", "abc"), common_start("ab", "ab")
    (3, 1, 1)
    """
    most = max(0, min(len(one), len(two)) - 1)
    return next((place for place in range(most) if one[place] != two[place]), most)
