"""The weights of a model directory that is made from another one, as links, and their index."""

import os
import shutil
from pathlib import Path

from lmtools.core.files import write_json
from lmtools.models.directory import INDEX
from lmtools.models.files import read_json

WHOLE = "model.safetensors"
BASE = "model-base.safetensors"
"""What ``WHOLE`` is called beside other files: whoever finds a file of that name looks for no index."""


def link_weights(source: Path, target: Path) -> None:
    """Put a model's weights into the folder ``target`` too, as links where they can be, else as copies."""
    for file in weights(source):
        name = BASE if file.name == WHOLE else file.name
        try:
            os.link(file.resolve(), target / name)
        except OSError:  # another disk, or one without links
            shutil.copyfile(file, target / name)


def weights(folder: Path) -> list[Path]:
    """The weight files that loading reads: those in the index, else the only one, else all there are."""
    if (folder / INDEX).is_file():
        return [folder / name for name in sorted(set(read_json(folder / INDEX)["weight_map"].values()))]
    if (folder / WHOLE).is_file():
        return [folder / WHOLE]
    return sorted(folder.glob("*.safetensors"))


def index_weights(folder: Path) -> None:
    """Write the index of all weight files in ``folder``: which tensor is in which."""
    from safetensors import safe_open

    where: dict[str, str] = {}
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            where |= dict.fromkeys(tensors.keys(), file.name)
        size += file.stat().st_size
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": where})
