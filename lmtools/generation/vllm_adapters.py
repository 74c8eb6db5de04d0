"""LoRA adapters for a running vLLM engine, one for all requests of a batch."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lmtools.core.errors import ModelError
from lmtools.models.adapter import tensor_shapes
from lmtools.models.files import check_adapter, read_json
from lmtools.models.fingerprint import fingerprint

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the ranks that vLLM reserves room for
FILES = ("adapter_config.json", "adapter_model.safetensors")


def lora_options(directory: Path, rank: int, trust_remote_code: bool = False) -> dict[str, Any]:
    """Engine arguments that make room for adapters up to ``rank`` on the model in ``directory``.

    Every linear layer but the output projection may be adapted: with it, prompt log-probabilities fail.

    Raises:
        ModelError: the rank is above vLLM's highest.
    """
    room = next((size for size in RANKS if size >= rank), None)
    if room is None:
        raise ModelError(f"adapter rank {rank} is above vLLM's {RANKS[-1]}", fix="merge it into the model")
    return {
        "enable_lora": True,
        "max_lora_rank": room,
        "max_loras": 1,
        "lora_target_modules": linear_layers(directory, trust_remote_code),
    }


def linear_layers(directory: Path, trust_remote_code: bool = False) -> list[str]:
    """The last name parts of a model's linear layers, without its output projection; reads no weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(directory, trust_remote_code=trust_remote_code)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    head = model.get_output_embeddings()
    linear = {"Linear", "Conv1D"}  # GPT-2's layers are transposed ones, called Conv1D
    return sorted(
        {
            name.rpartition(".")[2]
            for name, module in model.named_modules()
            if type(module).__name__ in linear and module is not head
        }
    )


def adapter_rank(adapter: Path) -> int:
    """The highest rank in a PEFT adapter.

    Raises:
        ModelError: it holds weights that vLLM would leave out without a word.
    """
    others = [name for name in tensor_shapes(adapter) if "lm_head" in name or "embed_tokens" in name]
    if others:
        raise ModelError(
            f"{adapter} adapts {others[0]}, which the vllm backend cannot do per request",
            fix="merge the adapter into the model, or use --backend hf",
        )
    config = read_json(adapter / "adapter_config.json")
    return max(int(config["r"]), *(int(rank) for rank in (config.get("rank_pattern") or {}).values()), 1)


class Adapters:
    """The adapters one engine has seen, each under a name, an id and a path that mean one content for ever.

    vLLM serves the old weights for a name it knows, and new weights with an old cache for a path that was
    overwritten, hence the private copies.
    """

    def __init__(self, base: Path, room: int) -> None:
        self._base, self._room = base, room
        self._copies = TemporaryDirectory(prefix="lmtools-adapters-")
        self._requests: dict[str, Any] = {}

    def request(self, adapter: Path) -> tuple[str, Any]:
        """The content hash of an adapter's directory, and vLLM's request for it.

        Raises:
            ModelError: not an adapter for this base, or one that does not fit into the engine.
        """
        from vllm.lora.request import LoRARequest

        check_adapter(adapter, self._base)
        rank = adapter_rank(adapter)
        if rank > self._room:
            raise ModelError(
                f"{adapter}: rank {rank}, and the engine has room for {self._room}",
                fix=f"start it with max_lora_rank={rank} or more",
            )
        digest = fingerprint(adapter)
        if digest not in self._requests:
            copy = Path(self._copies.name) / digest[:16]
            copy.mkdir(exist_ok=True)
            for name in FILES:
                shutil.copyfile(adapter / name, copy / name)
            self._requests[digest] = LoRARequest(digest[:16], len(self._requests) + 1, str(copy))
        return digest, self._requests[digest]
