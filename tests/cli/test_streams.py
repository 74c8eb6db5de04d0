"""Streams that are closed, full or not read any more, and words that are not text: never a traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CALL = [sys.executable, "-m", "lmtools"]


def shell(script: str, **more) -> tuple[int, bytes, bytes]:
    """A line of bash with `pipefail` in which `lmtools` is this one: exit code, stdout, stderr."""
    program = f'lmtools() {{ {sys.executable} -m lmtools "$@"; }}; '
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", program + script], capture_output=True, env=environment, **more
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("lmtools recipes ls >&-", 0, b""),
        ("lmtools recipes ls --json >&-", 0, b""),
        ("lmtools leret train --help >&-", 0, b""),
        ("lmtools recipes ls 2>&-", 0, b""),
        (
            "lmtools recipes ls > /dev/full",
            141,
            b"standard output cannot be written: No space left on device",
        ),
        ("lmtools recipes ls --json > /dev/full", 141, b"standard output cannot be written"),
        ("lmtools --help > /dev/full", 141, b"standard output cannot be written"),
        ("lmtools leret train --help | true", 141, b""),
        ("lmtools recipes show leret/quickstart | true", 141, b""),
        ("lmtools data check nope.jsonl 2> /dev/full", 2, b""),
        ("lmtools data check nope.jsonl >&- 2>&-", 2, b""),
        ("lmtools recipes ls <&-", 0, b""),
        ("PYTHONIOENCODING=latin-1 lmtools recipes show $'\\u6f22'", 2, b"\\u6f22"),
    ],
)
def test_streams_that_take_nothing(line, code, says):
    ended, _, err = shell(line)

    assert ended == code, err
    assert says in err
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    assert b"--resume" not in err
    assert err.count(b"error:") <= 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("lmtools generate --prompt $'Z\\xfcrich'", b"--prompt: Z\\xfcrich is not UTF-8"),
        ("lmtools generate --prompt=$'Z\\xfcrich'", b"--prompt: Z\\xfcrich is not UTF-8"),
        ("lmtools leret search $'Z\\xfcrich?'", b"argument 3: Z\\xfcrich? is not UTF-8"),
        ("lmtools data check $'\\xff.jsonl' --json", b"argument 3: \\xff.jsonl is not UTF-8"),
        ("lmtools leret train --set model.name=$'\\xff'", b"--set: model.name=\\xff is not UTF-8"),
        ("LMTOOLS_CACHE=$'\\xff' lmtools recipes ls", b"$LMTOOLS_CACHE: \\xff is not UTF-8"),
        ("mkdir $'\\xff'; cd $'\\xff'; lmtools recipes ls", b"/\\xff is not UTF-8"),
    ],
)
def test_words_that_are_not_utf8_are_refused_by_their_name(line, says, tmp_path):
    ended, _, err = shell(line, cwd=tmp_path)

    assert ended == 2
    assert says in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("group", ["", "leret", "hyre", "ats", "eval", "recipes", "data", "models"])
def test_a_bare_group_prints_its_help(group):
    ended, out, err = shell(f"lmtools {group}")

    assert ended == 0
    assert b"Usage" in out
    assert err == b""
