"""Pairs of a recipe: what is left out and said, what is drawn, and whose features are whose."""

import numpy as np
import pytest
from tiny_hyre import crowd, records, tiny_recipe, write

from lmtools.core.errors import DataError
from lmtools.data.records import Preference
from lmtools.generation.open import open_features
from lmtools.hyre.pairs import answers, content, drawn, read_features, read_targets, read_training
from lmtools.hyre.recipe import DataSettings

SAME = {"prompt": "Why?", "chosen": "Yes.", "rejected": " Yes. "}
EMPTY = {"prompt": "Why?", "chosen": "Yes.", "rejected": ""}
BLANK = {"prompt": "Why?", "chosen": " \n", "rejected": "No."}


def data(tmp_path, rows, **settings):
    source = str(write(tmp_path / "pairs.jsonl", rows))
    return DataSettings(train=source, targets=source, **settings)


def test_pairs_that_teach_nothing_are_left_out_and_counted(tmp_path, capsys):
    found = read_training(data(tmp_path, [SAME, *crowd(), EMPTY, BLANK]), seed=0)
    assert [pair.id for pair in found] == [row["id"] for row in crowd()]
    told = capsys.readouterr()
    assert "3 of 15 pairs left out: each has the same answer twice, or an empty one" in told.err
    assert told.out == ""


@pytest.mark.parametrize("read", [read_training, read_targets])
@pytest.mark.parametrize("rows", [[SAME], [EMPTY, BLANK]])
def test_nothing_but_such_pairs_is_an_error(tmp_path, read, rows):
    with pytest.raises(DataError, match="no pair with two different answers"):
        read(data(tmp_path, rows), seed=0)


@pytest.mark.parametrize("read", [read_training, read_targets])
def test_an_empty_file_is_an_error(tmp_path, read):
    with pytest.raises(DataError, match="empty"):
        read(data(tmp_path, []), seed=0)


def test_a_limit_draws_by_seed_and_keeps_the_order(tmp_path):
    settings = data(tmp_path, crowd(20), train_limit=10)
    numbers = [pair.id for pair in read_training(settings, seed=1)]
    every = [row["id"] for row in crowd(20)]
    assert numbers == [id for id in every if id in numbers]
    assert len(numbers) == 10
    assert numbers != every[:10]
    assert numbers == [pair.id for pair in read_training(settings, seed=1)]
    assert numbers != [pair.id for pair in read_training(settings, seed=2)]


@pytest.mark.parametrize("limit", [None, 3, 4])
def test_a_limit_that_is_not_reached_draws_nothing(limit):
    assert drawn([3, 1, 2], limit, seed=0) == [3, 1, 2]


def test_targets_are_told_apart_and_limited_each(tmp_path):
    rows = [*records("short", 7), *records("long", 3)]
    found = read_targets(data(tmp_path, rows, target_limit=5), seed=0)
    assert list(found) == ["long", "short"]
    assert [len(pairs) for pairs in found.values()] == [3, 5]


def test_a_folder_has_a_target_for_each_file(tmp_path):
    rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in records("short", 4)]
    for name in ("b", "a"):
        write(tmp_path / "users" / f"{name}.jsonl", rows)
    found = read_targets(DataSettings(targets=str(tmp_path / "users")), seed=0)
    assert {name: len(pairs) for name, pairs in found.items()} == {"a": 4, "b": 4}


def test_answers_are_those_of_the_turns_before_them():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    asked = [*turns, {"role": "user", "content": "Why?"}]
    pair = Preference.model_validate({"prompt": asked, "chosen": "One.", "rejected": "Two."})
    one, two = answers([pair])
    assert [(turn.role, turn.content) for turn in one.turns] == [(t["role"], t["content"]) for t in asked]
    assert (one.turns, one.answer, two.answer) == (two.turns, "One.", "Two.")


def test_every_pair_has_its_own_features(tiny_llama, tmp_path):
    recipe = tiny_recipe(tiny_llama, tmp_path)
    users = read_targets(recipe.data, 0)
    reader = open_features(recipe.model, recipe.features)
    found = read_features(reader, {"long": users["long"], "none": [], "short": users["short"][:5]}, "pairs")
    assert [found[name].chosen.shape for name in found] == [(12, 64), (0, 64), (5, 64)]
    assert found["short"].keys == [f"short-{number}" for number in range(5)]
    other = open_features(recipe.model, recipe.features)
    for name in ("long", "short"):
        for place in (0, 4):
            alone = other.read(answers([users[name][place]]))
            np.testing.assert_allclose(found[name].chosen[place], alone[0], rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(found[name].rejected[place], alone[1], rtol=1e-4, atol=1e-5)
    learnt = found["short"].training()
    assert learnt.groups.tolist() == ["short"] * 5
    assert learnt.other is found["short"].rejected


def test_a_pair_turned_around_is_the_same_pair():
    one = Preference(prompt="Name a river", chosen="The Seine", rejected="The Po")
    turned = Preference(id="x", prompt="Name a river", chosen="The Po", rejected="The Seine")
    other = Preference(prompt="Name a river", chosen="The Seine", rejected="The Rhine")
    assert content(one) == content(turned) != content(other)
