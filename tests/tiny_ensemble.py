"""Small preference data and ensembles for the tests of HyRe: features of eight numbers, no language model."""

import numpy as np

from lmtools.hyre.ensemble import Ensemble, EnsembleInfo
from lmtools.hyre.recipe import SourceSettings, TrainSettings
from lmtools.hyre.train import Training, make_ensemble

WIDTH = 8
FAST = TrainSettings(epochs=3, batch=16, hidden=16, index_dim=4)


def preferences(count: int = 60, seed: int = 0, wish: int = 0, width: int = WIDTH) -> Training:
    """Pairs of a user who likes feature ``wish``, on features of unequal sizes; one of four is noise."""
    rng = np.random.default_rng(seed)
    size = np.linspace(0.5, 3.0, width)
    both = (rng.normal(size=(2, count, width)) * size + np.arange(width)).astype(np.float32)
    better = both[0, :, wish] > both[1, :, wish]
    better ^= rng.random(count) < 0.25
    chosen, rejected = (np.where(better[:, None], both[a], both[1 - a]) for a in (0, 1))
    return Training(chosen, rejected, groups=np.arange(count) % 3)


def preference_ensemble(
    *sources: str, count: int = 6, seed: int = 0, data: Training | None = None, **more: object
) -> Ensemble:
    """An ensemble of ``count`` heads of each source on ``data``."""
    return make_ensemble(
        [SourceSettings(source=source, count=count) for source in sources or ("pca",)],
        data or preferences(),
        EnsembleInfo(task="preference", groups=()),
        FAST,
        seed,
        **more,
    )
