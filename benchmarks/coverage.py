"""How often 95 % intervals hold the truth, by simulation: shares, scores and differences, clustered or not.

    python benchmarks/coverage.py

Populations with a known mean (``tests/populations.py``) are sampled ``--samples`` times at each number of
questions and each rate. ``coverage`` is the share of intervals that hold the mean, with the exact interval of
that share; ``width`` the mean width of the intervals; ``lowest`` the least coverage over all rates. The
metrics of calibration follow, where the truth is what 200,000 answers give. Writes
benchmarks/results/coverage.json and ends with 1 where a mean of shares or scores is held less often than
93 %. An hour on one core; ``--samples 300`` takes minutes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from figures import once

from lmtools.core.environment import machine, versions
from lmtools.core.intervals import exact_share
from lmtools.core.results import Results, Row
from lmtools.metrics.calibration_intervals import measure

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from populations import POPULATIONS, coverage

RESULTS = Path(__file__).parent / "results" / "coverage.json"
NUMBERS = (5, 10, 20, 50, 100, 500)
RATES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
LEAST = 0.93
CALIBRATION = ("ece", "brier", "nll", "auroc", "selective@80")


def means(samples: int, resamples: int) -> Iterator[Row]:
    """A row for each population and number of questions: every rate, and the lowest of all."""
    for make in POPULATIONS:
        for n in NUMBERS:
            metrics, lowest = {}, 1.0
            for rate in RATES:
                population = make(rate)
                held, width = coverage(population, n, samples, resamples, seed=1)
                metrics[f"coverage at {rate}"] = exact_share(held, samples)
                metrics[f"width at {rate}"] = once(width, samples)
                lowest = min(lowest, held / samples)
            row = Row(f"{population.name} @{n}", {"lowest": once(lowest, samples * len(RATES)), **metrics})
            print(f"{row.name}: {lowest:.3f}", file=sys.stderr, flush=True)
            yield row


def answers(rng: np.random.Generator, n: int, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Confidences and whether the answers are right; of power 1 calibrated, above that too sure."""
    confidence = rng.beta(2, 1, n)
    return confidence, rng.random(n) < confidence**power


def calibration(samples: int, resamples: int) -> Iterator[Row]:
    """The metrics of calibrated answers and of answers that are too sure."""
    for name, power in (("calibrated", 1.0), ("too sure", 2.0)):
        whole = measure(*answers(np.random.default_rng(0), 200_000, power), resamples=2)
        for n in NUMBERS:
            held = dict.fromkeys(CALIBRATION, 0)
            defined = dict.fromkeys(CALIBRATION, 0)
            for seed in range(samples):
                intervals = measure(
                    *answers(np.random.default_rng([seed, n]), n, power), resamples=resamples, seed=seed
                )
                for metric in CALIBRATION:
                    if metric in intervals:
                        interval, truth = intervals[metric], whole[metric].value
                        # A calibrated population's error is 0, and nearly so in a sample of it.
                        truth = 0.0 if metric == "ece" and power == 1 else truth
                        defined[metric] += 1
                        held[metric] += interval.low <= truth <= interval.high
            row = Row(f"{name} @{n}", {m: exact_share(held[m], defined[m]) for m in CALIBRATION})
            print(
                {m: round(i.value, 3) for m, i in row.metrics.items()}, row.name, file=sys.stderr, flush=True
            )
            yield row


def main(arguments: Sequence[str]) -> int:
    """Simulate, write the file, and judge the lowest coverage of a mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args(arguments)
    of_means = list(means(given.samples, given.resamples))
    rows = (*of_means, *calibration(given.samples // 2, given.resamples))
    command = " ".join(["python benchmarks/coverage.py", *arguments])
    Results("benchmarks/coverage", command, 1, versions(), machine(), rows).write(RESULTS)
    return int(min(row.metrics["lowest"].value for row in of_means) < LEAST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
