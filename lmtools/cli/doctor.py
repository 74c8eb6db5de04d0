"""``lmtools doctor``: what is installed, what works, what is missing and the line that installs it."""

import shutil
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from lmtools.cli.invocation import as_called
from lmtools.cli.options import Json
from lmtools.cli.output import echo, emit
from lmtools.core.environment import installed_version, machine, versions
from lmtools.core.files import cache_dir
from lmtools.models.builtin import BUILTINS
from lmtools.models.spec import PREFIX


@dataclass(frozen=True)
class Part:
    """A backend or step: the modules it needs, and the line that installs them."""

    name: str
    modules: tuple[str, ...]
    install: str

    def missing(self) -> list[str]:
        """Modules that are not installed; none of them is imported."""
        return [module for module in self.modules if find_spec(module) is None]


PARTS = (
    Part("generation: hf", ("torch", "transformers"), "pip install -e . in the checkout"),
    Part(
        "generation: vllm",
        ("vllm",),
        "pip install -e '.[vllm]' in the checkout, with a GPU; make vllm-env without one",
    ),
    Part("generation: server", ("httpx",), "pip install httpx"),
    Part("retrieval: bm25", ("bm25s", "Stemmer"), "pip install bm25s PyStemmer"),
    Part("retrieval: rank-bm25", ("rank_bm25",), "pip install rank-bm25"),
    Part(
        "retrieval: dense", ("faiss", "sentence_transformers"), "pip install faiss-cpu sentence-transformers"
    ),
    Part("retrieval: http", ("httpx",), "pip install httpx"),
    Part(
        "training",
        ("torch", "transformers", "trl", "peft", "accelerate", "datasets"),
        "pip install -e . in the checkout",
    ),
    Part("GGUF conversion of the built-in model", ("gguf",), "pip install gguf"),
)
OPTIONAL = ("generation: vllm",)


def doctor(
    gpu: Annotated[
        bool, typer.Option("--gpu", hidden=True, help="GPUs are always asked for; older scripts name it.")
    ] = False,
    json: Json = False,
) -> None:
    """Say what is installed, which backends work, how fast each precision is, and what is missing."""
    report = examine()
    emit(report, json)
    if not json:
        for line in describe(report):
            echo(line)
    if not report["ok"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Everything doctor knows, ready for JSON."""
    parts = [{"name": part.name, "missing": part.missing(), "install": part.install} for part in PARTS]
    return {
        "ok": not any(part["missing"] for part in parts if part["name"] not in OPTIONAL),
        "versions": versions(),
        "machine": machine(),
        "gpus": _gpus(),
        "precision": _precision(),
        "parts": parts,
        "cache": _cache(),
        "builtin_models": {name: builtin.present for name, builtin in BUILTINS.items()},
        "notes": _notes(),
    }


def describe(report: dict[str, Any]) -> list[str]:
    """The report as lines for a person."""
    hardware, cache = report["machine"], report["cache"]
    lines = [f"machine   {hardware['cpu']}, {hardware['cores']} cores, {hardware['memory_gb']} GB"]
    gpus = report["gpus"]
    lines.append(f"GPU       {'unknown without torch' if gpus is None else ', '.join(gpus) or 'none'}")
    lines += _precision_lines(report["precision"])
    lines.append(
        f"cache     {cache['path']}: {cache['used_gb']} GB used, {cache['free_gb']} GB free on the disk"
    )
    lines += ["", "versions"] + [f"  {name:<24}{version}" for name, version in report["versions"].items()]
    lines += ["", "what works"]
    for part in report["parts"]:
        missing = f"missing {', '.join(part['missing'])}: {part['install']}" if part["missing"] else "ok"
        lines.append(f"  {part['name']:<40}{missing}")
    lines += ["", "built-in models"]
    for name, present in report["builtin_models"].items():
        lines.append(
            f"  {name:<40}{'ok' if present else as_called(f'absent: lmtools models pull {PREFIX}{name}')}"
        )
    return lines + (["", "notes"] + [f"  {note}" for note in report["notes"]] if report["notes"] else [])


def _cache() -> dict[str, Any]:
    path = cache_dir()
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    used = sum(file.stat().st_size for file in path.rglob("*") if file.is_file() and not file.is_symlink())
    free = shutil.disk_usage(existing).free
    return {"path": str(path), "used_gb": round(used / 1e9, 2), "free_gb": round(free / 1e9, 1)}


def _precision() -> dict[str, Any] | None:
    """GFLOP/s of each precision, measured now, and what `model.dtype: auto` takes; None without torch."""
    if find_spec("torch") is None:
        return None
    from lmtools.models.precision import DTYPES, default_precision, matmul_rates, pick_device

    try:
        device = pick_device("auto")
        rates = {dtype: round(rate, 3) for dtype, rate in matmul_rates(device, DTYPES, fresh=True).items()}
        return {"device": device, "gflops": rates, **asdict(default_precision(device))}
    except Exception as error:  # a torch that cannot be imported raises whatever its libraries do
        return {"error": str(error).splitlines()[0]}


def _precision_lines(precision: dict[str, Any] | None) -> list[str]:
    if precision is None:
        return []
    if "error" in precision:
        return [f"precision not measured: {precision['error']}"]
    rates = ", ".join(f"{dtype} {rate:.3g}" for dtype, rate in precision["gflops"].items())
    return [
        f"GFLOP/s   {rates} ({precision['device']}, a layer of the built-in model)",
        f"precision model.dtype=auto is {precision['dtype']}: {precision['reason']}",
    ]


def _gpus() -> list[str] | None:
    if find_spec("torch") is None:
        return None
    try:
        import torch
    except Exception:  # told by _precision
        return None
    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _notes() -> list[str]:
    """Combinations that are known not to work."""
    notes = []
    if not (3, 11) <= sys.version_info < (3, 14):
        notes.append(f"Python {sys.version.split()[0]} is outside 3.11-3.13, which lmtools is tested on")
    if (installed_version("torch") or "").endswith("+cpu"):
        for package in ("torchvision", "torchaudio", "torchcodec"):
            version = installed_version(package)
            if version is not None and "+" not in version:
                notes.append(
                    f"{package} {version} is a CUDA build beside a CPU torch and breaks transformers: "
                    f"pip uninstall {package}"
                )
    return notes
