"""The preference loss in which LeReT differs from TRL, and log-probabilities that spare a processor."""

from typing import TYPE_CHECKING, Any

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

    >>> import torch
    >>> ipo_loss(torch.tensor([5.0, 0.0]), beta=0.1)
    tensor([ 0., 25.])
    """
    return (delta - 1 / (2 * beta)) ** 2


def completion_log_probs(
    model: Any, input_ids: "Tensor", attention_mask: "Tensor", labels: "Tensor"
) -> "Tensor":
    """Log-probabilities of the labelled tokens; only positions from the first label on meet the vocabulary.

    TRL scores every position where it has no Triton kernel, so on a processor: a third of a training step.

    Args:
        model: a causal language model; its forward is called as it is, so wrappers of it see the call.
        input_ids, attention_mask: (batch, length), padded on the right.
        labels: (batch, length), -100 where a token is not scored.

    Returns:
        (batch, positions) in nats, 0 where there is no label.
    """
    labelled = (labels != -100).any(dim=0).nonzero()
    keep = labels.size(1) - int(labelled[0]) + 1 if len(labelled) else 2
    logits = model(
        input_ids=input_ids, attention_mask=attention_mask, use_cache=False, logits_to_keep=keep
    ).logits
    targets = labels[:, 1 - keep :]
    scored = targets != -100
    chosen = logits[:, :-1].float().log_softmax(dim=-1).gather(-1, targets.clamp(min=0).unsqueeze(-1))
    values: Tensor = chosen.squeeze(-1).masked_fill(~scored, 0.0)
    return values
