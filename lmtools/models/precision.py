"""Device and precision of a model: the fastest precision that this machine has, unless one is named.

``model.dtype: auto`` is bfloat16 on a GPU that has it natively and float16 on one that does not. On a
processor it is bfloat16 only where that is measured to be faster than float32: with AVX-512 BF16, AMX or
Arm's BF16 it is, by two or three times; without them it is emulated, and up to forty times slower. The
measurement takes milliseconds and is kept in the cache for this processor. ``$LMTOOLS_DTYPE`` goes before it.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from lmtools.core.config import Config
from lmtools.core.environment import cpu_features, cpu_model
from lmtools.core.errors import LmtoolsError, MachineError, ModelError
from lmtools.core.files import cache_dir, sha256_text, write_json
from lmtools.core.progress import say
from lmtools.models.spec import Dtype, ModelSpec

C = TypeVar("C", bound=Config)
DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16", "float16")
VARIABLE = "LMTOOLS_DTYPE"
MASKS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
"""Variables that make torch leave out instructions which the processor has."""
MARGIN = 1.2
"""How many times as fast as float32 bfloat16 must be, to be worth its rounding."""
WIDTH, INNER = 576, 1536
"""The measured product: a feed-forward layer of the built-in model."""
ROWS, GPU_ROWS = 128, 16384
"""Tokens in it."""
SECONDS, SLOW = 0.03, 0.2
"""How long a precision is measured, at least; what takes so long once is not measured again."""
ROUNDS = 2


def pick_device(name: str) -> str:
    """The torch device of a setting: ``auto`` is the first GPU, else the processor.

    Raises:
        ModelError: this machine has no such device.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise ModelError(
            f"model.device: {name!r} is not usable on this machine: {str(error).splitlines()[0]}",
            fix="set model.device=auto or cpu",
        ) from error
    return name


@dataclass(frozen=True)
class Precision:
    """A precision, and in words why it is this machine's choice."""

    dtype: Dtype
    reason: str


def resolve_dtype(spec: ModelSpec) -> ModelSpec:
    """The model at a precision by name; one that is slow on this machine is kept, with a warning.

    Raises:
        ModelError: this machine has no such device.
        LmtoolsError: ``$LMTOOLS_DTYPE`` names no precision.
    """
    if spec.backend == "server":  # which has a precision of its own; what is loaded here is a tokenizer
        return spec.model_copy(update={"dtype": "float32"}) if spec.dtype == "auto" else spec
    if spec.dtype == "auto":
        return spec.model_copy(update={"dtype": default_precision(spec.device).dtype})
    if spec.dtype != "float32":
        _warn_if_emulated(spec.dtype, pick_device(spec.device))
    return spec


def resolve_dtypes(recipe: C) -> C:
    """A recipe whose models all have a precision by name.

    One for a device that is not here stays at `auto`: it can be planned here, and run elsewhere.

    Raises:
        LmtoolsError: ``$LMTOOLS_DTYPE`` names no precision.
    """
    resolved: dict[str, ModelSpec] = {}
    for name, value in recipe:
        if isinstance(value, ModelSpec):
            with suppress(ModelError):
                resolved[name] = resolve_dtype(value)
    return recipe.model_copy(update=resolved) if resolved else recipe


def describe_precision(spec: ModelSpec) -> str:
    """The precision of a model and why it has it, for the manifest and ``--dry-run``.

    ``"float32: bfloat16 is 29 times slower on this processor (1.2 against 34.7 GFLOP/s)"``

    Raises:
        LmtoolsError: ``$LMTOOLS_DTYPE`` names no precision.
    """
    if spec.backend == "server":
        return "the server's own"
    try:
        choice = default_precision(spec.device)
    except ModelError:
        return f"{spec.dtype}: this machine has no {spec.device}"
    if spec.dtype in ("auto", choice.dtype):
        return f"{choice.dtype}: {choice.reason}"
    return f"{spec.dtype}: named; auto is {choice.dtype} here: {choice.reason}"


def describe_precisions(recipe: Config) -> dict[str, str]:
    """``describe_precision`` of every model of a recipe, by the name of its setting; raises as it does."""
    return {name: describe_precision(value) for name, value in recipe if isinstance(value, ModelSpec)}


def default_precision(device: str) -> Precision:
    """What ``auto`` is on a device, as ``ModelSpec.device`` names it; raises as ``resolve_dtype``."""
    named = os.environ.get(VARIABLE)
    if named:
        if named not in DTYPES:
            raise LmtoolsError(f"{VARIABLE}={named} is none of {', '.join(DTYPES)}", fix=f"unset {VARIABLE}")
        return Precision(named, f"{VARIABLE} names it")
    device = pick_device(device)
    return _of_gpu(device) if device.startswith("cuda") else _of_processor(device)


