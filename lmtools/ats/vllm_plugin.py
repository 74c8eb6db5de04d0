"""What vLLM calls when it starts (entry point ``vllm.general_plugins``): exported models become known to it.

Imports neither torch nor vLLM by itself: vLLM loads the model class when a model asks for it by name.
"""

from lmtools.models.files import HEAD_KEY

PREFIX = "LmtoolsAts"
"""In front of the base model's architecture: ``LmtoolsAtsLlamaForCausalLM``."""

SUPPORTED = (
    "Gemma2ForCausalLM",
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Phi3ForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
)
"""The base architectures that a head can be exported with."""

SETTINGS = HEAD_KEY
"""The key of ``config.json`` that says which head it is, and the prefix of the head's tensors."""


def register() -> None:
    """Tell vLLM's registry the calibrated architectures; a second call changes nothing."""
    from vllm import ModelRegistry

    for architecture in SUPPORTED:
        name = PREFIX + architecture
        if name not in ModelRegistry.models:
            ModelRegistry.register_model(name, f"lmtools.ats.vllm_model:{name}")
