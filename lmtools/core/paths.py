"""Where things live: the files shipped with lmtools, and the user's cache."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent


def bundled(*parts: str) -> Path:
    """A file or folder shipped with lmtools: ``bundled("recipes", "leret")``.

    In a wheel they lie inside the package, in a checkout beside it.
    """
    inside = PACKAGE / "bundled"
    return (inside if inside.is_dir() else PACKAGE.parent).joinpath(*parts)


def cache_dir(*parts: str) -> Path:
    """A folder of the cache: ``$LMTOOLS_CACHE``, else ``$XDG_CACHE_HOME/lmtools``, else ``~/.cache/lmtools``.

    The folder is not created.
    """
    base = os.environ.get("LMTOOLS_CACHE")
    if base:
        return Path(base).expanduser().joinpath(*parts)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home).joinpath("lmtools", *parts)
