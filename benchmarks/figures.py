"""Figures that the benchmarks write down without a bootstrap: one measurement, or the spread over rounds."""

import statistics
import subprocess
from collections.abc import Sequence

from lmtools.core.results import Interval


def once(value: float, n: int = 1) -> Interval:
    """A figure that has no spread: measured once, or a statistic of ``n`` values."""
    return Interval(value, value, value, n, "none", n)


def spread(values: Sequence[float]) -> Interval:
    """The median of rounds, from the smallest to the largest."""
    middle, rounds = statistics.median(values), len(values)
    return Interval(middle, min(values), max(values), rounds, "range", rounds)


def harness_version(python: str) -> str:
    """The version of lm_eval that an interpreter has."""
    code = "from importlib.metadata import version; print(version('lm_eval'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
