"""What a recipe makes of its data files, before any work."""

import json

import pytest

from lmtools.core.errors import DataError, ModelError
from lmtools.core.recipe import load_recipe
from lmtools.generation.scripted import Scripted
from lmtools.leret.inputs import answerer_spec, check_trainable, prepare, read_data
from lmtools.leret.policy import Policy
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.train import answerer_beside
from lmtools.models.chat import render_plain


@pytest.fixture
def prepared(tiny_recipe):
    """Ids of the training and test questions; the small world's test file holds q5, q6 and q7."""

    def ids(**data):
        file = tiny_recipe({f"data.{key}": value for key, value in data.items()})
        setup = prepare(load_recipe(LeretRecipe, str(file), default=""), weights=False)
        return [question.id for question in setup.train], [question.id for question in setup.test]

    return ids


@pytest.mark.parametrize(
    ("data", "left"),
    [
        ({}, ["q5", "q6", "q7"]),
        ({"test_skip": 1}, ["q6", "q7"]),
        ({"test_limit": 2}, ["q5", "q6"]),
        ({"test_skip": 1, "test_limit": 1}, ["q6"]),
        ({"test_skip": 2, "test_limit": 5}, ["q7"]),
    ],
)
def test_test_questions_are_skipped_then_limited(prepared, data, left):
    assert prepared(**data) == (["q0", "q1", "q2", "q3", "q4"], left)


def test_one_file_serves_both(prepared, tmp_path):
    file = str(tmp_path / "world" / "train.jsonl")
    assert prepared(test=file, train_limit=3, test_skip=3) == (["q0", "q1", "q2"], ["q3", "q4"])


def test_nothing_left_to_measure_on_is_an_error(prepared):
    with pytest.raises(DataError, match=r"data\.test_skip: 3 leaves none of the 3 questions") as caught:
        prepared(test_skip=3)
    assert caught.value.fix


def test_training_on_a_server_is_refused_before_anything_is_read():
    recipe = LeretRecipe.model_validate({"model": {"backend": "server"}, "data": {"train": "nowhere"}})
    with pytest.raises(ModelError, match="cannot run what this training would make") as caught:
        check_trainable(recipe)
    assert "leret explore" in caught.value.fix
    check_trainable(LeretRecipe())


def test_the_answerer_is_the_base_model_and_an_input(tiny_recipe, tiny_llama, tmp_path):
    recipe = LeretRecipe.model_validate({"answerer": {"name": "other"}})
    assert answerer_spec(recipe).name == "other"
    assert answerer_spec(LeretRecipe()) == LeretRecipe().model
    file = tiny_recipe({"answerer": {"name": str(tiny_llama)}, "eval.answers": True})
    inputs = prepare(load_recipe(LeretRecipe, str(file), default="")).hashes
    assert inputs[f"answerer {tiny_llama}"] == inputs[str(tiny_llama)]


class Engine(Scripted):
    def with_adapter(self, directory):
        return Engine(identity="base" if directory is None else str(directory))


@pytest.mark.parametrize(
    ("adapter", "reward", "identity"),
    [(None, "ap", None), (None, "answer-f1", "mine"), ("runs/policy", "answer-f1", "base")],
)
def test_who_answers_beside_a_policy(adapter, reward, identity):
    recipe = LeretRecipe.model_validate({"explore": {"reward": reward}})
    spec = recipe.model.model_copy(update={"adapter": adapter})
    answerer = answerer_beside(Policy(Engine(identity="mine"), render_plain), spec, recipe)
    assert (answerer.generator.identity if answerer else None) == identity


def test_gold_titles_are_needed_for_what_is_measured_and_for_rewards_made_of_them(tiny_recipe):
    file = tiny_recipe({"explore.reward": "answer-f1"})
    path = file.parent / "train.jsonl"
    bare = [json.loads(line) | {"supporting": []} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in bare))
    recipe = load_recipe(LeretRecipe, str(file), default="")
    assert len(prepare(recipe, weights=False).train) == 5
    with pytest.raises(DataError, match="no gold title"):
        read_data(load_recipe(LeretRecipe, str(file), ["explore.reward=ap"], default=""))
    test = recipe.data.model_copy(update={"test": recipe.data.train})
    with pytest.raises(DataError, match="no gold title"):
        read_data(recipe.model_copy(update={"data": test}))
