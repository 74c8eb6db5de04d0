"""What each precision is worth on this machine, against float32: products, reading, writing and training.

    python benchmarks/precision.py
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/precision.py     without bfloat16

Products are those that `model.dtype: auto` decides by; the others are batches of the built-in model like
those that `lmtools quickstart` times before it begins, but of 24 tokens. Each `ratio` is the speed over that
of float32 in the same round, the precisions one after the other; value, low and high are the median, the
smallest and the largest. Where 16 bits are emulated a round takes a minute. Writes
benchmarks/results/precision.json.
"""

import argparse
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is loaded, as the command line has it

from figures import spread

from lmtools.core.environment import machine, versions
from lmtools.core.results import Results, Row
from lmtools.generation.pace import measure_pace
from lmtools.models.precision import DTYPES, MASKS, default_precision, measure_matmul, pick_device
from lmtools.models.spec import Dtype, ModelSpec

RESULTS = Path(__file__).parent / "results" / "precision.json"
UNITS = {"product": "gflops", "read": "tokens-per-second", "written": "tokens-per-second",
         "trained": "tokens-per-second"}  # fmt: skip


def speeds(dtype: Dtype, device: str) -> dict[str, float]:
    """One round: GFLOP/s of the product, and tokens a second of the built-in model."""
    pace = measure_pace(ModelSpec(dtype=dtype, device=device), rows=1, length=24)
    assert pace is not None
    return {"product": measure_matmul(dtype, device), **asdict(pace)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    device = pick_device(options.device)
    measured: dict[Dtype, list[dict[str, float]]] = {dtype: [] for dtype in DTYPES}
    for _ in range(options.rounds):
        for dtype in DTYPES:
            measured[dtype].append(speeds(dtype, device))
    rows = []
    for dtype, rounds in measured.items():
        for kind, unit in UNITS.items():
            rates = [speed[kind] for speed in rounds]
            ratios = [rate / speed[kind] for rate, speed in zip(rates, measured["float32"], strict=True)]
            rows.append(Row(f"{dtype}/{kind}", {unit: spread(rates), "ratio": spread(ratios)}))
    choice = default_precision(device)
    masks = {name: os.environ[name] for name in MASKS if name in os.environ}
    setting = machine() | {"device": device, "auto": f"{choice.dtype}: {choice.reason}", "masked": masks}
    command = shlex.join(["python", "benchmarks/precision.py", *sys.argv[1:]])
    Results("benchmarks/precision", command, 0, versions(), setting, tuple(rows)).write(RESULTS)
    for row in rows:
        rate, ratio = row.metrics.values()
        comparison = f"{ratio.value:6.3f} of float32 [{ratio.low:.3f}, {ratio.high:.3f}]"
        print(f"{row.name:<20}{rate.value:10.1f}   {comparison}")
    print(f"model.dtype=auto is {choice.dtype}: {choice.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
