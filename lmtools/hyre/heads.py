"""Heads as batched modules: standardised features in, the outputs of all K heads out, in one pass.

- ``LinearHeads``: f_k(x) = w_k x; what principal, random and drawn directions are
- ``SharedBase``: f_k(x) = w_k g(x) + s v_k h(x); g is one trunk for all heads (or x itself), h and v_k are
  the frozen randomized priors (Osband et al., 2018), which keep the heads apart where there are no data
- ``Epinet``: f_k(x) = b(x) + e(g(x), z_k) z_k + s e'(x, z_k) z_k for K fixed draws z_k of a normal index; one
  trunk and one small network e serve all heads, e' is its frozen prior (Osband et al., 2023)
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """K functions of the features; ``forward`` maps (n, D) to (n, K, C), with C = 1 but for classes.

    ``fixed`` is what of it needs no training: (n, K, C), computed once for all data, and 0 where there is
    none.
    """

    count: int

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of all heads."""
        return self.learned(x) + self.fixed(x)

    def learned(self, x: Tensor) -> Tensor:
        """The trainable part."""
        raise NotImplementedError

    def fixed(self, x: Tensor) -> Tensor:
        """The frozen part."""
        return x.new_zeros(())


class LinearHeads(Heads):
    """Linear functions without a bias, which no comparison of two answers would show."""

    def __init__(self, weight: Tensor) -> None:
        """``weight``: (K, D)."""
        super().__init__()
        self.count = len(weight)
        self.weight = nn.Parameter(weight.float())

    def learned(self, x: Tensor) -> Tensor:
        """x w_k: (n, K, 1)."""
        return (x @ self.weight.T)[:, :, None]


class SharedBase(Heads):
    """A trunk of one hidden layer (``hidden`` = 0: none), K linear heads on it, a frozen prior for each."""

    def __init__(
        self, width: int, count: int, outputs: int, hidden: int, prior_scale: float, prior_hidden: int = 64
    ) -> None:
        super().__init__()
        self.count, self.outputs, self.prior_scale = count, outputs, prior_scale
        self.hidden, self.prior_hidden = hidden, prior_hidden
        self.trunk = _trunk(width, hidden)
        inner = hidden or width
        self.heads = nn.Linear(inner, count * outputs)
        nn.init.normal_(self.heads.weight, std=1 / math.sqrt(inner))
        nn.init.zeros_(self.heads.bias)
        self.prior_trunk = _frozen(_trunk(width, prior_hidden))
        self.prior = _frozen(nn.Linear(prior_hidden, count * outputs))
        nn.init.normal_(self.prior.weight, std=1 / math.sqrt(prior_hidden))

    def learned(self, x: Tensor) -> Tensor:
        """w_k g(x) + b_k: (n, K, C)."""
        return _per_head(self.heads(self.trunk(x)), self.count)

    def fixed(self, x: Tensor) -> Tensor:
        """s v_k h(x): (n, K, C)."""
        if not self.prior_scale:
            return x.new_zeros(())
        return self.prior_scale * _per_head(self.prior(self.prior_trunk(x)), self.count)


class Epinet(Heads):
    """A base function, and a small network that says how it moves with the index."""

    index: Tensor

    def __init__(
        self, width: int, count: int, outputs: int, hidden: int, prior_scale: float, index_dim: int
    ) -> None:
        super().__init__()
        if not hidden:
            raise ValueError("an epinet needs a trunk: hidden must be above 0")
        self.count, self.outputs, self.prior_scale, self.hidden = count, outputs, prior_scale, hidden
        self.trunk = _trunk(width, hidden)
        self.base = nn.Linear(hidden, outputs)
        self.net = nn.Sequential(nn.Linear(hidden, 32), nn.ReLU(), nn.Linear(32, outputs * index_dim))
        self.prior_net = _frozen(
            nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, outputs * index_dim))
        )
        self.register_buffer("index", torch.randn(count, index_dim))

    def learned(self, x: Tensor) -> Tensor:
        """b(x) + e(g(x)) z_k: (n, K, C); linear in the index, so one pass of the network serves all."""
        inner = self.trunk(x)
        # The trunk learns from the base alone, as the epinet's authors have it.
        base: Tensor = self.base(inner)
        return base[:, None, :] + self._moved(self.net(inner.detach()))

    def fixed(self, x: Tensor) -> Tensor:
        """s e'(x) z_k: (n, K, C)."""
        return self.prior_scale * self._moved(self.prior_net(x))

    def _moved(self, directions: Tensor) -> Tensor:
        return torch.einsum("ncd,kd->nkc", _per_head(directions, self.outputs), self.index)


def _per_head(flat: Tensor, count: int) -> Tensor:
    """(n, count * C) to (n, count, C)."""
    return flat.reshape(len(flat), count, flat.shape[1] // count)


def _trunk(width: int, hidden: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU()) if hidden else nn.Identity()


def _frozen(module: Any) -> Any:
    return module.requires_grad_(False)
