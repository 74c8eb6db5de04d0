"""A run of every kind of method on a tiny model, as if it had been fitted, in the layout of a run."""

from pathlib import Path

import torch
from tiny_heads import fitted

from lmtools.ats.artefact import BaseInfo, Baselines, save_baselines, save_head
from lmtools.ats.baselines import Line, Logistic, Steps, VectorScaling
from lmtools.ats.recipe import base_shape

KINDS = ("transformer", "linear", "mlp", "scalar")
NAMES = (
    "uncalibrated",
    "scalar (selective smoothing)",
    "scalar (NLL)",
    "vector scaling",
    "Platt",
    "histogram binning",
    "scaling-binning",
    "isotonic",
    "transformer",
    "mlp",
    "linear",
)


def some_baselines(vocabulary: int) -> Baselines:
    random = torch.Generator().manual_seed(5)
    vector = VectorScaling(
        1 + 0.3 * torch.randn(vocabulary, generator=random), torch.randn(vocabulary, generator=random)
    )
    maps = {
        "Platt": Logistic(slope=0.5, intercept=-0.25),
        "histogram binning": Steps(edges=(0.5,), values=(0.25, 0.75)),
        "scaling-binning": Steps(edges=(0.2, 0.6), values=(0.1, 0.3, 0.8)),
        "isotonic": Line(x=(0.0, 1.0), y=(0.2, 0.6)),
    }
    return Baselines({"scalar (NLL)": -0.125}, maps, vector)


def write_run(directory: Path, loaded) -> Path:
    """``head/``, ``heads/KIND/`` and the baselines, for a loaded model; random, but the same each time."""
    shape = base_shape(loaded.model.config)
    base = BaseInfo.of("tiny", loaded.identity)
    for seed, kind in enumerate(KINDS):
        place = directory / "head" if kind == "transformer" else directory / "heads" / kind
        save_head(fitted(shape, seed, kind=kind), place, base, {"name": "selective_smoothing", "alpha": 0.5})
    save_baselines(some_baselines(shape.vocabulary), directory)
    return directory
