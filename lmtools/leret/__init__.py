"""LeReT: learn to write search queries by trying them (Hsu et al., arXiv 2410.23214).

from lmtools.leret import load_searcher, run_training
run_training("leret/quickstart", "runs/mine", ["data.train=questions.jsonl"])
load_searcher("runs/mine").search("Where was the author of Emma born?")
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmtools.data.records import Passage, Question
    from lmtools.leret.api import load_searcher, run_evaluation, run_exploration, run_training
    from lmtools.leret.context import Context
    from lmtools.leret.explore import outcome_weights
    from lmtools.leret.pairs import Tried, best_query, preference_pairs
    from lmtools.leret.rewards import title_reward
    from lmtools.leret.search import HopFound, Searcher
    from lmtools.leret.trainer import ipo_loss
    from lmtools.metrics.retrieval import average_precision, ndcg, recall
    from lmtools.retrieval.protocol import Hit
else:
    from lmtools.core.exports import exports

    __getattr__, __dir__ = exports(
        __name__,
        {
            "lmtools.data.records": ["Passage", "Question"],
            "lmtools.leret.context": ["Context"],
            "lmtools.leret.api": [
                "load_searcher", "run_evaluation", "run_exploration", "run_training",
            ],
            "lmtools.leret.trainer": ["ipo_loss"],
            "lmtools.leret.explore": ["outcome_weights"],
            "lmtools.leret.pairs": ["Tried", "best_query", "preference_pairs"],
            "lmtools.leret.rewards": ["title_reward"],
            "lmtools.leret.search": ["HopFound", "Searcher"],
            "lmtools.metrics.retrieval": ["average_precision", "ndcg", "recall"],
            "lmtools.retrieval.protocol": ["Hit"],
        },
    )  # fmt: skip

__all__ = [
    "Context", "Hit", "HopFound", "Passage", "Question", "Searcher", "Tried",
    "average_precision", "best_query", "ipo_loss", "load_searcher", "ndcg", "outcome_weights",
    "preference_pairs", "recall", "run_evaluation", "run_exploration", "run_training", "title_reward",
]  # fmt: skip
