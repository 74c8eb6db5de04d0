"""What an adaptation tells of every pair and every label."""

import json

import numpy as np
import pytest
from tiny_hyre import records

from lmtools.data.records import Preference, Turn
from lmtools.hyre.session import (
    Adaptation,
    Candidate,
    ShownPair,
    answered_pair,
    conversation,
    keep_margins,
    shown_pair,
    target_records,
)

KNOWN = np.array([[2.0, -1.0], [0.0, 4.0]])
OTHERS = np.array([[1.0, -3.0], [-1.0, -1.0], [2.0, 2.0]])
HISTORY = [np.array([0.5, 0.5]), np.array([0.75, 0.25]), np.array([1.0, 0.0])]


def pairs(count):
    return [ShownPair(f"p{n}", f"Prompt {n}?", "good", "bad") for n in range(count)]


@pytest.fixture
def adaptation():
    return Adaptation("anna", pairs(2), pairs(3), KNOWN, OTHERS, HISTORY)


def test_every_pair_before_and_after(adaptation):
    told = list(adaptation.pairs())
    assert [(one["role"], one.get("label")) for one in told] == [("labelled", 1), ("labelled", 2)] + [
        ("tested", None)
    ] * 3
    assert {one["target"] for one in told} == {"anna"}
    # Before, the margins are 0.5 and 2; after them only the first head is heard.
    assert told[0]["before"] == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert told[0]["after"] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert told[1]["after"] == 0.5
    assert [one["disagreement"] for one in told] == [1.0, 0.5, 1.0, 0.0, 0.0]
    assert [one["disagreement_after"] for one in told] == [0.0, 0.5, 0.0, 0.0, 0.0]
    assert told[0]["prompt"] == "Prompt 0?"


def test_every_label_moves_weights_and_accuracy(adaptation):
    steps = list(adaptation.steps())
    assert [step["labels"] for step in steps] == [0, 1, 2]
    assert [step["weights"] for step in steps] == [weights.tolist() for weights in HISTORY]
    # The first of three pairs is wrong with equal weights, tied at 3 to 1, right with the first head alone.
    assert [step["accuracy"] for step in steps] == pytest.approx([1 / 3, 0.5, 2 / 3])


def test_where_nothing_is_preferred_without_labels_nothing_is_told():
    found = Adaptation("anna", pairs(2), pairs(3), KNOWN, OTHERS, [np.zeros(2), HISTORY[-1]])
    assert not any("before" in one for one in found.pairs())
    assert ["accuracy" in step for step in found.steps()] == [False, True]


def test_without_pairs_to_test_on():
    found = Adaptation("anna", pairs(2), (), KNOWN, OTHERS[:0], HISTORY)
    assert [one["role"] for one in found.pairs()] == ["labelled"] * 2
    assert not any("accuracy" in step for step in found.steps())


def test_a_pair_of_a_file_and_one_that_was_asked_about():
    pair = Preference.model_validate(records("short", 1)[0])
    assert shown_pair(pair) == ShownPair(
        "short-0", "Name river 0", "Seine 0", "The Seine, of course; its name is old."
    )
    turns = (Turn(role="user", content="Why?"), Turn(role="assistant", content="So."),
             Turn(role="user", content="And?"))  # fmt: skip
    candidate = Candidate("k", turns, "one", "two")
    assert conversation(turns) == "user: Why?\n\nassistant: So.\n\nuser: And?"
    first, second = answered_pair(candidate, "first"), answered_pair(candidate, "second")
    assert (first.chosen, first.rejected) == (second.rejected, second.chosen) == ("one", "two")


def test_an_evaluation_and_a_reward_model(tmp_path):
    told = list(target_records("anna", pairs(2), np.array([0.25, 0.5])))
    assert [one["disagreement"] for one in told] == [0.25, 0.5]
    own = {user: [Preference.model_validate(row) for row in records(user, 2)] for user in ("long", "short")}
    keep_margins(tmp_path / "pairs.jsonl", own, {user: np.array([1.5, -1.0]) for user in own})
    lines = [json.loads(line) for line in (tmp_path / "pairs.jsonl").read_text().splitlines()]
    assert [(one["target"], one["pair"], one["margin"]) for one in lines] == [
        (user, f"{user}-{n}", margin) for user in ("long", "short") for n, margin in enumerate((1.5, -1.0))
    ]
