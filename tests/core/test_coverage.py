"""How often 95 % intervals hold the truth: exactly for shares, by simulation for all else.

The wide grid, of which this is a part: ``benchmarks/coverage.py``.
"""

import numpy as np
import pytest
from populations import POPULATIONS, coverage
from scipy.stats import binom

from lmtools.core.intervals import exact_share

NUMBERS = (5, 10, 20, 50, 100, 500)
LEAST = 0.93
SAMPLES, RESAMPLES = 300, 300


@pytest.mark.parametrize("n", NUMBERS)
def test_shares_are_held_at_every_rate(n):
    intervals = [exact_share(right, n) for right in range(n + 1)]
    low, high = (np.array([getattr(i, end) for i in intervals]) for end in ("low", "high"))
    for rate in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99):
        held = (low <= rate) & (rate <= high)
        assert binom.pmf(np.arange(n + 1), n, rate)[held].sum() >= 0.95


@pytest.mark.parametrize("n", [5, 20, 100])
@pytest.mark.parametrize("make", POPULATIONS[1:], ids=lambda make: make.__name__)
def test_simulated_samples_hold_the_truth(make, n):
    for rate in (0.5, 0.9, 0.99):
        held, _ = coverage(make(rate), n, SAMPLES, RESAMPLES, seed=n)
        assert held / SAMPLES >= LEAST, rate


@pytest.mark.slow
@pytest.mark.parametrize("n", NUMBERS)
@pytest.mark.parametrize("make", POPULATIONS[1:], ids=lambda make: make.__name__)
def test_the_wide_grid_holds_the_truth(make, n):
    for rate in (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
        held, _ = coverage(make(rate), n, 1000, 1000, seed=1)
        assert held / 1000 >= LEAST, rate
