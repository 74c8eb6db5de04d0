"""Where a model runs: the torch device of `model.device`."""

from functools import cache
from pathlib import Path

from lmtools.core.errors import ModelError
from lmtools.core.near import did_you_mean
from lmtools.core.progress import say

NAMES = ("auto", "cpu", "cuda", "mps")
DRIVER = Path("/proc/driver/nvidia/version")
"""There where the driver of an NVIDIA GPU is loaded."""


def pick_device(name: str) -> str:
    """The torch device of a setting: ``auto`` is the first GPU, else the processor.

    Raises:
        ModelError: this machine has no such device.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        if without_cuda():
            _tell_of_an_idle_gpu()
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        fix = "set model.device=auto or cpu"
        if without_cuda() and name.startswith("cuda"):
            reason = f"there is a GPU, and torch {torch.__version__} is a build without CUDA"
            fix = cuda_build()
        elif reason.startswith("Expected one of"):
            reason = "torch knows no such device"
            fix = f"{did_you_mean(name.partition(':')[0], NAMES) or 'did you mean cuda?'} {fix}"
        raise ModelError(
            f"model.device: {name!r} is not usable on this machine: {reason}", fix=fix
        ) from error
    return name


def without_cuda() -> bool:
    """Whether there is an NVIDIA GPU that this torch was not built for."""
    import torch

    return torch.version.cuda is None and torch.version.hip is None and DRIVER.exists()


def cuda_build() -> str:
    """The line that installs a torch of this release for GPUs."""
    import torch

    release = torch.__version__.partition("+")[0]
    return f"pip install --force-reinstall torch=={release}, without the CPU's index (PIP_EXTRA_INDEX_URL)"


@cache
def _tell_of_an_idle_gpu() -> None:
    """Say it once: everything works without, only slower."""
    say(f"note: there is a GPU, and this torch is a build without CUDA; it can be used after: {cuda_build()}")
