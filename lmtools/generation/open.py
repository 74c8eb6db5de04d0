"""From a recipe's ``model:`` block to a generator; only the backend that is asked for is imported."""

from lmtools.core.files import sha256_text
from lmtools.core.paths import cache_dir
from lmtools.generation.cached import Cached
from lmtools.generation.protocol import Generator
from lmtools.models.spec import ModelSpec


def open_generator(spec: ModelSpec, cache: bool = True, *, float32_logits: bool = False) -> Generator:
    """A generator on the backend that ``spec`` names.

    Args:
        spec: which model, and what runs it.
        cache: keep what it answers on disk, one file for each model, adapter, precision and backend
            (never a server's answers).
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
    return on_disk(generator)


def on_disk(generator: Generator) -> Cached:
    """``generator``, with its answers kept in the cache directory: one file for each identity."""
    return Cached(generator, cache_dir("generations", f"{sha256_text(generator.identity)[:16]}.sqlite"))


def _backend(spec: ModelSpec, float32_logits: bool) -> Generator:
    if spec.backend == "vllm":
        from lmtools.generation.vllm import VllmGenerator

        return VllmGenerator(spec)
    if spec.backend == "server":
        from lmtools.generation.server import ServerGenerator

        return ServerGenerator(spec)
    from lmtools.generation.hf import HfGenerator

    return HfGenerator(spec, float32_logits=float32_logits)
