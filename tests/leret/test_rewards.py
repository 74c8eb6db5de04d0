"""Rewards over the cumulative context, and the paper's delayed reward."""

import pytest

from lmtools.core.errors import DataError
from lmtools.data.records import Question
from lmtools.leret.context import Context
from lmtools.leret.recipe import HopSettings
from lmtools.leret.rewards import answer_reward, title_reward
from lmtools.retrieval.protocol import Hit

GOLD = Question(id="q", question="?", answer="Sweden", aliases=("Kingdom of Sweden",), supporting=("A", "B"))


def context(*titles):
    return Context(tuple(Hit(f"{n}{title}", title, 0.0) for n, title in enumerate(titles)))


@pytest.mark.parametrize(
    ("name", "titles", "value"),
    [
        ("ap", "AB", 1.0),
        ("ap", "AxB", 0.833333),
        ("ap", "xAB", 0.583333),
        ("ap", "A", 0.5),
        ("ap", "", 0.0),
        ("recall", "xxB", 0.5),
        ("recall", "BxA", 1.0),
        ("ndcg", "AB", 1.0),
        ("ndcg", "A", 0.613147),  # 1 / (1 + 1 / log2(3)): a second title is owed
        ("ndcg", "", 0.0),
    ],
)
def test_by_hand(name, titles, value):
    assert title_reward(name)([GOLD], [context(*titles)])[0] == pytest.approx(value, abs=1e-6)


def test_equal_rankings_tie_exactly():
    rewards = title_reward("ap")([GOLD] * 3, [context(*"xAyB"), context(*"xByA"), context(*"zAyB")])
    assert len(set(rewards)) == 1


@pytest.mark.parametrize(
    ("name", "partial"), [("answer-em", 0.0), ("answer-f1", pytest.approx(2 / 3, abs=1e-6))]
)
def test_the_answer_from_the_context_earns(world, scripted, name, partial):
    answerer = scripted(
        lambda asked: "Sweden, surely" if "cold" in asked.question else "the kingdom of Sweden"
    )
    reward = answer_reward(name, answerer, world.retriever, HopSettings())
    cold = GOLD.model_copy(update={"id": "r", "question": "cold?"})
    contexts = [Context((Hit("t0", "Lund", 1.0),))] * 3
    assert reward([GOLD, cold, GOLD], contexts) == [1.0, partial, 1.0]
    [call] = answerer.generator.calls
    assert len(call.prompts) == 2  # one answer for each distinct (question, context)
    assert "Lund: Lund lies in the country of Sweden." in call.prompts[0]


def test_a_question_without_answer_is_told(world, scripted):
    reward = answer_reward("answer-em", scripted(lambda asked: ""), world.retriever, HopSettings())
    with pytest.raises(DataError, match="'q9'") as error:
        reward([GOLD.model_copy(update={"id": "q9", "answer": ""})], [Context()])
    assert "explore.reward" in error.value.fix
