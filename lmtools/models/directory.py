"""A directory that is written whole or not at all, and what a model's directory holds beside its weights."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmtools.core.errors import RunError
from lmtools.core.files import cannot_write, written_by_others

INDEX = "model.safetensors.index.json"


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


def texts(folder: Path) -> list[Path]:
    """A model's tokenizer, chat template and settings: all that is neither weights nor about them."""
    unwanted = {"config.json", INDEX}
    suffixes = {".json", ".jinja", ".model", ".txt"}
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in suffixes and path.name not in unwanted and path.is_file()
    )
