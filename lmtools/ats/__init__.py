"""ATS: a small head that predicts a temperature for every token, so that probabilities mean what they say.

from lmtools.ats import load_calibrated, run_fit
run_fit("ats/quickstart", "runs/mine", ["model.name=my-model"])
loaded = load_calibrated("runs/mine")      # a transformers model and its tokenizer
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmtools.ats.api import load_calibrated, open_calibrated_run, run_evaluation, run_fit
    from lmtools.ats.cache import Summary, summarise
    from lmtools.ats.heads import build_head
    from lmtools.ats.losses import cross_entropy, full_smoothing, selective_smoothing
    from lmtools.ats.recipe import BaseShape, HeadConfig
    from lmtools.generation.protocol import Sampling
    from lmtools.metrics.calibration import auroc, brier, ece
else:
    from lmtools.core.exports import exports

    __getattr__, __dir__ = exports(
        __name__,
        {
            "lmtools.ats.api": ["load_calibrated", "open_calibrated_run", "run_evaluation", "run_fit"],
            "lmtools.ats.recipe": ["BaseShape", "HeadConfig"],
            "lmtools.ats.heads": ["build_head"],
            "lmtools.ats.losses": ["cross_entropy", "full_smoothing", "selective_smoothing"],
            "lmtools.ats.cache": ["Summary", "summarise"],
            "lmtools.generation.protocol": ["Sampling"],
            "lmtools.metrics.calibration": ["auroc", "brier", "ece"],
        },
    )

__all__ = [
    "BaseShape", "HeadConfig", "Sampling", "Summary",
    "auroc", "brier", "build_head", "cross_entropy", "ece", "full_smoothing", "load_calibrated",
    "open_calibrated_run", "run_evaluation", "run_fit", "selective_smoothing", "summarise",
]  # fmt: skip
