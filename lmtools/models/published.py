"""How models, inputs and commands are told to others: no path of this machine, no name of its user."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmtools.models.builtin import BUILTINS, PREFIX
from lmtools.models.files import on_hub

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
HUB_SOURCE = "hf:"
FOLDERS = re.compile(r"(^|[=\[,\"'\s])(?:~[\w.-]*|\.{1,2})?/(?:[^/,\]\"'=]+/)*")
"""The folders of a path that is absolute, or begins with ``.`` or ``~``, in a word of a command line."""
ABSOLUTE = re.compile(r"""(?:["']|: )(/[^"'\n]+)""")
LOGIN = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True)
class Base:
    """A base model as a card speaks of it.

    ``loaded`` is what loads it: a name of the hub, or ``BASE``, of which ``hint`` says where it is;
    ``option`` is what ``--model`` of lmtools takes. ``hub`` is its repository and ``licence`` its licence as
    the hub spells it, None where they are not known; ``adapter`` one that belongs to it, empty without.
    """

    name: str
    loaded: str
    option: str
    hint: str = ""
    hub: str | None = None
    licence: str | None = None
    adapter: str = ""


def base_of_card(name: str, adapter: str | None = None) -> Base:
    """What can be told of a model by the names that a recipe gives it and its adapter."""
    more = public_name(adapter) if adapter else ""
    builtin = BUILTINS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if builtin is not None:
        folder = f"`BASE` is the folder that `lmtools models pull {name}` prints"
        hint = f"{folder}: {builtin.hub}, rounded to 4 bits."
        return Base(name, "BASE", name, hint, builtin.hub, builtin.licence.lower(), more)
    if on_hub(name) and HUB_ID.fullmatch(name):
        return Base(name, name, name, hub=name, adapter=more)
    public = public_name(name)
    return Base(public, "BASE", "BASE", f"`BASE` is the directory of {code(public)}.", adapter=more)


def public_name(name: str) -> str:
    """An input's name where it means the same everywhere, else the last part of its path.

    >>> public_name("hf:org/pairs:en"), public_name("/home/anna/pairs.jsonl"), public_name("../mine/model/")
    ('hf:org/pairs:en', 'pairs.jsonl', 'model')
    """
    if name.startswith(PREFIX) or on_hub(name):
        return name
    return Path(name).name or "model"


def public_command(command: Sequence[str]) -> list[str]:
    """A command line without the folders of its paths, and without logins in its addresses.

    >>> public_command(["lmtools", "--set", "data.train=/home/anna/a.jsonl", "--out", "runs/a"])
    ['lmtools', '--set', 'data.train=a.jsonl', '--out', 'runs/a']
    """
    return [LOGIN.sub("://", FOLDERS.sub(r"\1", word)) for word in command]


def local_paths(text: str) -> list[str]:
    """The paths of this machine in the text of a JSON or YAML file.

    An adapter's settings name its base so. They are part of what it is by content, and are published as they
    are.
    """
    return [path for path in ABSOLUTE.findall(text) if Path(path).exists()]


def code(text: str) -> str:
    """A text as code in Markdown, on one line and in a table too: whatever it holds, it marks up nothing."""
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{line or ' '}`"


def plain(text: str) -> str:
    """A text as words in Markdown: none of its signs is markup or a tag."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))
