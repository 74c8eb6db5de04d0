"""Where the time of `lmtools quickstart` goes, stage by stage, and what it shows for it.

    python benchmarks/quickstart.py                    in an empty cache, so fetching the model counts
    python benchmarks/quickstart.py --dtype float32    also where `auto` would take bfloat16
    python benchmarks/quickstart.py --out DIR          keep the run there
    python benchmarks/quickstart.py --before DIR       beside an earlier version's *-quickstart.json in DIR

Seconds are processor time, user and system, over all cores, of the process and its children: what the clock
says depends on what else the machine does. `quickstart` is all of it, from the first line to the last;
`between stages` is what belongs to none: start, imports, the model's download and conversion, timing
batches, pages. What the run measured stands beside it, with every comparison of its main rows. Writes
benchmarks/results/quickstart.json, and ends with 1 where the bar is missed.
"""

import argparse
import os
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from figures import once

from lmtools.core.manifest import read_manifest
from lmtools.core.results import Difference, Results, Row, read_results

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "quickstart.json"
BAR = 22 * 60
"""Seconds of processor time: the most that it may take."""
PARTS = {"leret": ".", "ats": "ats", "calibration": "ats-eval", "hyre": "hyre", "personas": "hyre-eval"}
"""Name -> the folder of each run in that of the quickstart."""
KEPT = {"leret": "leret", "calibration": "ats", "personas": "hyre"}
"""Name -> what its result file in evals/results begins with."""
GAINS = (
    ("leret", "SFT + preference", ("recall@hop2",)),
    ("calibration", "transformer", ("atlas/ece", "atlas-short/ece")),
    ("personas", "hyre/pca @5", ("accuracy",)),
)
"""Part, row and metrics of what is told; every comparison with that row is kept."""


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
                {"processor-seconds": once(seconds), "seconds": once(manifest.stages[stage])},
            )
            for stage, seconds in manifest.processor.items()
        ]
    return rows


def gains(files: Mapping[str, Path], prefix: str = "") -> tuple[list[Row], list[Difference]]:
    """What was measured of the rows that are told, and how they differ from all baselines.

    Args:
        files: part -> its result file.
        prefix: before the names of rows.
    """
    rows, differences = [], []
    for part, main_row, metrics in GAINS:
        results = read_results(files[part])
        for row in results.rows:
            kept = {metric: row.metrics[metric] for metric in metrics if metric in row.metrics}
            if kept and (part != "personas" or row.name.endswith(("@5", "@0")) or "@" not in row.name):
                rows.append(Row(f"{prefix}{part}: {row.name}", kept))
        differences += [
            replace(difference, a=f"{prefix}{part}: {difference.a}", b=f"{prefix}{part}: {difference.b}")
            for difference in results.differences
            if difference.a == main_row and difference.metric in metrics
        ]
    return rows, differences


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--out", type=Path, help="where the run is kept; not without it")
    parser.add_argument("--before", type=Path, help="a folder with result files of an earlier version")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = (options.out or Path(folder)).resolve()
        out.mkdir(parents=True, exist_ok=True)
        used, clock = run_quickstart(options.dtype, out)
        run = out / "runs" / "leret-quickstart"
        parts = stages(run)
        measured, differences = gains({part: run / PARTS[part] / "metrics.json" for part in KEPT})
        results = read_results(run / "metrics.json")
    if options.before is not None:
        files = {part: options.before / f"{name}-quickstart.json" for part, name in KEPT.items()}
        more = gains(files, "before: ")
        measured, differences = measured + more[0], differences + more[1]
    between = used - sum(row.metrics["processor-seconds"].value for row in parts)
    total = Row("quickstart", {"processor-seconds": once(used), "seconds": once(clock)})
    parts.append(Row("between stages", {"processor-seconds": once(between)}))
    command = shlex.join(["python", "benchmarks/quickstart.py", *sys.argv[1:]])
    Results(
        "benchmarks/quickstart", command, results.seed, results.versions, results.machine,
        (total, *parts, *measured), tuple(differences),
    ).write(RESULTS)  # fmt: skip
    for row in (total, *parts):
        print(f"{row.name:<44}{row.metrics['processor-seconds'].value:8.1f} s of processor time")
    print(f"{used / 60:.1f} minutes of processor time, {BAR / 60:.0f} allowed; {clock / 60:.1f} on the clock")
    return used > BAR


if __name__ == "__main__":
    sys.exit(main())
