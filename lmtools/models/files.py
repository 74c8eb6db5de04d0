"""A model's files: where they are, what they are by content, whether an adapter fits, how large they are.

    files = resolve(ModelSpec(name="builtin:smollm2-135m-instruct"))
    files.path, files.adapter, files.digest

``resolve`` turns a built-in, local or hub name into directories and checks them; nothing here loads a weight.
It downloads, reads configurations and the headers of adapters, so its result is passed on to whatever else
needs the files (``load``, ``load_tokenizer``, ``identity``, ``model_hashes``).
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from lmtools.core.errors import LmtoolsError, MachineError, MissingPackageError, ModelError
from lmtools.core.files import cache_dir, sha256_file, sha256_text, write_json
from lmtools.core.strings import without_secrets
from lmtools.models.builtin import BUILTINS, pull
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import BUILTIN_LM, PREFIX, ModelSpec

WEIGHTS = (".safetensors",)
TEXTS = (".json", ".jinja", ".model", ".txt", ".py")
PATTERNS = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
"""What is downloaded of a hub repository; ``*.py`` only where its code may run."""
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
HEAD_KEY = "lmtools_ats"
"""In ``config.json``: the temperature head of a model that was exported with one for vLLM."""
PEFT_PREFIX = "base_model.model."
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of one weight, by precision."""

# What a model directory is, by content: the name under which caches and manifests know it.


def fingerprint(directory: Path) -> str:
    """One SHA-256 over the names and contents of a model's or adapter's files, in hexadecimal.

    Weights, configuration, tokenizer and chat template count, in this folder alone: neither the folder's name
    nor a training state beside them does.
    """
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.suffix in WEIGHTS + TEXTS)
    return sha256_text("\n".join(f"{path.name} {file_sha256(path)}" for path in files))


def weights_fingerprint(directory: Path) -> str:
    """One SHA-256 over the weights alone."""
    return sha256_text("\n".join(file_sha256(path) for path in sorted(directory.glob("*.safetensors"))))


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file; for weights, remembered as long as the file's size and time stay the same."""
    if path.suffix not in WEIGHTS:
        return sha256_file(path)
    stat = path.stat()
    name = str(path.resolve())
    state = [name, stat.st_size, stat.st_mtime_ns, stat.st_ino]
    cached = cache_dir("hashes", f"{sha256_text(name)[:32]}.json")
    entry = _read(cached)
    if entry.get("file") == state and isinstance(entry.get("sha256"), str):
        return str(entry["sha256"])
    digest = sha256_file(path)
    with suppress(LmtoolsError):  # a cache that cannot be written costs time only
        write_json(cached, {"file": state, "sha256": digest})
    return digest


def _read(note: Path) -> dict[str, object]:
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


# From a name to directories.


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine: its directory, and that of the adapter on top of it."""

    path: Path
    adapter: Path | None = None

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the model's content, the adapter left out; reads every byte the first time."""
        return fingerprint(self.path)

    @cached_property
    def adapter_digest(self) -> str:
        """The SHA-256 of the adapter's content; empty without one."""
        return fingerprint(self.adapter) if self.adapter else ""


def resolve(spec: ModelSpec) -> ModelFiles:
    """The local files of a model and its adapter, after downloading what is missing.

    A name that is itself an adapter's directory stands for that adapter on the base it was trained on.

    Raises:
        ModelError: a directory does not hold a model, or the adapter is for another base.
        MachineError: a download failed.
    """
    adapter = locate(spec.adapter, adapter=True, remote_code=spec.trust_remote_code) if spec.adapter else None
    path = locate(spec.name, remote_code=spec.trust_remote_code)
    if adapter is None and is_adapter(path):
        adapter, base = path, base_of(path)
        if os.path.isabs(base) and not os.path.exists(base):
            raise ModelError(
                f"{adapter}: an adapter of {base}, which is not there",
                fix=f"name its base as it stands now, with the adapter: --set model.name=DIR "
                f"--set model.adapter={adapter}",
            )
        path = locate(base, remote_code=spec.trust_remote_code)
    check_model(path, spec.name)
    if adapter is not None:
        check_adapter(adapter, path)
    return ModelFiles(path, adapter)


