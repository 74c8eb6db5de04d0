"""From a recipe's ``model:`` block to a generator or to a reader of features.

Only the backend that the block names is imported.
"""

from pathlib import Path

from lmtools.core.errors import ModelError
from lmtools.core.files import cache_dir, sha256_text
from lmtools.generation.cached import Cached
from lmtools.generation.protocol import Generator
from lmtools.models.feature_settings import FeatureSettings, Pass
from lmtools.models.features import FeatureReader
from lmtools.models.precision import pick_device
from lmtools.models.spec import ModelSpec


def open_generator(spec: ModelSpec, cache: bool = True, *, float32_logits: bool = False) -> Generator:
    """A generator on the backend that ``spec`` names.

    Args:
        spec: which model, and what runs it.
        cache: keep what it answers on disk (never a server's answers).
        float32_logits: hf: logits in float32 at every precision, for log-probabilities that are measured.

    Raises:
        MissingPackageError: the backend is not installed.
        ModelError: it does not take the model.
        MachineError: a download failed, memory is not enough, or the server does not answer.
    """
    generator = _backend(spec, float32_logits)
    # A server tells its address and a model's name only: other weights behind them would get the old answers.
    if not cache or spec.backend == "server":
        return generator
    return on_disk(generator, pick_device(spec.device), spec.batch_tokens)


def on_disk(generator: Generator, device: str, batch_tokens: int) -> Cached:
    """``generator``, with its answers kept in the cache directory."""
    return Cached(generator, answers_file("generations", generator.identity, device, batch_tokens))


def answers_file(folder: str, identity: str, device: str, batch_tokens: int) -> Path:
    """Where answers are kept: a file for each model, and for each way in which its numbers are rounded."""
    name = sha256_text(f"{identity} {device} {batch_tokens}")[:16]
    return cache_dir(folder, f"{name}.sqlite")


def _backend(spec: ModelSpec, float32_logits: bool) -> Generator:
    if spec.backend == "vllm":
        from lmtools.generation.vllm import VllmGenerator

        return VllmGenerator(spec)
    if spec.backend == "server":
        from lmtools.generation.server import ServerGenerator

        return ServerGenerator(spec)
    from lmtools.generation.hf import HfGenerator

    return HfGenerator(spec, float32_logits=float32_logits)


def open_features(spec: ModelSpec, settings: FeatureSettings) -> FeatureReader:
    """A reader of features; the model, or vLLM's engine, is loaded when the cache lacks something.

    Raises:
        ModelError: the model cannot be used, or the backend cannot give what ``settings`` asks for.
        MachineError: a download failed, or the cache cannot be written.
    """
    if spec.backend == "server":
        raise ModelError("model.backend: a server gives no hidden states", fix="set model.backend=hf or vllm")
    if spec.backend == "hf":
        return FeatureReader(spec, settings)
    if settings.layers != (-1,):
        raise ModelError(
            f"features.layers: vLLM gives the last layer's states only, not {list(settings.layers)}",
            fix="set features.layers=[-1], or model.backend=hf",
        )
    if settings.max_tokens > spec.max_model_len:
        raise ModelError(
            f"features.max_tokens={settings.max_tokens} is more than model.max_model_len="
            f"{spec.max_model_len}",
            fix="lower the first, or raise the second",
        )

    def open_pass() -> Pass:
        from lmtools.generation.vllm import VllmPass

        return VllmPass(spec, settings.pooling)

    reader = FeatureReader(spec, settings, open_pass)
    if reader.own_head is not None:
        raise ModelError(
            f"{spec.name} is a sequence-classification model, which the vllm backend does not read",
            fix="set model.backend=hf",
        )
    return reader
