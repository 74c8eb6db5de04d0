"""The accuracy of reward models: single head, user's weights, classifier; RewardBench's sections."""

import numpy as np
import pytest
from tiny_hyre import USERS, records, trained_once, write
from transformers import LlamaForSequenceClassification

from lmtools.core.errors import DataError, ModelError
from lmtools.data.records import Preference
from lmtools.hyre.api import adapt_targets
from lmtools.hyre.recipe import RewardRecipe
from lmtools.hyre.reward import preference_margins, read_reward_pairs, reward_rows, without_examples


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    return trained_once(tiny_llama, tmp_path_factory.mktemp("hyre"))


@pytest.fixture
def recipe(trained):
    return RewardRecipe(pairs=trained[0].data.targets, resamples=100)


@pytest.fixture
def classifier(tiny_llama, tmp_path):
    from transformers import AutoTokenizer

    LlamaForSequenceClassification.from_pretrained(tiny_llama, num_labels=1).save_pretrained(tmp_path / "rm")
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path / "rm")
    return tmp_path / "rm"


def named(recipe, model):
    return recipe.model_validate(recipe.model_dump() | {"model": {"name": str(model), "device": "cpu"}})


def test_a_runs_single_head(trained, recipe):
    pairs = read_reward_pairs(recipe)
    measured, found = preference_margins(recipe, trained[1], pairs)
    assert measured == pairs
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(USERS, 12)
    [row] = reward_rows("single-head", found, recipe)
    both = [row.metrics[f"{user}/accuracy"].value for user in USERS]
    assert row.metrics["accuracy"].value == pytest.approx(np.mean(both))
    # One wants what the other does not, of nearly the same answers.
    assert row.metrics["accuracy"].value == pytest.approx(0.5, abs=0.2)


def test_weights_of_a_user_serve_that_user(trained, recipe, tmp_path):
    paths = adapt_targets(trained[1], tmp_path)
    for path in paths:
        own = recipe.model_copy(update={"weights": str(path)})
        [row] = reward_rows("hyre", preference_margins(own, trained[1], read_reward_pairs(own))[1], own)
        other = "short" if path.stem == "long" else "long"
        assert row.metrics[f"{path.stem}/accuracy"].value > row.metrics[f"{other}/accuracy"].value


def test_a_classifiers_own_head(classifier, recipe):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from lmtools.models.chat import Message, render, render_answer

    config = named(recipe, classifier)
    pairs = {name: own[:2] for name, own in read_reward_pairs(config).items()}
    _, found = preference_margins(config, None, pairs)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    for name, own in pairs.items():
        for place, pair in enumerate(own):
            turns = (Message("user", pair.prompt),)
            one, two = (
                model(
                    tokenizer(
                        render(tokenizer, turns) + render_answer(tokenizer, turns, answer),
                        add_special_tokens=False,
                        return_tensors="pt",
                    )["input_ids"]
                ).logits.item()
                for answer in (pair.chosen, pair.rejected)
            )
            assert found[name][place] == pytest.approx(one - two, rel=1e-3, abs=1e-4)


def test_a_language_model_is_no_reward_model(tiny_llama, recipe):
    config = named(recipe, tiny_llama)
    with pytest.raises(ModelError, match="is no reward model") as caught:
        preference_margins(config, None, read_reward_pairs(config))
    assert "--run" in caught.value.fix


def test_a_limit_for_each_distribution(recipe):
    some = recipe.model_copy(update={"limit": 3})
    assert {name: len(own) for name, own in read_reward_pairs(some).items()} == dict.fromkeys(USERS, 3)


def test_pairs_that_prefer_nothing_are_an_error(recipe, tmp_path):
    same = [row | {"rejected": row["chosen"]} for row in records("long")]
    config = recipe.model_copy(update={"pairs": str(write(tmp_path / "same.jsonl", same))})
    with pytest.raises(DataError, match="no pair with two different answers"):
        read_reward_pairs(config)


def test_rows_by_hand():
    found = {"a": np.array([1.0, 1.0, -1.0, 0.0]), "b": np.array([-2.0])}
    [row] = reward_rows("model", found, RewardRecipe(resamples=200))
    value = {name: interval.value for name, interval in row.metrics.items()}
    assert value == pytest.approx(
        {"accuracy": 2.5 / 8, "pairs/accuracy": 2.5 / 5, "a/accuracy": 2.5 / 4, "b/accuracy": 0.0}
    )
    assert {name: interval.n for name, interval in row.metrics.items()} == {
        "accuracy": 5, "pairs/accuracy": 5, "a/accuracy": 4, "b/accuracy": 1,
    }  # fmt: skip
    for interval in row.metrics.values():
        assert 0 <= interval.low <= interval.value <= interval.high <= 1 + 1e-12


def test_sections_are_rewardbenchs():
    """Chat by pair; in Reasoning mathematics is one half, whatever its number of pairs."""
    found = {
        "alpacaeval-easy": np.array([1.0, 1.0, -1.0]),
        "mt-bench-easy": np.array([-1.0]),
        "math-prm": np.array([1.0, 1.0, 1.0, -1.0]),
        "hep-go": np.array([-1.0]),
        "hep-rust": np.array([1.0]),
    }
    [row] = reward_rows("model", found, RewardRecipe(resamples=200))
    value = {name: interval.value for name, interval in row.metrics.items()}
    assert value["Chat/accuracy"] == pytest.approx(2 / 4)
    assert value["Reasoning/accuracy"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert not {"Safety/accuracy", "Chat Hard/accuracy"} & set(value)


def test_what_the_weights_were_learned_from_is_not_tested_on():
    pairs = {
        "a": [
            Preference(id="1", prompt="Q", chosen="x", rejected="y"),
            Preference(id="2", prompt="Q", chosen="x", rejected="z"),
        ],
        "b": [Preference(id="3", prompt="Q", chosen="u", rejected="v")],
    }
    assert {name: [pair.id for pair in own] for name, own in without_examples(pairs, ("2", "3")).items()} == {
        "a": ["1"]
    }
    with pytest.raises(DataError, match="all of these pairs"):
        without_examples(pairs, ("1", "2", "3"))
