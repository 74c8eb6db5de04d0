"""Whether a model fits into the memory of this machine, told before it is loaded: too late, it is killed."""

from dataclasses import dataclass
from pathlib import Path

from lmtools.core.errors import MachineError
from lmtools.core.progress import say
from lmtools.models.device import pick_device
from lmtools.models.files import ModelFiles
from lmtools.models.size import BYTES, stored_parameters, weights_gib
from lmtools.models.spec import ModelSpec

CGROUP = Path("/sys/fs/cgroup/memory.max")
MEMINFO = Path("/proc/meminfo")
MEND = "take a smaller model, or --set model.dtype=bfloat16, or another machine (--backend server asks one)"


@dataclass(frozen=True)
class Memory:
    """Of a GPU or of the machine, in GiB; ``free`` is what could be had now."""

    where: str
    total: float
    free: float


def memory_of(device: str) -> Memory | None:
    """The memory of a torch device; None where this system does not tell."""
    if device.startswith("cuda"):
        import torch

        left, whole = torch.cuda.mem_get_info(device)
        return Memory("the GPU", whole / 2**30, left / 2**30)
    try:
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
        total, free = (int(lines[key].split()[0]) / 2**20 for key in ("MemTotal", "MemAvailable"))
        total += int(lines.get("SwapTotal", "0 kB").split()[0]) / 2**20
    except (OSError, ValueError, KeyError):
        return None
    try:  # a container may have less
        limit = int(CGROUP.read_text()) / 2**30
    except (OSError, ValueError):
        limit = total
    return Memory("this machine", min(total, limit), min(free, limit))


def check_memory(spec: ModelSpec, files: ModelFiles, device: str) -> None:
    """Compare a model's weights with the memory they are to be loaded into.

    Raises:
        MachineError: they can never fit.
    """
    needed = stored_parameters(files.path) * BYTES[spec.dtype] / 2**30
    memory = memory_of(device)
    if memory is None or needed <= memory.free:
        return
    text = _sentence(spec, needed, memory)
    if needed > memory.total:
        raise MachineError(text, fix=MEND)
    say(f"note: {text}; what else runs here may have to stop")


def told_gib(spec: ModelSpec) -> float:
    """What a model's weights take, in GiB; says so where this machine has not enough memory for them.

    Raises as ``size.parameters`` does.
    """
    needed = weights_gib(spec)
    if spec.backend != "server":
        memory = memory_of(pick_device(spec.device))
        if memory is not None and needed > memory.free:
            say(f"note: {_sentence(spec, needed, memory)}: {MEND}")
    return needed


def _sentence(spec: ModelSpec, needed: float, memory: Memory) -> str:
    return (
        f"{spec.name} takes {needed:.1f} GiB at {spec.dtype}, and {memory.where} has {memory.free:.1f} of "
        f"{memory.total:.1f} GiB free"
    )
