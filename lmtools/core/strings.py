"""Text for people."""

import difflib
from collections.abc import Iterable
from pathlib import Path


def cut(text: str, limit: int) -> str:
    """``text``, or as much of it as fits ``limit`` characters with an ellipsis for the rest.

    >>> cut("Grant Hill", 10), cut("Grant Hill", 6)
    ('Grant Hill', 'Grant…')
    """
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short(text: str, limit: int) -> str:
    """``text`` on one line, cut.

    >>> short("Grant  Hill\\nis a player", 14)
    'Grant Hill is…'
    """
    return cut(" ".join(text.split()), limit)


# What somebody probably meant by a name that is not there.

MOST = 2000
"""Entries of a folder that are looked through."""


def near_miss(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name in ``known`` that is most likely meant by ``name``.

    >>> near_miss("Rejectd", ["prompt", "chosen", "rejected"])
    'rejected'
    """
    lowered = {key.lower(): key for key in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[close[0]] if close else None


def did_you_mean(name: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``did you mean NAME?``, or nothing.

    >>> did_you_mean("shrot", ["short", "formal"])
    'did you mean short?'
    """
    near = near_miss(name, known, cutoff)
    return f"did you mean {near}?" if near else ""


def near_path(path: Path, *, folders: bool = False) -> Path | None:
    """The file, or with ``folders`` the folder, that is most likely meant by a path where there is none.

    A part of the path that is not there is looked for among its neighbours, by its name without what
    follows the last dot; the parts below it must be there as they were written.
    """
    for here in (path, *path.parents):
        if here.parent.is_dir() and not here.exists():
            below = path.relative_to(here)
            near = _neighbour(here)
            found = None if near is None else near / below
            return found if found is not None and _is_one(found, folders) else None
    return None


def _neighbour(path: Path) -> Path | None:
    """The entry of the same folder whose name is nearest to that of a path."""
    try:
        names = sorted(entry.name for entry, _ in zip(path.parent.iterdir(), range(MOST), strict=False))
    except OSError:
        return None
    stems: dict[str, str] = {}
    for name in sorted(names, key=lambda name: Path(name).suffix != path.suffix):
        stems.setdefault(_stem(name), name)
    near = near_miss(_stem(path.name), stems, cutoff=0.7)
    return None if near is None else path.parent / stems[near]


def _stem(name: str) -> str:
    """A name without its endings, `.gz` and the one before it."""
    return name.partition(".")[0] or name


def _is_one(path: Path, folders: bool) -> bool:
    return path.is_dir() if folders else path.is_file()
