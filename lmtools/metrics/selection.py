"""How well confidences tell right answers from wrong ones, whatever their level: pure functions.

Arguments and errors as in ``lmtools.metrics.calibration``. Only the order of the confidences matters here;
answers of one confidence are interchangeable, so the order of rows does not.
"""

import numpy as np
from numpy.typing import ArrayLike

from lmtools.metrics.tally import Floats, Metric, Tally, answers, lowest, summed


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Area under the ROC curve: how often a right answer has a higher confidence than a wrong one, ties half.

    None where no answer is right or none is wrong, since there is no pair to compare.

    >>> auroc([0.9, 0.6, 0.3], [True, False, True])
    0.5
    """
    value = float(auroc_each(answers(confidence, correct).tally())[0])
    return None if np.isnan(value) else value


def auroc_each(tally: Tally) -> Floats:
    """The AUROC of every resample, (r,), NaN where it is undefined."""
    wrong = tally.mass - tally.right
    below = np.cumsum(wrong, axis=1) - wrong / 2
    pairs = summed(tally.right) * summed(wrong)
    won = summed(tally.right * below)
    return np.asarray(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))


@Metric
def selective_accuracy(tally: Tally, coverage: float) -> Floats:
    """Accuracy over the share ``coverage``, in (0, 1], of answers with the highest confidence.

    Where the cut falls among answers of one confidence this is the accuracy expected if those kept are drawn
    at random; where it falls within an answer, that answer counts by the part that is kept.

    Raises:
        ValueError: also where ``coverage`` is outside (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must lie in (0, 1], not {coverage}")
    left_out = tally.total[:, None] * (1 - coverage)
    kept = summed(tally.right) - lowest(tally, tally.right, left_out)[:, 0]
    return np.asarray(np.clip(kept / (tally.total * coverage), 0, 1))


def risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Floats]:
    """The risk-coverage curve (El-Yaniv & Wiener 2010) of answering only above a confidence.

    Returns:
        ``coverage`` (g,), the share of answers at or above each distinct confidence, from the highest
        confidence down to all answers (1.0), and ``risk`` (g,), the share of wrong ones among these.
    """
    tally = answers(confidence, correct).tally()
    kept = np.cumsum(tally.mass[0, ::-1])
    wrong = np.cumsum((tally.mass - tally.right)[0, ::-1])
    return kept / kept[-1], wrong / kept
