"""The files of a model directory that is made from another one: linked weights, their index, texts."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmtools.core.errors import RunError
from lmtools.core.files import cannot_write, write_json, written_by_others
from lmtools.models.files import read_json

INDEX, WHOLE = "model.safetensors.index.json", "model.safetensors"
BASE = "model-base.safetensors"
"""What ``WHOLE`` is called beside other files: whoever finds a file of that name looks for no index."""


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` on a clean exit and is removed otherwise.

    Raises:
        RunError: ``out`` is a file, or holds something.
        MachineError: it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} exists already", fix="remove it, or choose another one with --out DIR")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        with written_by_others(out):
            yield folder
            folder.chmod(0o755)
            folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


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


def texts(folder: Path) -> list[Path]:
    """A model's tokenizer, chat template and settings: all that is neither weights nor about them."""
    unwanted = {"config.json", INDEX}
    suffixes = {".json", ".jinja", ".model", ".txt"}
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in suffixes and path.name not in unwanted and path.is_file()
    )
