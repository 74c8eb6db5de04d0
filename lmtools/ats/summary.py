"""What the losses need to know of a token's logits, in 623 numbers instead of a vocabulary.

With gaps g_i = max(z) - z_i and one unknown multiplier s for all of a token's logits,

    log p_i(s) = -s g_i - log Z(s),        log Z(s) = log sum_i exp(-s g_i).

Only log Z depends on more than a few numbers. The gaps are put in bins whose width grows with the gap, and of
each bin its count n, mean m and variance v are kept:

    log Z(s) ~ log sum_b n_b exp(-s m_b + s^2 v_b / 2).

Inside a bin of width w the first term left out is below 0.016 (s w)^3. Bins are about ``RATIO`` of their gap
wide, so that what they miss, times the share of Z that they can hold, stays below ``ERROR`` for every
multiplier in ``MULTIPLIERS``, whatever the logits.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lmtools.core.errors import ModelError

ERROR = 1e-3
"""Nats by which log Z may be off inside that range."""
WIDTH = 0.036
"""Width of the bins near the top: at the largest multiplier still 0.36."""
EVEN = 28
"""How many bins have that width; each one after them is ``RATIO`` times its lower edge wide."""
RATIO = 1 / EVEN
FARTHEST = 500.0
"""Beyond this gap a token has no weight at any multiplier of the range; the last bin takes all of them."""
BINS = EVEN + math.ceil(math.log(FARTHEST / (EVEN * WIDTH)) / math.log1p(RATIO)) + 1
TOP = (4, 16, 64)
"""The sizes k for which the mean gap of the k most probable tokens is kept, for top-k smoothing."""


@dataclass(frozen=True)
class Summary:
    """Summaries of n tokens' logits; every field is float32 unless stated, on one device.

    ``label`` (n,): the gap of the right token. ``mean`` (n,): of all tokens. ``top`` (n, len(TOP)): of the k
    most probable. ``log_count``, ``centre``, ``variance`` (n, bins): log n_b (-inf where empty), m_b and v_b.

    >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
    >>> summary = summarise(logits, torch.tensor([0]))
    >>> half = torch.tensor([0.5])  # log Z of the halved logits, less their largest
    >>> bool(abs(summary.log_partition(half) - (logits / 2 - 1).logsumexp(dim=-1)) < 1e-3)
    True
    """

    label: Tensor
    mean: Tensor
    top: Tensor
    log_count: Tensor
    centre: Tensor
    variance: Tensor

    @property
    def right(self) -> Tensor:
        """Whether the most probable token is the right one: (n,), bool."""
        return self.label == 0

    def log_partition(self, multiplier: Tensor) -> Tensor:
        """log Z(s) of one multiplier a token, (n,): also the negative log of the highest probability."""
        s = multiplier[..., None]
        return torch.logsumexp(self.log_count - s * self.centre + s * s * self.variance / 2, dim=-1)

    def __getitem__(self, index: object) -> "Summary":
        """The summaries of some of the tokens."""
        return Summary(**{name: value[index] for name, value in vars(self).items()})


def bin_of(gaps: Tensor) -> Tensor:
    """The bin of every gap, int64, of the same shape: even near the top, then each ``RATIO`` wider."""
    even = gaps / WIDTH
    growing = EVEN + (even.clamp(min=EVEN) / EVEN).log() / math.log1p(RATIO)
    return torch.where(even < EVEN, even, growing).long().clamp(max=BINS - 1)


def summarise(logits: Tensor, labels: Tensor) -> Summary:
    """Summarise rows of logits.

    Args:
        logits: (n, vocabulary), any float type.
        labels: (n,), the right token of each row.

    Raises:
        ModelError: a logit is NaN or infinite.

    >>> summarise(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1])).label  # the right token's gap
    tensor([1.])
    """
    z = logits.float()
    if not torch.isfinite(z).all():
        raise ModelError(
            "the model's logits hold NaN or infinity",
            fix="load it at float32, and check that its weights are whole",
        )
    gaps = z.amax(dim=-1, keepdim=True) - z
    bins = bin_of(gaps)
    empty = z.new_zeros(len(z), BINS)
    count = empty.scatter_add(1, bins, torch.ones_like(gaps))
    members = count.clamp(min=1)
    # Twice around a mean: float32 sums of thousands of large gaps lose what the exponent then magnifies.
    rough = empty.scatter_add(1, bins, gaps) / members
    away = gaps - rough.gather(1, bins)
    rest = empty.scatter_add(1, bins, away) / members
    centre = rough + rest
    variance = (empty.scatter_add(1, bins, away**2) / members - rest**2).clamp(min=0)
    variance[:, -1] = 0  # the last bin has no width to speak of
    top = gaps.topk(min(max(TOP), z.shape[1]), dim=-1, largest=False).values
    return Summary(
        label=gaps.gather(1, labels[:, None])[:, 0],
        mean=gaps.mean(dim=-1),
        top=torch.stack([top[:, :k].mean(dim=-1) for k in TOP], dim=-1),
        log_count=count.log(),
        centre=centre,
        variance=variance,
    )
