"""Which model, at which precision, with which adapter: the `model:` block of every recipe."""

import os
from typing import Annotated, Literal, Self

from pydantic import Field

from lmtools.core.config import Config, Location, PathChange

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

BUILTIN_LM = "builtin:smollm2-135m-instruct"
BUILTIN_EMBEDDER = "builtin:all-minilm-l6-v2"

PREFIX = "builtin:"
"""How the name of a built-in model begins."""


def model_folder(name: str) -> tuple[str, str, str]:
    """A model's or an adapter's name as ``Location.split`` gives it: all of it a path, or none."""
    path = os.path.expanduser(name)
    local = not name.startswith(PREFIX) and (name.startswith((".", "/", "~")) or os.path.isdir(path))
    return ("", name, "") if local else (name, "", "")


ModelName = Annotated[str, Location(model_folder)]
"""A built-in model, a name on the hub, or a local directory."""


class ModelSpec(Config):
    """A causal language model and how to run it."""

    name: ModelName = Field(
        default=BUILTIN_LM,
        description="The model: a built-in one (`lmtools models ls`), a Hugging Face name, or a local "
        "directory. Time and memory grow with its size: 4 bytes a parameter at float32, 2 at 16 bits.",
    )
    adapter: Annotated[str | None, Location(model_folder)] = Field(
        default=None,
        description="A PEFT adapter put on top of the model: a directory or a hub name; null: none. Costs "
        "little time and memory.",
    )
    dtype: Dtype = Field(
        default="auto",
        description="Precision of the weights. `auto` takes what this machine computes fastest: bfloat16 "
        "where it is native (else float16 on a GPU, float32 on a processor). 16 bits halve memory; on a "
        "processor without them they are up to 40 times slower. Log-probabilities then differ from float32 "
        "by some tenths of a nat at worst.",
    )
    device: str = Field(
        default="auto",
        description="Where it runs: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` takes a GPU where there is one.",
    )
    backend: Literal["hf", "vllm", "server"] = Field(
        default="hf",
        description="What generates: `hf`, transformers, which runs anywhere; `vllm`, in this process, "
        "several times faster and a package of its own; `server`, an OpenAI-compatible endpoint, which "
        "loads nothing here.",
    )
    batch_tokens: int = Field(
        default=8192,
        gt=0,
        description="hf: tokens, padding included, in one forward pass; more is faster and takes memory. "
        "Halve it when memory runs out; results stay the same but for rounding.",
    )
    server_url: str = Field(
        default="http://127.0.0.1:8000/v1",
        description="server: the address of the OpenAI-compatible API, up to and with `/v1`. The other "
        "backends do not look at it.",
    )
    max_model_len: int = Field(
        default=4096,
        gt=0,
        description="vllm: the longest prompt plus completion, in tokens; memory for the cache grows with "
        "it.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model, with your rights on this machine. Only for "
        "a repository that you trust.",
    )

    def with_paths(self, change: PathChange, prefix: str = "") -> Self:
        """As of every configuration; the names of a server's models are its own."""
        return self if self.backend == "server" else super().with_paths(change, prefix)