def _of_gpu(device: str) -> Precision:
    import torch

    name = torch.cuda.get_device_name(device)
    # NVIDIA's have it from Ampere on; of AMD's torch takes it as given.
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0):
        return Precision("bfloat16", f"native on {name}")
    return Precision("float16", f"{name} has no bfloat16 of its own")


def _of_processor(device: str) -> Precision:
    rates = matmul_rates(device, ("float32", "bfloat16"))
    single, half = rates["float32"], rates["bfloat16"]
    where = "this processor" if device == "cpu" else device
    if half == 0:
        return Precision("float32", f"{where} has no bfloat16")
    compared = f"{half:.3g} against {single:.3g} GFLOP/s"
    if half >= MARGIN * single:
        return Precision("bfloat16", f"{half / single:.1f} times as fast as float32 on {where} ({compared})")
    slower = f"{single / half:.2g} times slower" if half < single / MARGIN else "no faster"
    return Precision("float32", f"bfloat16 is {slower} on {where} ({compared})")


@cache
def _warn_if_emulated(dtype: Dtype, device: str) -> None:
    """Say once what a 16-bit precision costs where float32 is faster."""
    if device.startswith("cuda"):
        return
    rates = matmul_rates(device, ("float32", dtype))
    if 0 < rates[dtype] < rates["float32"] / MARGIN:
        say(
            f"warning: model.dtype={dtype} halves memory, and computes {rates['float32'] / rates[dtype]:.2g} "
            f"times slower than float32 here ({rates[dtype]:.3g} against {rates['float32']:.3g} GFLOP/s); "
            "model.dtype=auto takes what is fastest"
        )


def matmul_rates(device: str, dtypes: tuple[Dtype, ...], *, fresh: bool = False) -> dict[Dtype, float]:
    """GFLOP/s of each precision: measured once for a processor and a torch, then read from the cache.

    Args:
        device: a torch device.
        dtypes: the precisions.
        fresh: measure all of them anew, and keep that.
    """
    import torch

    masks = tuple(os.environ.get(name) for name in MASKS)
    key = sha256_text(repr((cpu_model(), cpu_features(), device, torch.__version__, masks)))[:16]
    path = cache_dir("precision", f"{key}.json")
    rates = read_rates(path) | _unwritten.get(path, {})
    missing = [dtype for dtype in dtypes if fresh or dtype not in rates]
    if missing:
        # In turns, so that other work on the machine meets them alike.
        rounds = [{dtype: measure_matmul(dtype, device) for dtype in missing} for _ in range(ROUNDS)]
        rates |= {dtype: max(measured[dtype] for measured in rounds) for dtype in missing}
        try:
            write_json(path, {"processor": cpu_model(), "device": device, "gflops": rates})
        except MachineError:  # one choice for this process at least
            _unwritten[path] = rates
    return {dtype: rates[dtype] for dtype in dtypes}


_unwritten: dict[Path, dict[Dtype, float]] = {}
"""Rates that could not be kept in the cache."""


def read_rates(path: Path) -> dict[Dtype, float]:
    """The rates that an earlier process measured; empty where there are none, or the file is damaged."""
    try:
        rates = json.loads(path.read_text(encoding="utf-8"))["gflops"]
        return {dtype: float(rates[dtype]) for dtype in DTYPES if rates.get(dtype, 0) > 0}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def measure_matmul(dtype: Dtype, device: str) -> float:
    """GFLOP/s of a linear layer and of the product of its backward pass; 0 where there is no such precision.

    Emulated forward passes are six times slower than float32, backward passes forty times, so both count.
    """
    import torch

    try:
        kind, rows = getattr(torch, dtype), ROWS if device == "cpu" else GPU_ROWS
        states = torch.ones(rows, WIDTH, dtype=kind, device=device)
        weights = torch.ones(INNER, WIDTH, dtype=kind, device=device)

        def timed() -> float:
            begun = time.perf_counter()
            gradients = torch.nn.functional.linear(states, weights) @ weights
            float(gradients[0, 0])  # waits for a GPU
            return time.perf_counter() - begun

        first = timed()  # sets kernels up, and takes longer
        times = [first] if device == "cpu" and first > SLOW else [timed()]
        while sum(times) < SECONDS:
            times.append(timed())
    except (RuntimeError, TypeError):
        return 0.0
    return 4 * rows * WIDTH * INNER / min(times) / 1e9
