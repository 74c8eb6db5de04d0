"""The preference loss in which LeReT differs from TRL."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def ipo_loss(delta: "Tensor", beta: float) -> "Tensor":
    """Identity preference optimisation (Azar et al. 2023, eq. 17) on *summed* log-probabilities, as in LeReT.

    ``(delta - 1 / (2 beta))^2`` with
    ``delta = [log pi(y_w|x) - log ref(y_w|x)] - [log pi(y_l|x) - log ref(y_l|x)]``.

    TRL's ``ipo`` divides each log-ratio by its completion's length first, so that beta does not carry over.

    Args:
        delta: (pairs,) in nats.
        beta: regularisation, > 0; the target margin is ``1 / (2 beta)`` nats.

    Returns:
        (pairs,) losses.
    """
    return (delta - 1 / (2 * beta)) ** 2