def resolve_without_weights(spec: ModelSpec) -> ModelFiles:
    """As ``resolve``, but of a hub model only configuration and tokenizer are downloaded, and no adapter."""
    if on_hub(spec.name):
        return ModelFiles(_download(spec.name, spec.trust_remote_code, weights=False))
    return resolve(spec)


def on_hub(name: str) -> bool:
    """Whether a name can only be that of a hub repository."""
    return (
        not name.startswith((PREFIX, ".", "/", "~"))
        and name not in BUILTINS
        and name.count("/") <= 1
        and "\\" not in name
        and not Path(name).exists()
    )


def locate(name: str, *, adapter: bool = False, remote_code: bool = False) -> Path:
    """The directory that a built-in, local or hub name stands for.

    Raises:
        ModelError: it is none of these.
        MachineError: it could not be downloaded.
    """
    if name.startswith(PREFIX):
        return pull(name)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name} is a file, not a model's directory", fix="name the directory that holds it")
    if name in BUILTINS:
        raise ModelError(f"{name}: no such directory", fix=f"did you mean {PREFIX}{name}?")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name:
        kind, setting = ("adapter", "adapter") if adapter else ("model", "name")
        raise ModelError(
            f"{name}: no such directory",
            fix=f"name an existing {kind} directory, or a hub name: --set model.{setting}=DIR",
        )
    return _download(name, remote_code)


def check_model(path: Path, name: str) -> None:
    """Whether a directory holds a model that can be loaded: configuration, safetensors weights, tokenizer.

    Raises:
        ModelError: naming what is missing.
    """
    here = {file.name for file in path.iterdir()}
    missing = [] if "config.json" in here else ["config.json"]
    if not any(file.endswith(".safetensors") for file in here):
        missing.append("*.safetensors (weights; pickled .bin files are never loaded)")
    if not any(file in here for file in TOKENIZERS):
        missing.append("tokenizer.json")
    if missing:
        raise ModelError(
            f"{name} is not a model: {path} has no {', no '.join(missing)}",
            fix=f"name a directory written by save_pretrained(), a hub name, or {BUILTIN_LM}",
        )
    read_json(path / "config.json")


def is_adapter(path: Path) -> bool:
    """Whether a directory holds a PEFT adapter and no model."""
    return (path / "adapter_config.json").is_file() and not (path / "config.json").is_file()


def base_of(adapter: Path) -> str:
    """The name of the model an adapter was trained on.

    Raises:
        ModelError: the adapter does not say.
    """
    base = read_json(adapter / "adapter_config.json").get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            f"{adapter} is an adapter and does not name its base model",
            fix="give the base as model.name and this directory as model.adapter",
        )
    return base


def check_adapter(adapter: Path, base: Path) -> None:
    """Whether an adapter fits a base model, by the shapes of the layers it adapts; loads no weights.

    Raises:
        ModelError: it is incomplete, or made for another model.
    """
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        if not (adapter / file).is_file():
            raise ModelError(
                f"{adapter} is not a PEFT adapter: it has no {file}",
                fix="name a directory written by PEFT's save_pretrained()",
            )
    trained_on = read_json(adapter / "adapter_config.json").get("base_model_name_or_path") or "another model"
    faults = adapter_mismatches(adapter, base)
    if not faults and _weights_differ(Path(trained_on), base):
        faults = ["the same shapes, but other weights"]
    if faults:
        raise ModelError(
            f"the adapter {adapter} was trained on {trained_on} and does not fit {base}: {faults[0]}",
            fix=f"set model.name to {trained_on}, or leave model.adapter out",
        )


def _weights_differ(trained_on: Path, base: Path) -> bool:
    """Whether the model an adapter was trained on is at hand and has other weights than ``base``."""
    if not (trained_on / "config.json").is_file() or trained_on.resolve() == base.resolve():
        return False
    return weights_fingerprint(trained_on) != weights_fingerprint(base)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ModelError: the file is broken.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON: {error}", fix="fetch the model again") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: holds no JSON object", fix="fetch the model again")
    return value


