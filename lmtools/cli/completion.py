"""What the shell completes: recipes, models, runs and tasks by name; and words that bash has cut at a colon.

    lmtools --install-completion        once, for bash, zsh or fish; the next shell completes

Completers look at names of files and folders only, so that an answer takes a fraction of a second. Where none
knows anything the shell completes files as it always does.
"""

import glob
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import typer

from lmtools.core.files import bundled
from lmtools.core.strings import printable

ASKED = "_LMTOOLS_COMPLETE"
"""The environment variable in which the shell says what it wants: ``complete_bash``, ``source_zsh`` ..."""
BREAKS = frozenset(":=")
"""Where bash cuts words, of those characters that names here have."""
OFFERED = {
    "lmtools leret": "leret/",
    "lmtools hyre": "hyre/",
    "lmtools ats fit": "ats/",
    "lmtools ats eval": "calibration/",
    "lmtools eval calibration": "calibration/",
    "lmtools eval reward": "hyre/reward",
}
"""Which packaged recipes a command's --recipe is offered."""
Completer = Callable[[str], list[str]]


def recipes(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Packaged recipes that suit the command, with what they do, and the YAML files where the word points."""
    root = bundled("recipes")
    suits = next((start for path, start in OFFERED.items() if ctx.command_path.startswith(path)), "")
    items = []
    for path in sorted(root.rglob("*.yaml")):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name.startswith(suits) and name.startswith(incomplete):
            items.append((name, _summary(path)))
    # Without a name that fits, the shell completes files, and folders on the way to them.
    return [*items, *((file, "a file") for file in _files(incomplete, ".yaml", ".yml"))] if items else []


def _summary(path: Path) -> str:
    """A packaged recipe's second comment, which says what it does."""
    comments = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# ")]
    return comments[1].removeprefix("# ") if len(comments) > 1 else ""


def models(incomplete: str) -> list[str]:
    """The built-in language models."""
    return builtins(incomplete, kind="language model")


def any_builtin(incomplete: str) -> list[str]:
    """All built-in models."""
    return builtins(incomplete)


def builtins(incomplete: str, kind: str = "") -> list[str]:
    """The built-in models of a kind."""
    from lmtools.models.builtin import BUILTINS
    from lmtools.models.spec import PREFIX

    names = [PREFIX + model.name for model in BUILTINS.values() if kind in ("", model.kind)]
    return [name for name in names if name.startswith(incomplete)]


def tasks(incomplete: str) -> list[str]:
    """The packaged tasks of `eval calibration`."""
    names = sorted(path.stem for path in bundled("evals").glob("*.yaml"))
    return [name for name in names if name.startswith(incomplete)]


def words(*choices: str) -> Completer:
    """A completer for a few known words."""
    return lambda incomplete: [word for word in choices if word.startswith(incomplete)]


def runs(mark: str = "manifest.json") -> Completer:
    """A completer for run directories that hold ``mark``, such as ``policy`` or ``head/head.json``.

    It looks below `runs/`, in runs of a quickstart too, and where the word points.
    """

    def complete(incomplete: str) -> list[str]:
        starts = [incomplete] if incomplete else []
        starts += ["runs/"] if "runs/".startswith(incomplete) else []
        directories = set()
        for start in starts:
            for level in ("*", "*/*"):
                for path in glob.iglob(f"{glob.escape(start)}{level}/{mark}"):
                    directories.add(path[: -len(mark) - 1])
        return sorted(filter(_typeable, directories))

    return complete


def weights(incomplete: str) -> list[str]:
    """Runs of `hyre adapt`, and the files of weights that a quickstart keeps."""
    kept = [Path(run, "hyre-weights") for run in runs("hyre-weights")(incomplete)]
    files = [str(path) for folder in kept for path in sorted(folder.glob("*.json"))]
    return [*runs("weights.json")(incomplete), *filter(_typeable, files)]


def _files(incomplete: str, *suffixes: str) -> list[str]:
    paths = sorted(glob.glob(f"{glob.escape(incomplete)}*"))
    return [path for path in paths if path.endswith(suffixes) and _typeable(path)]


def _typeable(path: str) -> bool:
    """Whether a path stands for itself on a command line; files of other names the shell completes itself."""
    return all(letter.isalnum() or letter in "/._-+@%," for letter in path)


def asked() -> bool:
    """Whether it is the shell that calls, to complete a line."""
    return os.environ.get(ASKED, "").startswith("complete_")


def answer(command: Any) -> int:
    """Answer the shell; a fault says nothing, as it would stand in the middle of the user's line."""
    said = io.StringIO()
    with bash_words() as cut, redirect_stdout(said), redirect_stderr(io.StringIO()):
        try:
            command.main(args=[], prog_name="lmtools", standalone_mode=False)
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except Exception:
            return 1
    lines = [line.removeprefix(cut) for line in said.getvalue().splitlines() if line]
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    return code


@contextmanager
def bash_words() -> Iterator[str]:
    """Mend the words that bash passes on, and give what answers have to be without.

    Bash cuts ``builtin:smol`` into three words and completes the last of them alone.
    """
    before = {name: os.environ[name] for name in ("COMP_WORDS", "COMP_CWORD") if name in os.environ}
    if os.environ.get(ASKED) != "complete_bash" or len(before) < 2:
        yield ""
        return
    whole, index, cut = joined(before["COMP_WORDS"].split("\n"), int(before["COMP_CWORD"]))
    os.environ.update({"COMP_WORDS": "\n".join(whole), "COMP_CWORD": str(index)})
    try:
        yield cut
    finally:
        os.environ.update(before)


def joined(parts: Sequence[str], index: int) -> tuple[list[str], int, str]:
    """Words as they were typed, from those that bash cut at colons and equals signs.

    Args:
        parts: ``COMP_WORDS``.
        index: which of them is being completed.

    Returns:
        The words, which of them is being completed, and how its value begins before what bash completes.
    """
    whole: list[str] = []
    at, cut = index, ""
    for number, part in enumerate(parts):
        breaks = bool(part) and BREAKS.issuperset(part)
        after = bool(parts[number - 1]) and BREAKS.issuperset(parts[number - 1])
        if number < 2 or not part or not (breaks or after):
            whole.append(part)
        elif number == index:
            cut = whole[-1] + (part if breaks else "")
            whole[-1] += part
        else:
            whole[-1] += part
        if number == index:
            at = len(whole) - 1
            break
    if cut.startswith("--"):
        cut = cut.partition("=")[2]
    return whole, at, cut
