"""What a run's manifest says of a model: its content, by name."""

from lmtools.core.files import sha256_text
from lmtools.models.files import resolve
from lmtools.models.spec import ModelSpec


def model_hashes(spec: ModelSpec) -> dict[str, str]:
    """Name -> SHA-256 of a model's content, and of its adapter's.

    A server does not tell its weights: there it is the hash of its address and the model's name.

    Raises:
        ModelError: one of them cannot be used.
    """
    if spec.backend == "server":
        return {spec.name: sha256_text(f"{spec.server_url} {spec.adapter or spec.name}")}
    files = resolve(spec)
    adapter = {str(spec.adapter or files.adapter): files.adapter_digest} if files.adapter else {}
    return {spec.name: files.digest, **adapter}
