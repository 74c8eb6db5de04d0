"""A model with a fitted head on it, as one directory that vLLM serves with calibrated probabilities.

    export_vllm(Path("runs/ats/head"), Path("calibrated"), ModelSpec())
    vllm serve calibrated                          # wherever lmtools is installed beside vLLM

It holds the base model's files, the head's tensors under the prefix ``lmtools_ats.`` in one more file, and a
``config.json`` that names the head and the architecture which lmtools tells vLLM (``vllm_plugin``).
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lmtools.ats.artefact import HeadSettings, check_base, find_head, load_head, read_settings
from lmtools.ats.vllm_plugin import PREFIX, SETTINGS, SUPPORTED
from lmtools.core.errors import ModelError
from lmtools.core.files import atomic_writer, write_json
from lmtools.models.files import ModelFiles, read_json, resolve
from lmtools.models.load import identity, load
from lmtools.models.merge import INDEX, new_directory, tokenizer_files
from lmtools.models.spec import ModelSpec

# The base model's weights in the new directory, and the index over them and the head's.

WHOLE, HEAD = "model.safetensors", "model-head.safetensors"
BASE = "model-base.safetensors"
"""What ``WHOLE`` is called beside other files: where a file of that name is, no index is looked for."""


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

    files: dict[str, str] = {}
    size = 0
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            files |= dict.fromkeys(tensors.keys(), file.name)
        size += file.stat().st_size
    write_json(folder / INDEX, {"metadata": {"total_size": size}, "weight_map": files})


# The export.


def export_vllm(head: Path, out: Path, spec: ModelSpec) -> Path:
    """Write the calibrated model to ``out``, which is then complete, or else absent; returns ``out``.

    Weights are linked where the disk allows it and copied elsewhere; an adapter is merged into them first, at
    the precision of ``spec``. The files load at any precision.

    Args:
        head: a run of ``lmtools ats fit``, or a head's directory.
        out: a directory that is empty, or does not exist yet.
        spec: the model that the head was fitted on.

    Raises:
        ModelError: there is no head, it is for another model, or vLLM cannot compute it.
        RunError: ``out`` is in use.
        MachineError: it cannot be written.
    """
    from safetensors.torch import save

    directory = find_head(head)
    settings, files = read_settings(directory), resolve(spec)
    architecture = check_exportable(settings, directory, files, spec)
    tensors = {f"{SETTINGS}.{name}": value for name, value in load_head(directory).state_dict().items()}
    with new_directory(out) as folder:
        with _weights(spec, files, folder) as base:
            link_weights(base, folder)
            config = read_json(base / "config.json")
        for text in tokenizer_files(files.path):
            (folder / text.name).write_bytes(text.read_bytes())
        with atomic_writer(folder / HEAD, "wb") as stream:
            stream.write(save(tensors, metadata={"format": "pt"}))
        index_weights(folder)
        config |= {"architectures": [PREFIX + architecture], SETTINGS: _described(settings)}
        write_json(folder / "config.json", config)
    return out


def check_exportable(settings: HeadSettings, directory: Path, files: ModelFiles, spec: ModelSpec) -> str:
    """The base model's architecture, if the head in ``directory`` can run inside vLLM; loads no weights.

    Raises:
        ModelError: the head is for another model, or vLLM cannot compute it.
    """
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(files.path, trust_remote_code=spec.trust_remote_code)
    check_base(settings, directory, identity(spec, files), config)
    architecture = (config.architectures or ["model without architecture"])[0]
    if architecture not in SUPPORTED:
        raise ModelError(
            f"{spec.name} is a {architecture}; heads run inside vLLM on {', '.join(SUPPORTED)}",
            fix="use the head with the hf backend: lmtools generate --calibrated HEAD",
        )
    head = settings.head
    if head.needs_logits and (head.contextual or "argmax-row" in head.features):
        missing = "logits of prompt tokens" if head.contextual else "output projection's rows"
        raise ModelError(
            f"the {head.kind} head {directory} is on {', '.join(head.features)}: vLLM has no {missing}",
            fix="use it with the hf backend, or fit one with head.features=[hidden]",
        )
    return str(architecture)


@contextmanager
def _weights(spec: ModelSpec, files: ModelFiles, folder: Path) -> Iterator[Path]:
    """Where the weights to export are: the base model's, or merged with an adapter's for the while."""
    if files.adapter is None:
        yield files.path
        return
    with TemporaryDirectory(dir=folder) as merged:
        load(spec, files=files, merge=True).model.save_pretrained(merged)
        yield Path(merged)


def _described(settings: HeadSettings) -> dict[str, Any]:
    """What the model class reads of the head, and what people may want to know of it."""
    head = settings.head.model_dump(mode="json")
    return {"head": head, "shape": asdict(settings.shape), "base": asdict(settings.base)}
