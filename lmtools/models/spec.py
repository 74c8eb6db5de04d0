"""Which model, at which precision, with which adapter: the `model:` block of every recipe."""

from typing import Literal

from pydantic import Field

from lmtools.core.config import Config

BUILTIN_LM = "builtin:smollm2-135m-instruct"
BUILTIN_EMBEDDER = "builtin:all-minilm-l6-v2"


class ModelSpec(Config):
    """A causal language model and how to run it."""

    name: str = Field(
        default=BUILTIN_LM,
        description="A built-in model, a Hugging Face name, or the path of a local directory.",
    )
    adapter: str | None = Field(
        default=None, description="A PEFT adapter directory (or hub name) put on top of the model."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="Precision of the weights. bfloat16 halves memory and is 2-3x faster on recent CPUs "
        "and GPUs; log-probabilities then differ from float32 by some tenths of a nat at worst.",
    )
    device: str = Field(
        default="auto", description="`cpu`, `cuda`, `cuda:1`, `mps`; `auto` takes a GPU where there is one."
    )
    backend: Literal["hf", "vllm", "server"] = Field(
        default="hf",
        description="What generates: transformers, vLLM in this process, or an OpenAI-compatible server.",
    )
    batch_tokens: int = Field(
        default=8192,
        gt=0,
        description="hf: tokens (padding included) in one forward pass; more is faster and takes memory.",
    )
    server_url: str = Field(
        default="http://127.0.0.1:8000/v1", description="server: the address of the OpenAI-compatible API."
    )
    max_model_len: int = Field(
        default=4096, gt=0, description="vllm: the longest prompt plus completion, in tokens."
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model. Only for a repository that you trust.",
    )
