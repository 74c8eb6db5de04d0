"""Few calls lie between a command and its equation, so that a reader finds the one from the other."""

import sys
from pathlib import Path

import pytest
from test_one_door import CASES, world  # noqa: F401

import lmtools
from lmtools.ats.losses import selective_smoothing
from lmtools.cli.app import run as command
from lmtools.hyre.reweighting import reweight
from lmtools.leret.pairs import preference_pairs

PACKAGE = str(Path(lmtools.__file__).parent)
MOST = 7
"""Frames of lmtools, from the command's function to the equation, both counted."""


def frames_above(frame):
    """The functions of lmtools on the stack, the innermost first, up to the command's own."""
    names = []
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        if file == f"{PACKAGE}/cli/options.py":  # it has parsed, and calls the command's function
            break
        # A comprehension is a frame of its own before Python 3.12, and no call.
        if file.startswith(PACKAGE) and not name.startswith("<"):
            names.append(f"{Path(file).relative_to(PACKAGE)}:{name}")
        frame = frame.f_back
    return names


@pytest.mark.parametrize(
    ("case", "equation"),
    [
        ("hyre adapt", reweight),
        ("hyre eval", reweight),
        ("ats fit", selective_smoothing),
        ("leret train", preference_pairs),
        ("leret explore", preference_pairs),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_few_calls_between_a_command_and_its_equation(case, equation, world, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(world)
    stacks = []

    def look(frame, event, argument):
        if event == "call" and frame.f_code is equation.__code__:
            stacks.append(frames_above(frame))

    sys.setprofile(look)
    try:
        assert command([*CASES[case][0], "--out", str(tmp_path / "run")]) == 0
    finally:
        sys.setprofile(None)
    assert stacks, f"{case} never calls {equation.__name__}"
    longest = max(stacks, key=len)
    assert len(longest) <= MOST, "\n".join(longest)
