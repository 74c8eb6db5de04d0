"""An adapter merged into its base: an ordinary model directory, which needs no PEFT to be loaded.

A directory is written whole or not at all (``new_directory``).
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lmtools.core.errors import RunError
from lmtools.core.files import cannot_write, library_writes, sweep
from lmtools.models.files import resolve
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

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
        sweep(out)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.", suffix=".part"))
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        with library_writes(out):
            yield folder
            folder.chmod(0o755)
            folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def tokenizer_files(folder: Path) -> list[Path]:
    """A model's tokenizer, chat template and settings: all that is neither weights nor about them."""
    about_weights = {"config.json", INDEX}
    suffixes = {".json", ".jinja", ".model", ".txt"}
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix in suffixes and path.name not in about_weights and path.is_file()
    )


def write_merged(spec: ModelSpec, out: Path) -> None:
    """Write the model of ``spec``, its adapter merged in, and its tokenizer; ``out`` is then whole or absent.

    The weights have the precision of ``spec``; at bfloat16 the sum is rounded as they are. Everything is done
    on the processor, in the memory of one model.

    Raises:
        ModelError: the model or its adapter cannot be used.
        RunError: ``out`` is in use.
        MachineError: there is not enough memory, or the disk is full.
    """
    files = resolve(spec)
    merged = load(spec.model_copy(update={"device": "cpu"}), files=files, merge=True)
    with new_directory(out) as folder:
        merged.model.save_pretrained(folder)
        for file in tokenizer_files(files.path):  # as they are: loading has changed the tokenizer's padding
            (folder / file.name).write_bytes(file.read_bytes())
