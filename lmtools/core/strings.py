"""Texts at the doors: what may enter (``well_formed``), what may be shown (``printable``, ``short``) and what
may be written down (``without_secrets``).

Also the near miss of a name or a path that is not there.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MAX_ENTRIES = 2000
"""Entries of a folder that are compared with a path."""
SURROGATES = re.compile("[\ud800-\udfff]")
UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, all but tab and line feed
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks that turn the direction of writing
    "\u2028\u2029\ufeff\ufff9-\ufffb\U000e0000-\U000e007f\ud800-\udfff]"  # breaks, tags, half pairs
)
"""What a terminal would obey, or a reader would not see, in place of showing it."""

MASK = "***"
"""What stands in place of a secret."""
ADDRESS = re.compile(r"(?<=://)[^\s\"'<>`]+")
"""An address behind its scheme."""
USER = re.compile(r"^(?:[^/?#]*@|(?!\[)[^/?#@]*:(?!\d*(?:[/?#]|$)).*@)")
"""User and password at its beginning, also where a mark in the password seems to end the host."""
SECRET = re.compile(
    r"((?:^|[?&;#])[\w.%-]*?(?<![a-z])(?:(?:api|access|auth|bearer|client|refresh|id|secret|session|subscription|"
    r"private|shared)?(?:key|token|secret|passwd|password|pwd|auth|authorization|sig|signature|credentials?))=)"
    r"[^&;#]+",
    re.IGNORECASE,
)
"""A query's parameter that is named like a key: ``api_key``, ``access-token``, ``X-Amz-Signature``."""


def well_formed(text: str) -> str:
    """``text`` as UTF-8 can write it: halves of surrogate pairs become U+FFFD.

    For every text that a model, a server or a command line gives, where it enters.

    >>> well_formed("Zürich \\ud800")
    'Zürich \ufffd'
    """
    return SURROGATES.sub("\ufffd", text)


def printable(text: str) -> str:
    """``text`` with what a terminal would obey escaped: controls but tab and line feed, marks of direction.

    For every text that is printed or shown on a page, whoever wrote it.

    >>> print(printable("\\x1b[2J caf\u00e9 \\u202e"))
    \\x1b[2J caf\u00e9 \\u202e
    """
    return UNSHOWN.sub(lambda match: ascii(match[0])[1:-1], text.replace("\r\n", "\n"))


def without_secrets(text: str) -> str:
    """``text`` with user, password and keys in the addresses in it masked.

    For every text of settings that is written down, and every message.

    >>> without_secrets("http://me:pass@host/v1 https://host/find?k=3&api_key=abc")
    'http://***@host/v1 https://host/find?k=3&api_key=***'
    """
    if "://" not in text:
        return text
    return ADDRESS.sub(lambda match: _masked(match[0]), text)


def _masked(address: str) -> str:
    address = USER.sub(f"{MASK}@", address) if "@" in address else address
    return SECRET.sub(rf"\1{MASK}", address)


def secrets_masked(value: Any) -> Any:
    """JSON-able data with ``without_secrets`` of every text in it."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {secrets_masked(key): secrets_masked(item) for key, item in value.items()}
    return [secrets_masked(item) for item in value] if isinstance(value, list | tuple) else value


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


def near_miss(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of ``names`` that is most similar to ``name``, whatever the case; None below ``cutoff``.

    >>> near_miss("Rejectd", ["prompt", "chosen", "rejected"])
    'rejected'
    """
    lowered = {candidate.lower(): candidate for candidate in names}
    close = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=cutoff)
    return lowered[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str], cutoff: float = 0.6) -> str:
    """``did you mean NAME?``, or nothing.

    >>> did_you_mean("shrot", ["short", "formal"])
    'did you mean short?'
    """
    near = near_miss(name, names, cutoff)
    return f"did you mean {near}?" if near else ""


def near_path(path: Path, *, folders: bool = False) -> Path | None:
    """The file, or with ``folders`` the folder, that is most likely meant by a path where there is none.

    The first part of the path that is not there is compared with its neighbours, by its name without what
    follows the first dot; the parts below it must be there as they were written.
    """
    for part in (path, *path.parents):
        if part.parent.is_dir() and not part.exists():
            neighbour = _nearest_neighbour(part)
            if neighbour is None:
                return None
            candidate = neighbour / path.relative_to(part)
            exists = candidate.is_dir() if folders else candidate.is_file()
            return candidate if exists else None
    return None


def _nearest_neighbour(path: Path) -> Path | None:
    """The entry of the same folder whose name is most similar to that of ``path``."""
    try:
        names = sorted(
            entry.name for entry, _ in zip(path.parent.iterdir(), range(MAX_ENTRIES), strict=False)
        )
    except OSError:
        return None
    # Of several entries with one stem (x.json, x.jsonl) that with the path's own suffix comes first.
    by_stem: dict[str, str] = {}
    for name in sorted(names, key=lambda name: Path(name).suffix != path.suffix):
        by_stem.setdefault(_stem(name), name)
    near = near_miss(_stem(path.name), by_stem, cutoff=0.7)
    return None if near is None else path.parent / by_stem[near]


def _stem(name: str) -> str:
    """A name up to its first dot, without ``.jsonl.gz`` and the like; all of it if it begins with the dot."""
    return name.partition(".")[0] or name
