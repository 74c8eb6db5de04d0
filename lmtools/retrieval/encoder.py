"""A sentence encoder: text to unit vectors."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import ModelError

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

Vectors = NDArray[np.float32]


class TextEncoder(Protocol):
    """What the ``dense`` backend needs of an encoder; ``identity`` names it by content."""

    @property
    def identity(self) -> str: ...

    def encode(self, texts: Sequence[str]) -> Vectors:
        """One vector of length 1 per text, float32, shape [texts, dimensions]."""
        ...


class SentenceEncoder:
    """An encoder of sentence-transformers.

    Args:
        name: a built-in encoder, a Hugging Face name, or a local directory.
        device: ``cpu``, ``cuda``, ...; ``auto`` takes a GPU where there is one.
        batch_size: texts encoded at a time.

    Raises:
        ModelError: there is no such encoder, or it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "auto", batch_size: int = 64) -> None:
        self._model = _load(name, None if device == "auto" else device)
        self._batch_size = batch_size
        self.identity = fingerprint(self._model.state_dict(), repr(self._model))

    def encode(self, texts: Sequence[str]) -> Vectors:
        # Tokenizers take valid Unicode only, so lone surrogates become question marks.
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        vectors = self._model.encode(
            clean, batch_size=self._batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.ascontiguousarray(vectors, dtype=np.float32)


def fingerprint(weights: "dict[str, torch.Tensor]", architecture: str) -> str:
    """SHA-256 of a model's weights and the description of its modules: whatever name it came under."""
    import torch

    digest = hashlib.sha256(architecture.encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _load(name: str, device: str | None) -> "SentenceTransformer":
    from sentence_transformers import SentenceTransformer

    if name.startswith("builtin:"):
        from lmtools.models.builtin import pull

        name = str(pull(name))
    try:
        return SentenceTransformer(name, device=device, model_kwargs={"use_safetensors": True})
    except Exception as error:  # the hub, transformers and torch each raise their own kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"retriever.encoder: cannot load {name!r} as a sentence encoder: {reason}",
            fix="name a sentence-transformers model with safetensors weights, its directory, "
            "or leave the setting out for the built-in encoder",
        ) from error
