"""What stages of LeReT give the model to do, against counts by hand."""

from lmtools.core.progress import Work
from lmtools.data.records import Question
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.workload import MARKUP, WORD, exploring, generations, learning, measuring


def recipe(**settings):
    hop = {"hops": 2, "k": 3, "passage_words": 10, "max_query_tokens": 20}
    return LeretRecipe.model_validate({"hop": hop, **settings})


QUESTIONS = [Question(id=f"q{n}", question="x" * 40, answer="a", supporting=["A"]) for n in range(5)]
FIRST = Work(5 * (10 + MARKUP), 5 * 15)
LATER = Work(5 * (10 + MARKUP + 3 * 10 * WORD), 5 * 15)


def test_rules_give_the_model_nothing_to_do():
    rules = recipe(explore={"first": ["question"], "later": ["phrase"]})
    assert exploring(rules, QUESTIONS) == Work()
    assert generations(rules, QUESTIONS, [])["exploring"] == 0


def test_exploring_counts_explorers_contexts_and_hops():
    several = {
        "first": ["question", "zero-shot"],
        "later": ["zero-shot", "temperature"],
        "samples": 3,
        "contexts": 2,
    }
    tried = recipe(explore=several)
    assert exploring(tried, QUESTIONS) == FIRST + LATER * (2 * (1 + 3))
    assert generations(tried, QUESTIONS, [])["exploring"] == 5 * (1 + 2 * 4)


def test_measuring_counts_policies_that_are_models():
    measured = recipe(eval={"policies": ["question", "zero-shot", "sft"]})
    assert measuring(measured, QUESTIONS) == (FIRST + LATER) * 2


def test_learning_counts_epochs_and_the_reference():
    train = {"sft": {"epochs": 2}, "preference": {"epochs": 3}}
    rows = [{"prompt": "p" * 40, "completion": "c" * 8}]
    assert learning(recipe(train=train), "sft", rows) == Work(trained=2 * 12)
    pairs = [{"prompt": "p" * 40, "chosen": "c" * 8, "rejected": "r" * 12}]
    assert learning(recipe(train=train), "policy", pairs) == Work(read=25, trained=3 * 25)
