"""Where the time of `lmtools quickstart` goes, stage by stage, and what it shows for it.

    python benchmarks/quickstart.py                    in an empty cache, so fetching the model counts
    python benchmarks/quickstart.py --dtype float32    also where `auto` would take bfloat16
    python benchmarks/quickstart.py --finished RUN --seconds USER+SYS ...     of a run that is there already

Seconds are processor time, user and system, over all cores, of the process and its children: what the clock
says depends on what else the machine does. `quickstart` is all of it, from the first line to the last;
`between stages` is what belongs to none: start, imports, the model's download and conversion, timing
batches, pages. What the run measured stands beside it, with every comparison of its main rows. Writes
benchmarks/results/quickstart.json, and ends with 1 where the bar is missed.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lmtools.core.manifest import read_manifest
from lmtools.core.results import Difference, Results, Row, read_results
from lmtools.core.statistics import Interval

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "quickstart.json"
BAR = 22 * 60
"""Seconds of processor time: the most that it may take."""
PARTS = {"leret": ".", "ats": "ats", "calibration": "ats-eval", "hyre": "hyre", "personas": "hyre-eval"}
"""Name -> the folder of each run in that of the quickstart."""
GAINS = (
    ("leret", "SFT + preference", ("recall@hop2",)),
    ("calibration", "transformer", ("atlas/ece", "atlas-short/ece")),
    ("personas", "hyre/pca @5", ("accuracy",)),
)
"""Part, row and metrics of what is told; every comparison with that row is kept."""


def exact(value: float) -> Interval:
    """A figure that is measured once."""
    return Interval(value, value, value, 1)


def run_quickstart(dtype: str | None, folder: Path) -> tuple[float, float]:
    """Run it in an empty folder with an empty cache; (processor seconds, seconds on the clock)."""
    environment = os.environ | {"LMTOOLS_CACHE": str(folder / "cache")}
    if dtype is not None:
        environment["LMTOOLS_DTYPE"] = dtype
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([sys.executable, "-m", "lmtools", "quickstart"], cwd=folder, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return used, time.monotonic() - start


def stages(run: Path) -> list[Row]:
    """Seconds of every stage, processor time and clock, in the order in which they ran."""
    rows = []
    for part, folder in PARTS.items():
        manifest = read_manifest(run / folder / "manifest.json")
        rows += [
            Row(
                f"{part}: {stage}",
                {"processor-seconds": exact(seconds), "seconds": exact(manifest.stages[stage])},
            )
            for stage, seconds in manifest.processor.items()
        ]
    return rows


def gains(run: Path) -> tuple[list[Row], list[Difference]]:
    """What the run measured of the rows that are told, and how they differ from all baselines."""
    rows, differences = [], []
    for part, name, metrics in GAINS:
        results = read_results(run / PARTS[part] / "metrics.json")
        for row in results.rows:
            kept = {metric: row.metrics[metric] for metric in metrics if metric in row.metrics}
            if kept and (part != "personas" or row.name.endswith(("@5", "@0")) or "@" not in row.name):
                rows.append(Row(f"{part}: {row.name}", kept))
        differences += [one for one in results.differences if one.a == name and one.metric in metrics]
    return rows, differences


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--finished", type=Path, help="the directory of a finished quickstart")
    parser.add_argument("--seconds", type=float, help="its processor time, as `time -v` told it")
    parser.add_argument("--clock", type=float, help="its time on the clock, in seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = options.finished or Path(folder) / "runs" / "leret-quickstart"
        if options.finished is None:
            used, clock = run_quickstart(options.dtype, Path(folder))
        else:
            used, clock = options.seconds, options.clock
        parts = stages(run)
        measured, differences = gains(run)
        results = read_results(run / "metrics.json")
    between = used - sum(row.metrics["processor-seconds"].value for row in parts)
    whole = Row("quickstart", {"processor-seconds": exact(used), "seconds": exact(clock)})
    rows = [whole, *parts, Row("between stages", {"processor-seconds": exact(between)}), *measured]
    command = f"python benchmarks/quickstart.py{f' --dtype {options.dtype}' if options.dtype else ''}"
    Results(
        "benchmarks/quickstart", command, results.seed, results.versions, results.machine, tuple(rows),
        tuple(differences),
    ).write(RESULTS)  # fmt: skip
    for row in (whole, *parts, rows[len(parts) + 1]):
        print(f"{row.name:<44}{row.metrics['processor-seconds'].value:8.1f} s of processor time")
    print(f"{used / 60:.1f} minutes of processor time, {BAR / 60:.0f} allowed; {clock / 60:.1f} on the clock")
    return used > BAR


if __name__ == "__main__":
    sys.exit(main())
