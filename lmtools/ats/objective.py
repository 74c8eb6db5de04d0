"""The loss of a recipe, as a function of summaries and multipliers."""

from dataclasses import dataclass

from torch import Tensor

from lmtools.ats import losses
from lmtools.ats.recipe import LossSettings
from lmtools.ats.summary import Summary


@dataclass(frozen=True)
class Objective:
    """What ``settings`` say is to be made small."""

    settings: LossSettings

    def mean(self, summary: Summary, multiplier: Tensor, masked: int = 0) -> Tensor:
        """The loss of n response tokens: a scalar, nats.

        Args:
            summary: of the tokens.
            multiplier: of each, (n,).
            masked: the tokens beside them, prompts and padding; only the public code's form depends on them.
        """
        return self.each(summary, multiplier, masked).mean()

    def each(self, summary: Summary, multiplier: Tensor, masked: int = 0) -> Tensor:
        """What every token gives to the loss, (n,): their mean is ``mean``."""
        name, alpha, top_k = self.settings.name, self.settings.alpha, self.settings.over
        if name == "cross_entropy":
            return losses.cross_entropy(summary, multiplier)
        if name == "full_smoothing":
            return losses.full_smoothing(summary, multiplier, alpha, top_k)
        if name == "selective_smoothing_code":
            return losses.selective_smoothing_code(summary, multiplier, alpha, masked, top_k)
        return losses.selective_smoothing(summary, multiplier, alpha, top_k)
