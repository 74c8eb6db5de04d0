"""A session asks for what tells most, and goes on after any interruption as if there had been none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_ensemble import adapted

from lmtools.core.errors import DataError, RunError
from lmtools.core.journal import Journal
from lmtools.data.records import Preference, Turn
from lmtools.hyre.adapt import head_prior
from lmtools.hyre.reweighting import scores
from lmtools.hyre.session import Candidate, Session, candidates
from lmtools.hyre.settings import AdaptSettings

HEADS = 4
FIT = np.array([0.2, 0.9, 0.5, 0.6])
EVENTS = st.lists(st.sampled_from(["first", "second", "second", "skip", "undo"]), max_size=12)


def pair(number: int) -> Candidate:
    return Candidate(
        f"p{number}", (Turn(role="user", content=f"Why {number}?"),), f"one {number}", f"two {number}"
    )


PAIRS = [pair(number) for number in range(6)]
MARGINS = np.random.default_rng(3).normal(size=(len(PAIRS), HEADS))


def opened(path, pairs=PAIRS, margins=MARGINS, kind="bald", seed=0, **adapt) -> Session:
    return Session(pairs, margins, FIT, AdaptSettings(**adapt), kind, seed, Journal(path))


def do(session: Session, event: str) -> None:
    if event == "undo":
        session.undo()
    elif session.next() is not None:
        session.skip() if event == "skip" else session.answer(event)


def state(session: Session):
    weights, losses = session.weights()
    asked = session.next()
    return (
        session.labelled,
        session.skipped,
        asked,
        weights.tolist(),
        losses.tolist(),
        session.margins_labelled().tolist(),
        [weights.tolist() for weights in session.history],
    )


@given(
    events=EVENTS,
    kind=st.sampled_from(["bald", "entropy", "variance", "random"]),
    rule=st.sampled_from(["reweight", "gaussian"]),
)
@settings(max_examples=60)
def test_restarted_after_every_event_it_is_where_it_was(tmp_path_factory, events, kind, rule):
    folder = tmp_path_factory.mktemp("session")
    whole = opened(folder / "whole.jsonl", kind=kind, rule=rule)
    for event in events:
        do(whole, event)
        again = opened(folder / "again.jsonl", kind=kind, rule=rule)
        do(again, event)
        assert state(again) == state(whole)
        assert state(opened(folder / "again.jsonl", kind=kind, rule=rule)) == state(whole)


@given(events=EVENTS)
@settings(max_examples=20)
def test_killed_in_the_middle_of_a_record_it_is_where_it_was_before(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("session") / "answers.jsonl"
    session = opened(path)
    for event in events:
        before, size = state(session), path.stat().st_size
        do(session, event)
        data = path.read_bytes()
        for cut in {size, (size + len(data)) // 2, len(data) - 1}:
            if size <= cut < len(data):
                (path.parent / "cut.jsonl").write_bytes(data[:cut])
                assert state(opened(path.parent / "cut.jsonl")) == before


@given(events=EVENTS)
@settings(max_examples=30)
def test_undo_leads_back_through_every_state(tmp_path_factory, events):
    session = opened(tmp_path_factory.mktemp("session") / "answers.jsonl")
    seen = [state(session)]
    for event in events:
        if event != "undo" and session.next() is not None:
            do(session, event)
            seen.append(state(session))
    while len(seen) > 1:
        seen.pop()
        assert session.undo() == session.next()
        assert state(session) == seen[-1]
    assert session.undo() is None


def test_each_pair_is_the_most_telling_one_under_the_weights_so_far(tmp_path):
    session = opened(tmp_path / "a.jsonl", prior="train")
    left, signed = list(range(len(PAIRS))), []
    for choice in ("second", "first", "second"):
        weights, _ = adapted(np.array(signed).reshape(-1, HEADS), FIT, AdaptSettings(prior="train"))
        best = left[int(np.argmax(scores("bald", MARGINS[left], weights)))]
        assert session.next() is PAIRS[best]
        left.remove(best)
        signed.append(MARGINS[best] if choice == "first" else -MARGINS[best])
        session.answer(choice)
    assert session.margins_labelled() == pytest.approx(np.array(signed))
    assert [choice for _, choice in session.labelled] == ["second", "first", "second"]


def test_before_any_answer_the_weights_are_the_prior(tmp_path):
    session = opened(tmp_path / "a.jsonl", prior="train")
    assert session.weights()[0] == pytest.approx(head_prior(FIT, AdaptSettings(prior="train")))
    assert session.history == []
    assert session.margins_labelled().shape == (0, HEADS)


def test_answers_move_the_weights_to_the_heads_that_agree(tmp_path):
    margins = np.array([[5.0, -5.0], [4.0, -4.0]])
    session = Session(
        PAIRS[:2], margins, np.zeros(2), AdaptSettings(), "bald", 0, Journal(tmp_path / "a.jsonl")
    )
    session.answer("second")
    assert session.weights()[0][1] > 0.99
    assert session.history[-1] == pytest.approx(session.weights()[0])


def test_a_skip_changes_no_weight_and_is_not_asked_again(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    before = session.weights()[0]
    asked = []
    while (candidate := session.next()) is not None:
        asked.append(candidate.key)
        session.skip()
    assert sorted(asked) == [candidate.key for candidate in PAIRS]
    assert session.weights()[0] == pytest.approx(before)
    assert session.labelled == []
    with pytest.raises(ValueError, match="no pair is left"):
        session.answer("first")


def test_a_pair_taken_back_is_asked_again_even_if_the_way_of_asking_is_another_now(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    asked = session.next()
    session.answer("first")
    other = opened(tmp_path / "a.jsonl", kind="random", seed=5)
    assert other.undo() == asked
    assert opened(tmp_path / "a.jsonl", kind="variance").next() == asked


def test_turned_around_a_recorded_answer_is_still_that_answer(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    asked = session.next()
    session.answer("first")
    turned = [Candidate(one.key, one.turns, one.second, one.first) for one in PAIRS]
    again = opened(tmp_path / "a.jsonl", turned, -MARGINS)
    [(candidate, choice)] = again.labelled
    assert (candidate.key, choice, candidate.answer(choice)) == (asked.key, "second", asked.first)
    assert again.weights()[0] == pytest.approx(session.weights()[0])


@pytest.mark.parametrize("event", ["first", "skip"])
def test_records_of_other_pairs_are_an_error(tmp_path, event):
    session = opened(tmp_path / "a.jsonl")
    asked = session.next()
    do(session, event)
    place = PAIRS.index(asked)
    kept = [number for number in range(len(PAIRS)) if number != place]
    with pytest.raises(RunError, match="record '0' is not about one of the pairs") as caught:
        opened(tmp_path / "a.jsonl", [PAIRS[number] for number in kept], MARGINS[kept])
    assert "the same pairs" in caught.value.fix


def test_records_of_a_changed_text_are_an_error(tmp_path):
    session = opened(tmp_path / "a.jsonl")
    session.answer("first")
    changed = [Candidate(one.key, one.turns, one.first + "!", one.second) for one in PAIRS]
    with pytest.raises(RunError, match="record '0'"):
        opened(tmp_path / "a.jsonl", changed)


@pytest.mark.parametrize(
    "record",
    [{}, {"event": "undo"}, {"event": "answer", "pair": "p0"}, {"event": "x", "pair": "p0"}, {"pair": []}],
)
def test_records_that_are_none_are_an_error(tmp_path, record):
    with Journal(tmp_path / "a.jsonl") as journal:
        journal.append("0", record)
    with pytest.raises(RunError, match="record '0'"):
        opened(tmp_path / "a.jsonl")


@pytest.mark.parametrize(
    ("pairs", "margins", "message"),
    [
        (PAIRS, MARGINS[:2], "finite margin"),
        (PAIRS, MARGINS.T, "finite margin"),
        (PAIRS, np.full_like(MARGINS, np.nan), "finite margin"),
        ([PAIRS[0]] * 6, MARGINS, "the same key"),
    ],
)
def test_wrong_candidates(tmp_path, pairs, margins, message):
    with pytest.raises(ValueError, match=message):
        opened(tmp_path / "a.jsonl", pairs, margins)


def preference(number: int, **more) -> Preference:
    return Preference(prompt=f"Why {number}?", chosen="good", rejected="bad", **more)


def test_the_better_answer_is_first_in_about_half_of_the_pairs_and_the_same_for_the_same_seed():
    pairs = [preference(number) for number in range(200)]
    shown = candidates(pairs, seed=1)
    assert shown == candidates(pairs, seed=1) != candidates(pairs, seed=2)
    assert 70 < sum(candidate.first == "good" for candidate in shown) < 130
    assert {candidate.first for candidate in shown} == {"good", "bad"}
    assert shown[3].turns == (Turn(role="user", content="Why 3?"),)


def test_pairs_that_are_there_twice_are_asked_about_once():
    turned = Preference(prompt="Why 1?", chosen="bad", rejected="good")
    assert len(candidates([preference(1), preference(2), preference(1), turned], seed=0)) == 2


def test_one_id_for_two_pairs_is_an_error():
    with pytest.raises(DataError, match="the id 'x'"):
        candidates([preference(1, id="x"), preference(2, id="x")], seed=0)
