"""One user: whose pairs, which of them are labelled, what the weights are worth."""

import json

import numpy as np
import pytest
from tiny_ensemble import preference_ensemble, preferences
from tiny_hyre import records, trained_once, write

from lmtools.core.errors import DataError
from lmtools.data.records import Preference
from lmtools.hyre.adapt import read_weights
from lmtools.hyre.api import adapt_targets
from lmtools.hyre.ensemble import ensemble_digest
from lmtools.hyre.pairs import PairFeatures
from lmtools.hyre.personal import fit_weights, held_out_accuracy, margins, read_user, split_user
from lmtools.hyre.settings import AdaptSettings


def pairs(count=8, **more):
    return [Preference.model_validate(row | more) for row in records("long", count)]


@pytest.fixture
def source(tmp_path):
    return str(write(tmp_path / "mine.jsonl", [*records("short", 5), *records("long", 7)]))


def test_all_pairs_of_a_file_are_one_users(source):
    name, found = read_user(source, None)
    assert (name, len(found)) == ("mine", 12)


def test_a_target_or_the_first_one(source):
    assert [pair.distribution for pair in read_user(source, "short")[1]] == ["short"] * 5
    name, found = read_user(source, None, one_of_many=True)
    assert (name, len(found)) == ("long", 7)


def test_an_unknown_target_names_those_there_are(source):
    with pytest.raises(DataError, match="no pairs of 'formal'") as caught:
        read_user(source, "formal")
    assert caught.value.fix == "--target and one of long, short"


def test_pairs_left_out_are_told(tmp_path, capsys):
    same = {"prompt": "Why?", "chosen": "Yes", "rejected": "Yes"}
    source = str(write(tmp_path / "mine.jsonl", [same, *records("long", 3)]))
    assert len(read_user(source, None)[1]) == 3
    assert "1 of 4 pairs left out: each has the same answer twice" in capsys.readouterr().err
    with pytest.raises(DataError, match="no pair with two different answers"):
        read_user(str(write(tmp_path / "none.jsonl", [same])), None)


def test_examples_are_drawn_by_seed_and_never_tested():
    found = split_user("me", pairs(), 3, seed=1)
    assert len(found.examples) == 3
    assert sorted(pair.id for pair in (*found.examples, *found.tested)) == [f"long-{n}" for n in range(8)]
    assert found == split_user("me", pairs(), 3, seed=1)
    assert found.examples != split_user("me", pairs(), 3, seed=2).examples
    assert (
        split_user("me", pairs(), 5, seed=1).examples[:3] == found.examples
    )  # five examples begin with the three


@pytest.mark.parametrize("id", [None, ""])
def test_pairs_that_are_there_twice_count_once(id):
    """By id, or by content where they have none."""
    some = pairs() if id is None else pairs(id=id)
    found = split_user("me", [*some, *some[::-1]], 3, seed=0)
    assert (len(found.examples), len(found.tested)) == (3, 5)
    assert not {pair.key for pair in found.examples} & {pair.key for pair in found.tested}


def test_more_examples_than_different_pairs():
    with pytest.raises(DataError, match="me: 8 pairs, and 9 examples were asked for") as caught:
        split_user("me", pairs() * 2, 9, seed=0)
    assert "--examples 8" in caught.value.fix
    assert split_user("me", pairs(), 8, seed=0).tested == ()


def test_five_examples_of_the_wish_are_worth_something():
    """Features of eight numbers, of which this user likes one: more examples, more accuracy."""
    ensemble = preference_ensemble("pca", count=16, data=preferences(200, wish=0))
    own = preferences(120, seed=5, wish=3)
    settings = AdaptSettings(temperature=0.5)
    features = PairFeatures(tuple(pairs(120)), own.x, own.other)
    found = margins(ensemble, features, settings)
    known, others = found[:20], found[20:]
    weights = fit_weights(ensemble, known, features.keys[:20], settings, "digest")
    assert weights.examples == tuple(f"long-{n}" for n in range(20))
    assert (weights.sources, weights.ensemble) == (("pca",) * 16, "digest")
    rows = {row.name: row.metrics["accuracy"] for row in held_out_accuracy(ensemble, weights, others, 200, 0)}
    assert list(rows) == ["hyre @20", "before @0"]
    assert rows["hyre @20"].value > rows["before @0"].value + 0.1
    assert rows["hyre @20"].low <= rows["hyre @20"].value <= rows["hyre @20"].high
    assert held_out_accuracy(ensemble, weights, others[:0], 200, 0) == []


@pytest.mark.parametrize("loss", ["nll", "zero_one"])
def test_heads_that_are_all_wrong_share_the_weight(loss):
    """Alike in their loss, none is preferred; the weights are a distribution still."""
    ensemble = preference_ensemble("random", count=4)
    wrong = np.full((5, 4), -300.0)
    weights = fit_weights(ensemble, wrong, list("abcde"), AdaptSettings(loss=loss), "digest")
    assert weights.weights == pytest.approx(np.full(4, 0.25))
    rows = held_out_accuracy(ensemble, weights, wrong, 100, 0)
    assert [row.metrics["accuracy"].value for row in rows] == [0, 0]


def test_the_least_wrong_of_wrong_heads_is_heard():
    wrong = np.tile([-900.0, -500.0, -700.0, -400.0], (5, 1))
    found = fit_weights(
        preference_ensemble("random", count=4), wrong, list("abcde"), AdaptSettings(), "digest"
    )
    assert found.weights == pytest.approx([0, 0, 0, 1])
    assert np.isfinite(found.losses).all()


def test_one_head_has_all_the_weight():
    ensemble = preference_ensemble("random", count=1)
    found = fit_weights(ensemble, np.array([[-3.0], [2.0]]), ["a", "b"], AdaptSettings(), "digest")
    assert found.weights.tolist() == [1.0]
    assert found.effective_heads == 1


def test_weights_are_kept_for_every_target_with_enough_pairs(tiny_llama, tmp_path):
    _, run = trained_once(tiny_llama, tmp_path)
    rows = [*records("long", 6), *records("short", 3), *records("twice", 3) * 2]
    source = str(write(tmp_path / "uneven.jsonl", [row | {"id": ""} for row in rows]))
    written = adapt_targets(run, tmp_path / "weights", 4, [f"data.targets={source}"])
    assert [path.name for path in written] == ["long.json"]
    assert sorted(path.name for path in (tmp_path / "weights").iterdir()) == ["long.json", "pairs.jsonl"]
    told = [json.loads(line) for line in (tmp_path / "weights" / "pairs.jsonl").read_text().splitlines()]
    assert [(one["target"], one["role"]) for one in told] == [("long", "labelled")] * 4 + [
        ("long", "tested")
    ] * 2
    assert len(read_weights(written[0], ensemble_digest(run / "ensemble"), 4).examples) == 4
