"""How long a command line takes to answer: `lmtools --help` and `import lmtools` beside trl's and lm_eval's.

    python -m venv harness && harness/bin/pip install lm_eval==0.4.13 torch
    python benchmarks/startup.py --harness harness/bin/python

Every measurement is a process of its own, from its start to its end. The rounds alternate between all of
them, after one round that only warms the disk's cache and writes the byte code; seconds are the median over
rounds, low and high the fastest and the slowest round. What a bare interpreter takes stands beside them, and
`import lmtools` is what it takes more than that, in the same round. trl is the one of this environment.
Writes benchmarks/results/startup.json, and ends with 1 where a bar is missed.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from figures import harness_version, once, spread

from lmtools.core.environment import machine, versions
from lmtools.core.results import Results, Row

RESULTS = Path(__file__).parent / "results" / "startup.json"
HELP_BAR, IMPORT_BAR = 0.3, 0.05
"""Seconds: the most that the median may be."""


def commands(harness: str) -> dict[str, list[str]]:
    """What is measured, by name; commands are the scripts that pip makes, beside each interpreter."""
    scripts, harness_scripts = (Path(python).parent for python in (sys.executable, harness))
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import lmtools": [sys.executable, "-c", "import lmtools"],
        "lmtools --help": [str(scripts / "lmtools"), "--help"],
        "trl --help": [str(scripts / "trl"), "--help"],
        "lm_eval --help": [str(harness_scripts / "lm_eval"), "--help"],
    }


def seconds(command: Sequence[str]) -> float:
    """From start to end of one process."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}  # neither is to wait for a network
    start = time.perf_counter()
    process = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    taken = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{process.stderr[-2000:]}")
    return taken


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round, after one that does not count."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, command in commands.items():
            value = seconds(command)
            if number:
                taken[name].append(value)
    bare = taken["python -c pass"]
    taken["import lmtools"] = [
        max(0.0, value - nothing) for value, nothing in zip(taken["import lmtools"], bare, strict=True)
    ]
    return taken


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--harness", required=True, help="a Python that has lm_eval")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    taken = measure(commands(options.harness), options.rounds)
    rows = [Row(name, {"seconds": spread(values)}) for name, values in taken.items()]
    load = max(load, os.getloadavg()[0])
    rows.append(Row("setting", {"load": once(load)}))
    packages = versions() | {"lm_eval": harness_version(options.harness)}
    command = f"python benchmarks/startup.py --rounds {options.rounds}"
    Results("benchmarks/startup", command, 0, packages, machine(), tuple(rows)).write(RESULTS)
    for name, values in taken.items():
        took = spread(values)
        print(f"{name:<16} {took.value:7.3f} s   [{took.low:.3f}, {took.high:.3f}]   n = {took.n}")
    print(f"load of the machine: {load:.1f} on {machine()['cores']} cores")
    late = [
        f"{name} took {statistics.median(taken[name]):.3f} s, not under {bar}"
        for name, bar in (("lmtools --help", HELP_BAR), ("import lmtools", IMPORT_BAR))
        if statistics.median(taken[name]) >= bar
    ]
    print("\n".join(late) or "both bars are kept")
    return bool(late)


if __name__ == "__main__":
    sys.exit(main())
