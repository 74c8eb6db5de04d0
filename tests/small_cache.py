"""A feature cache made without a model: the hidden state tells how sure the logits ought to be."""

from itertools import pairwise

import numpy as np
import torch

from lmtools.ats.cache import FeatureCache, summarise
from lmtools.ats.recipe import BaseShape

SHAPE = BaseShape(hidden=16, intermediate=32, heads=2, kv_heads=1, head_dim=8, layers=2, vocabulary=50)
OUTPUT = torch.randn(50, 16, generator=torch.Generator().manual_seed(9))


def small_cache(sequences: int = 24, seed: int = 0) -> FeatureCache:
    """Sequences of 4 to 12 rows, half of them wanted; the sign of the first state makes a label right."""
    draw = np.random.default_rng(seed)
    lengths = draw.integers(4, 13, sequences)
    rows = np.concatenate([[0], np.cumsum(lengths)])
    wanted = draw.random(rows[-1]) < 0.5
    wanted[rows[1:] - 1] = True
    hidden = draw.normal(size=(rows[-1], SHAPE.hidden)).astype(np.float16)
    logits = torch.from_numpy(hidden[wanted]).float() @ OUTPUT.T
    random = torch.from_numpy(draw.integers(0, SHAPE.vocabulary, len(logits)))
    labels = torch.where(torch.from_numpy(hidden[wanted, 0]) > 0, logits.argmax(dim=-1), random)
    counts = [wanted[start:end].sum() for start, end in pairwise(rows)]
    fields = {name: value.numpy() for name, value in vars(summarise(logits, labels)).items()}
    known = {"rows": rows, "tokens": np.concatenate([[0], np.cumsum(counts)]), "wanted": wanted}
    return FeatureCache({**known, **fields, "hidden": hidden, "labels": labels.numpy()})
