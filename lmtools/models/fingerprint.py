"""What a model directory is, by content: the name under which caches and manifests know it."""

import json
from contextlib import suppress
from pathlib import Path

from lmtools.core.errors import LmtoolsError
from lmtools.core.files import sha256_file, sha256_text, write_json
from lmtools.core.paths import cache_dir

WEIGHTS = (".safetensors",)
TEXTS = (".json", ".jinja", ".model", ".txt", ".py")


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
    seen = [name, stat.st_size, stat.st_mtime_ns, stat.st_ino]
    note = cache_dir("hashes", f"{sha256_text(name)[:32]}.json")
    known = _read(note)
    if known.get("file") == seen and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    digest = sha256_file(path)
    with suppress(LmtoolsError):  # a cache that cannot be written costs time only
        write_json(note, {"file": seen, "sha256": digest})
    return digest


def _read(note: Path) -> dict[str, object]:
    try:
        value = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
