"""Why a directory is not the run that a command works on: absent, another command's, or not finished."""

import shlex
from pathlib import Path

from lmtools.core.errors import RunError
from lmtools.core.manifest import read_manifest
from lmtools.core.near import near_path
from lmtools.core.resume import MANIFEST


def wrong_run(directory: Path, lacks: str, maker: str) -> RunError:
    """The error for a directory that ``maker`` did not make, or has not finished.

    Args:
        lacks: what is not in it, such as ``trained ensemble``.
        maker: the command that makes it, such as ``hyre train``.
    """
    command, example = f"lmtools {maker}", f"runs/{maker.replace(' ', '-')}"
    fix = f"name a run of `{command}`, such as {example}"
    if not directory.exists():
        near = near_path(directory, folders=True)
        return RunError(f"{directory}: no such directory", fix=f"did you mean {near}?" if near else fix)
    if not (directory / MANIFEST).is_file():
        return RunError(f"{directory}: holds no {lacks}", fix=fix)
    manifest = read_manifest(directory / MANIFEST)
    made = made_by(manifest.command)
    if made == maker and manifest.finished is None:
        return RunError(
            f"{directory}: holds no {lacks}: the run has not come to its end",
            fix=f"{_resumed(manifest.command, directory)}",
        )
    by = f"a run of `lmtools {made}`" if made else "another run"
    return RunError(f"{directory}: holds no {lacks}: it is {by}", fix=fix)


def made_by(command: list[str]) -> str:
    """The group and the command that made a run, without options: ``leret train``; empty if not told.

    >>> made_by(["lmtools", "leret", "train", "--seed", "1"])
    'leret train'
    """
    words: list[str] = []
    for word in command[1:3]:
        if word.startswith("-"):
            break
        words.append(word)
    return " ".join(words)


def _resumed(command: list[str], directory: Path) -> str:
    """The command line that goes on with a run."""
    kept = list(command)
    if "--resume" not in kept:
        kept.append("--resume")
    if not any(word == "--out" or word.startswith("--out=") for word in kept):
        kept += ["--out", str(directory)]
    return shlex.join(kept)
