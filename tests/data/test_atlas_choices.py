"""The bundled multiple-choice questions: right by the tables, wrong otherwise, and balanced."""

from collections import Counter

import pytest
from atlas.choices import OPTIONS, PARTS, askable, choice_questions
from atlas.facts import FactIndex
from atlas.statements import Claims, alike, in_turn, within
from hypothesis import given
from hypothesis import strategies as st

from lmtools.data.sources import load_choices

SOURCES = {"test": "atlas:choices", "dev": "atlas:choices.dev"}


@pytest.fixture(scope="module")
def claims(atlas):
    return Claims(FactIndex(atlas))


@pytest.fixture(scope="module")
def parts(claims):
    return choice_questions(claims)


def claim(claims, kind: str, name: str, field: str):
    return next(c for c in claims.by_kind[kind] if c.entity.name == name and c.statement.field == field)


def test_the_bundled_questions_are_the_posed_ones(parts):
    for part, source in SOURCES.items():
        assert load_choices(source) == [one.question for one in parts[part]]


def test_every_kind_has_its_share_and_every_place_is_right_equally_often(claims, parts):
    for part, size in PARTS.items():
        questions = [one.question for one in parts[part]]
        assert Counter(q.subject for q in questions) == dict.fromkeys(claims.by_kind, size)
        assert set(Counter(q.answer for q in questions).values()) == {len(questions) // OPTIONS}


def test_no_thing_is_asked_about_twice(parts):
    things = Counter(str(one.claim.entity) for found in parts.values() for one in found)
    assert max(things.values()) == 1
    assert len({one.question.id for found in parts.values() for one in found}) == 500


def test_the_marked_choice_is_true_and_no_other_is(atlas, claims, parts):
    for one in (one for found in parts.values() for one in found):
        question, statement = one.question, one.claim.statement
        entities = [e for e in atlas.kinds[question.subject] if statement.field in claims.index.of(e)]
        own = one.claim.facts[statement.field]
        for place, choice in enumerate(question.choices):
            facts = [claims.index.of(e) for e in entities]
            meant = [f for f in facts if statement.answer.format_map(f) == choice]
            assert meant, question.id
            right = (
                any(f[statement.field] == own for f in meant)
                if statement.turned
                else choice == one.claim.value
            )
            assert right == (place == question.answer), question.id


def test_a_question_neither_names_its_answer_nor_repeats_a_choice(parts):
    for question in (one.question for found in parts.values() for one in found):
        assert len(set(map(str.lower, question.choices))) == OPTIONS
        assert not any(within(choice, question.question) for choice in question.choices), question.id


def test_wrong_answers_come_first_from_those_who_are_near(atlas, claims):
    asked = claim(claims, "country", "Norway", "capital")
    region = atlas.get("country", "Norway").keys["region"]
    near = {
        claims.index.of(e)["capital"]
        for e in atlas.kinds["country"]
        if e.keys["region"] == region and e.name != "Norway"
    }
    assert near
    assert {rival.value for rival in claims.rivals(asked)[: len(near)]} == near


def test_a_river_of_the_same_country_is_no_wrong_answer(claims):
    asked = claim(claims, "city", "Strasbourg", "river")
    assert {rival.facts["country"] for rival in claims.rivals(asked)}.isdisjoint({"France"})


def test_what_gives_itself_away_is_not_asked(claims):
    mexico = claim(claims, "country", "Mexico", "capital")
    assert mexico.value == "Mexico City"
    assert not askable(mexico, claims.rivals(mexico))
    assert not askable(mexico, [])


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ("1997", "1998", True),
        ("1990", "1998", False),
        ("the Alps", "Bernese Alps", True),
        ("N", "Ne", False),
        ("London", "Chelsea, London", True),
        ("3475 metres", "3479 metres", False),
    ],
)
def test_what_may_both_be_right(one, two, same):
    assert alike(one, two) == alike(two, one) == same


@given(st.dictionaries(st.text(max_size=2), st.lists(st.integers(), max_size=4), max_size=4))
def test_in_turn_keeps_everything_once_and_each_groups_order(groups):
    tagged = {key: [(key, place, item) for place, item in enumerate(items)] for key, items in groups.items()}
    found = list(in_turn(tagged))
    assert sorted(found) == sorted(item for items in tagged.values() for item in items)
    assert [place for _, place, _ in found] == sorted(place for _, place, _ in found)
