"""Small preference data and ensembles for the tests of HyRe: features of eight numbers, no language model."""

import numpy as np

from lmtools.hyre.adapt import Margins, head_prior, posterior
from lmtools.hyre.ensemble import Ensemble, EnsembleInfo
from lmtools.hyre.recipe import SourceSettings
from lmtools.hyre.reweighting import Floats
from lmtools.hyre.settings import AdaptSettings, TrainSettings
from lmtools.hyre.train import TrainingData, make_ensemble

WIDTH = 8
FAST = TrainSettings(epochs=3, batch=16, hidden=16, index_dim=4)


def preferences(count: int = 60, seed: int = 0, wish: int = 0, width: int = WIDTH) -> TrainingData:
    """Pairs of a user who likes feature ``wish``, on features of unequal sizes; one of four is noise."""
    rng = np.random.default_rng(seed)
    size = np.linspace(0.5, 3.0, width)
    both = (rng.normal(size=(2, count, width)) * size + np.arange(width)).astype(np.float32)
    better = both[0, :, wish] > both[1, :, wish]
    better ^= rng.random(count) < 0.25
    chosen, rejected = (np.where(better[:, None], both[a], both[1 - a]) for a in (0, 1))
    return TrainingData(chosen, rejected, groups=np.arange(count) % 3)


def preference_ensemble(
    *sources: str, count: int = 6, seed: int = 0, data: TrainingData | None = None, **more: object
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


def adapted(margins: object, train_loss: Floats, settings: AdaptSettings) -> tuple[Floats, Floats]:
    """The posterior of labelled pairs with these margins (n, K), and the heads' losses over them."""
    labelled = Margins(np.asarray(margins, dtype=np.float64))
    return posterior(labelled, head_prior(train_loss, settings), settings)
