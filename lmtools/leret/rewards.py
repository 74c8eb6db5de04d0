"""What a query earns: a function of the cumulative context after its search and of the question."""

from collections.abc import Callable, Sequence

from lmtools.core.errors import DataError
from lmtools.data.records import Question
from lmtools.leret.context import Context
from lmtools.leret.policy import Policy, accepted_answers, show
from lmtools.leret.recipe import HopSettings, RewardName
from lmtools.metrics.answers import exact_match, f1
from lmtools.metrics.retrieval import average_precision, ndcg, recall
from lmtools.retrieval.protocol import Retriever

Reward = Callable[[Sequence[Question], Sequence[Context]], list[float]]
"""(questions, contexts), aligned -> rewards in [0, 1], 1 meaning that nothing is left to find."""

DIGITS = 6
"""Rewards are rounded to this many decimals, so that equal rankings tie exactly."""


def title_reward(name: RewardName) -> Reward:
    """AP, recall or nDCG of the gold titles in the whole cumulative list (LeReT, reward section).

    AP = sum over gold hits i of precision@i, divided by the number of gold titles. nDCG is that of the whole
    list, with a place for every gold title: a list without one of them never earns 1.

    >>> from lmtools.retrieval.protocol import Hit
    >>> question = Question(id="q1", question="Where was Anna Berg born?", supporting=("Anna Berg", "Lund"))
    >>> context = Context((Hit("p1", "Anna Berg", 7.5), Hit("p2", "Carl Dahl", 7.0)))
    >>> title_reward("ap")([question], [context])
    [0.5]
    """

    def score(question: Question, context: Context) -> float:
        titles, gold = context.titles, list(question.supporting)
        if name == "recall":
            return recall(titles, gold)
        if name == "ndcg":
            return ndcg(titles, gold, max(len(titles), len(gold)))
        return average_precision(titles, gold)

    return lambda questions, contexts: [
        round(score(*pair), DIGITS) for pair in zip(questions, contexts, strict=True)
    ]


def answer_reward(name: RewardName, answerer: Policy, retriever: Retriever, hop: HopSettings) -> Reward:
    """The paper's delayed reward: EM or F1 of the answer that a generator gives from the context.

    Raises (when called):
        DataError: a question has no answer.
    """
    metric = exact_match if name == "answer-em" else f1

    def reward(questions: Sequence[Question], contexts: Sequence[Context]) -> list[float]:
        for question in questions:
            if not question.answer:
                raise DataError(
                    f"question {question.id!r} has no answer, which the reward {name!r} needs",
                    fix="add `answer`, or set explore.reward: ap",
                )
        # Many queries lead to the same context: each distinct one is answered once.
        keys = [
            (question.question, context.ids) for question, context in zip(questions, contexts, strict=True)
        ]
        distinct = dict(zip(keys, contexts, strict=True))
        answers = answerer.answer(
            [question for question, _ in distinct],
            [show(retriever, context, hop) for context in distinct.values()],
        )
        answer_of = dict(zip(distinct, answers, strict=True))
        return [
            round(metric(answer_of[key], accepted_answers(question)), DIGITS)
            for key, question in zip(keys, questions, strict=True)
        ]

    return reward
