"""From a recipe's ``model:`` and ``features:`` blocks to a reader of features, on the backend asked for."""

from lmtools.core.errors import ModelError
from lmtools.models.feature_pass import Pass
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import FeatureReader
from lmtools.models.spec import ModelSpec


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
        from lmtools.generation.vllm_features import VllmPass

        return VllmPass(spec, settings.pooling)

    reader = FeatureReader(spec, settings, open_pass)
    if reader.own_head is not None:
        raise ModelError(
            f"{spec.name} is a sequence-classification model, which the vllm backend does not read",
            fix="set model.backend=hf",
        )
    return reader
