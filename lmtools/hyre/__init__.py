"""HyRe: one ensemble of reward heads, reweighted to each user by a few labelled examples (arXiv 2412.08812).

from lmtools.hyre import Preference, load_reward
reward = load_reward("runs/hyre-train")
personal = reward.adapt([Preference(prompt="Name a river.", chosen="Seine", rejected="The Seine.")])
personal.score("Name a lake.", ["Como", "That would be Lake Como."])
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmtools.data.records import Preference
    from lmtools.hyre.api import evaluate_reward, load_reward, run_evaluation, run_training
    from lmtools.hyre.ensemble import Ensemble, load_ensemble
    from lmtools.hyre.reward import Rewarder
    from lmtools.hyre.reweighting import blend, pair_losses, reweight, scores
    from lmtools.metrics.preference import effective_heads
else:
    from lmtools.core.exports import exports

    __getattr__, __dir__ = exports(
        __name__,
        {
            "lmtools.data.records": ["Preference"],
            "lmtools.hyre.api": [
                "evaluate_reward", "load_reward", "run_evaluation", "run_training",
            ],
            "lmtools.hyre.ensemble": ["Ensemble", "load_ensemble"],
            "lmtools.hyre.reward": ["Rewarder"],
            "lmtools.hyre.reweighting": ["blend", "pair_losses", "reweight", "scores"],
            "lmtools.metrics.preference": ["effective_heads"],
        },
    )  # fmt: skip

__all__ = [
    "Ensemble", "Preference", "Rewarder",
    "blend", "effective_heads", "evaluate_reward", "load_ensemble", "load_reward", "pair_losses", "reweight",
    "run_evaluation", "run_training", "scores",
]  # fmt: skip