def _download(name: str, remote_code: bool, weights: bool = True) -> Path:
    """The snapshot of a hub repository, from the hub's own cache where it is complete."""
    patterns = [*PATTERNS, "*.py"] if remote_code else list(PATTERNS)
    ignored = None if weights else "*.safetensors"
    with hub_errors(name):
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=ignored))


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """What huggingface_hub raises, as errors that name the repository.

    Raises:
        ModelError: there is no such repository.
        MachineError: it cannot be reached.
    """
    try:
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    except ImportError as error:
        raise MissingPackageError(
            "a hub name needs huggingface_hub", fix="pip install huggingface_hub"
        ) from error
    try:
        yield
    except HFValidationError as error:
        raise ModelError(
            f"{name}: neither a directory nor a hub name", fix=f"such as {BUILTIN_LM}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{name}: no such directory, and no such repository on the hub (or it needs a login)",
            fix="check the spelling; for a private or gated repository run `hf auth login`",
        ) from error
    except LmtoolsError:
        raise
    except Exception as error:  # requests, httpx, OS and hub errors, which differ between its versions
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MachineError(
            f"cannot fetch {name} from the hub: {first}",
            fix=f"connect to the hub, or use a model that needs none: a local directory, or {BUILTIN_LM}",
        ) from error


# Whether a PEFT adapter fits a model, from names and shapes alone.


def adapter_mismatches(adapter: Path, base: Path) -> list[str]:
    """What in an adapter's weights does not fit the base model's, one line each; empty if it fits.

    A LoRA pair adapts one weight W of shape (out, in): A is (rank, in), B is (out, rank). Layers whose
    weights have other forms (embeddings, merged or transposed ones) are only looked up by name.
    """
    shapes = tensor_shapes(base)
    faults = []
    for key, shape in tensor_shapes(adapter).items():
        layer, _, part = key.removeprefix(PEFT_PREFIX).partition(".lora_")
        weight = shapes.get(f"{layer}.weight")
        if part and weight is None and not _is_tied_head(layer, shapes):
            faults.append(f"the model has no layer {layer}")
        elif part in ("A.weight", "B.weight") and weight is not None and len(weight) == 2 == len(shape):
            side, adapter_size = ("inputs", shape[1]) if part[0] == "A" else ("outputs", shape[0])
            if adapter_size not in weight:
                model_size = weight[1] if part[0] == "A" else weight[0]
                faults.append(
                    f"{layer} has {model_size} {side} in the model and {adapter_size} in the adapter"
                )
    return faults


def tensor_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor in a directory's safetensors files; reads their headers only."""
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            shapes |= {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118
    return shapes


def _is_tied_head(layer: str, shapes: dict[str, tuple[int, ...]]) -> bool:
    """An output projection that shares the embedding's weights is not in the file."""
    return layer == "lm_head" and not any(name.startswith("lm_head.") for name in shapes)


# What a run's manifest says of a model: its content, by name.


def model_hashes(spec: ModelSpec, files: ModelFiles | None = None) -> dict[str, str]:
    """Name -> SHA-256 of a model's content, and of its adapter's.

    A server does not tell its weights: there it is the hash of its address and the model's name.

    Args:
        spec: the model.
        files: its files, where ``resolve(spec)`` has given them already.

    Raises:
        ModelError: one of them cannot be used.
    """
    if spec.backend == "server":
        address = without_secrets(spec.server_url)
        return {spec.name: sha256_text(f"{address} {spec.adapter or spec.name}")}
    files = files or resolve(spec)
    adapter = {str(spec.adapter or files.adapter): files.adapter_digest} if files.adapter else {}
    return {spec.name: files.digest, **adapter}


# How large a model is.


def weights_gib(spec: ModelSpec) -> float:
    """What a model's weights take at the precision of ``spec``, in GiB; raises as ``parameters``."""
    return parameters(spec) * bytes_of(spec) / 2**30


def bytes_of(spec: ModelSpec) -> int:
    """Bytes of one weight; for a device that is not here, those of the 16 bits that a GPU has."""
    try:
        return BYTES[resolve_dtype(spec).dtype]
    except ModelError:
        return BYTES["bfloat16"]


def parameters(spec: ModelSpec) -> int:
    """The number of weights in a model's safetensors files; a tied output matrix counts once.

    Of a hub model only the heads of these files are fetched.

    Raises:
        ModelError: the model cannot be found, or holds no safetensors.
        MachineError: the hub cannot be reached.
    """
    from safetensors import safe_open

    if on_hub(spec.name):
        with hub_errors(spec.name):
            from huggingface_hub import get_safetensors_metadata

            return sum(get_safetensors_metadata(spec.name).parameter_count.values())
    total = 0
    for file in sorted(resolve(spec).path.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            total += sum(prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total
