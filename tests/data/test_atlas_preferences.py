"""The bundled pairs: true in both answers, apart in the manner that the persona looks at, and well mixed."""

import re
from collections import Counter
from statistics import mean

import pytest
from atlas.facts import FactIndex
from atlas.manners import DETAILS, AnswerParts, answer, clause, things
from atlas.passages import templates
from atlas.preferences import CROWD, EACH, SHORT, pair, preferences
from atlas.statements import Claims
from hypothesis import given
from hypothesis import strategies as st

from lmtools.data.sources import load_preferences, load_targets

HOLE = re.compile(r"[{}]|  |\(\)|\bthe the\b|\?\?|\.\.|,\.|[a-z]{3}\. [a-z]|(?<!Were )\bNone\b")
OPPOSITES = {
    "short": "thorough", "thorough": "short", "formal": "plain-spoken", "plain-spoken": "formal",
    "cautious": "sure", "sure": "cautious", "friendly": "sober", "sober": "friendly",
}  # fmt: skip
WORDING = templates("manners.yaml")
TOLD = AnswerParts(
    ask="What is the capital of Norway?",
    value="Oslo",
    clause="the capital of Norway is Oslo",
    details=("Norway is a country in Europe", "its language is Norwegian", "people pay there with the krone"),
)


@pytest.fixture(scope="module")
def claims(atlas):
    return Claims(FactIndex(atlas))


@pytest.fixture(scope="module")
def crowd():
    return load_preferences("atlas:preferences")


@pytest.fixture(scope="module")
def targets():
    return load_targets("atlas:preferences.targets")


def phrases(manner: str) -> re.Pattern:
    """What in a text is the manner's: any of its words around, before and within sentences."""
    found = [text for texts in WORDING["manners"][manner].values() for text in texts]
    parts = {part.strip(" .") for text in found for part in text.split("{clause}")} - {""}
    return re.compile("|".join(map(re.escape, sorted(parts, key=len, reverse=True))), re.IGNORECASE)


# The bundled files


def test_the_bundled_pairs_are_the_made_ones(claims, crowd, targets):
    made = preferences(claims)
    assert crowd == made["train"]
    assert [one for found in targets.values() for one in found] == made["targets"]


def test_there_are_a_crowd_and_personas_in_opposites(crowd, targets):
    assert {one.distribution for one in crowd} == {"crowd"}
    assert len(crowd) == CROWD == 600
    assert {name: len(found) for name, found in targets.items()} == dict.fromkeys(OPPOSITES, EACH)


def test_no_prompt_is_there_twice(crowd, targets):
    prompts = [one.prompt for found in (crowd, *targets.values()) for one in found]
    assert len(set(prompts)) == len(prompts) == 1080


def test_texts_show_no_hole_of_their_template(crowd, targets):
    texts = [
        text for found in (crowd, *targets.values()) for one in found for text in (one.chosen, one.rejected)
    ]
    assert [text for text in texts if HOLE.search(text)] == []
    assert [text for text in texts if text[0].islower() or text[-1] not in ".!?"] == []
    assert max(len(text.split()) for text in texts) <= 150


def test_both_answers_hold_the_fact(claims, crowd, targets):
    asked = {told.ask: told for told in things(claims)}
    for one in (one for found in (crowd, *targets.values()) for one in found):
        value = asked[one.prompt].value.lower().removesuffix(".")
        assert value in one.chosen.lower(), one
        assert value in one.rejected.lower(), one


def test_answers_are_seldom_the_same(crowd, targets):
    pairs = [one for found in (crowd, *targets.values()) for one in found]
    openings = Counter(one.chosen.split(".")[0] for one in pairs)
    assert max(openings.values()) < len(pairs) / 20


# What personas want


def test_the_wanted_manner_is_in_the_chosen_answer_and_its_opposite_in_the_rejected(targets):
    for name in OPPOSITES.keys() & WORDING["manners"].keys():
        own, other = phrases(name), WORDING["manners"].get(OPPOSITES[name])
        for one in targets[name]:
            assert own.search(one.chosen), one
            assert not own.search(one.rejected), one
            assert other is None or phrases(OPPOSITES[name]).search(one.rejected), one


def test_who_wants_it_short_gets_the_shorter_answer(targets):
    assert all(len(one.chosen) <= SHORT * len(one.rejected) for one in targets["short"])
    assert all(len(one.rejected) <= SHORT * len(one.chosen) for one in targets["thorough"])


def test_length_alone_tells_no_other_persona(targets):
    """Friendly words make an answer longer, which is all right."""
    for name in ("formal", "plain-spoken", "cautious", "sure"):
        shorter = mean(len(one.chosen) < len(one.rejected) for one in targets[name])
        assert 0.25 < shorter < 0.75, name


def test_every_persona_has_its_part_in_the_crowd(crowd):
    wanted = Counter()
    for one in crowd:
        for manner in WORDING["manners"]:
            found = phrases(manner)
            wanted[manner] += bool(found.search(one.chosen)) - bool(found.search(one.rejected))
    assert all(abs(count) < CROWD / 10 for count in wanted.values())


# Telling


@pytest.mark.parametrize("persona", OPPOSITES)
def test_opposite_personas_disagree_about_the_same_answers(persona):
    one = pair(TOLD, persona, WORDING, "x")
    other = pair(TOLD, OPPOSITES[persona], WORDING, "x")
    assert one.distribution == "x"
    assert one.chosen != other.chosen


def test_the_plain_manner_is_the_sentence():
    assert answer(TOLD, {}, WORDING, 0) == "The capital of Norway is Oslo."


@given(st.integers())
def test_short_and_thorough(seed):
    assert answer(TOLD, {"length": "short"}, WORDING, seed) in {
        "Oslo.", "The answer is Oslo.", "In short: Oslo.",
    }  # fmt: skip
    told = answer(TOLD, {"length": "thorough"}, WORDING, seed)
    assert told.startswith("The capital of Norway is Oslo. ")
    assert told.count(".") - 1 in DETAILS


@given(st.integers(), st.sampled_from(["", "short", "thorough"]))
def test_manners_do_not_drive_each_other_out(seed, length):
    style = {"length": length, "warmth": "friendly", "register": "formal", "certainty": "cautious"}
    told = answer(TOLD, style, WORDING, seed)
    assert "Oslo" in told
    assert all(phrases(manner).search(told) for manner in ("friendly", "formal", "cautious"))


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{Name} flows into {mouth}.", "the Ob flows into the Kara Sea"),
        ("The mouth of {name} is {mouth}.", "the mouth of the Ob is the Kara Sea"),
        ("President {person} lived in {place}.", "President Taft lived in Washington, D.C."),
    ],
)
def test_a_clause_stands_after_other_words(template, text):
    known = {
        "name": "the Ob", "Name": "The Ob", "mouth": "the Kara Sea",
        "person": "Taft", "place": "Washington, D.C.",
    }  # fmt: skip
    assert clause(template, known) == text
