"""The bundled instructions: many forms, sound English, true, and silent about what is asked elsewhere."""

import re
from collections import Counter

import pytest
from atlas.choices import choice_questions
from atlas.facts import FactIndex
from atlas.instructions import WORDS, leaks
from atlas.passages import templates
from atlas.statements import Claims
from atlas.tasks import FAMILIES, as_list

from lmtools.data.records import Instruction
from lmtools.data.sources import load_choices, load_instructions

HOLE = re.compile(
    r"[{}]|  |(?<!Were )None|\(\)|\bthe the\b|\?\?|(?<!\.)\.\.(?!\.)"
    r"|\ba (?:[aio]|e(?!u))|\ban (?!der )[^aeiouAEIOU\s]",
    re.IGNORECASE,
)


@pytest.fixture(scope="module")
def claims(atlas):
    return Claims(FactIndex(atlas))


@pytest.fixture(scope="module")
def bundled():
    return load_instructions("atlas:instructions")


def test_there_are_as_many_as_the_shares_say(bundled):
    wording = templates("tasks.yaml")
    assert len(bundled) == sum(wording[family]["share"] for family in FAMILIES) == 1200
    assert len({made.prompt for made in bundled}) == 1200


def test_answers_are_of_moderate_length_and_seldom_the_same(bundled):
    assert all(len(made.completion.split()) in WORDS for made in bundled)
    assert max(Counter(made.completion for made in bundled).values()) <= 4


def test_texts_show_no_hole_of_their_template(bundled):
    texts = [text for made in bundled for text in (made.prompt, made.completion)]
    assert [text for text in texts if HOLE.search(text)] == []
    assert [
        t for t in texts if t[0].islower() and not re.match(r"the |[a-z][^ ]*,|logarithms|braille", t)
    ] == []


def test_nothing_that_a_choice_question_asks_is_told(claims, bundled):
    asked = [one.claim for found in choice_questions(claims).values() for one in found]
    assert len(asked) == 500
    assert [made for made in bundled if leaks(made, asked)] == []


def test_no_question_that_is_asked_is_among_the_prompts(bundled):
    questions = {
        question.question for part in ("", ".dev") for question in load_choices(f"atlas:choices{part}")
    }
    assert [made for made in bundled if any(question in made.prompt for question in questions)] == []


def test_a_leak_needs_both_halves(claims):
    claim = next(c for c in claims.by_kind["country"] if c.entity.name == "Norway" and c.value == "Oslo")
    told = Instruction(prompt="Name a town in Norway.", completion="One of them is Oslo.")
    silent = Instruction(prompt="Name a town in Norway.", completion="One of them is Bergen.")
    assert leaks(told, [claim])
    assert not leaks(silent, [claim])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_offers_more_than_its_share(claims, family):
    wording = templates("tasks.yaml")
    made = FAMILIES[family](claims, {"groups": wording["groups"], **wording[family]})
    wanted = wording[family]["share"]
    assert sum(1 for _, _ in zip(range(wanted), made, strict=False)) == wanted


def test_verdicts_are_true_and_false_equally_often(bundled):
    verdicts = Counter(made.completion.split(".")[0] for made in bundled)
    assert 30 <= verdicts["True"] <= 60
    assert 30 <= verdicts["False"] <= 60


def test_orders_are_in_order(bundled):
    found = [made for made in bundled if re.match(r"Put these in order|Sort from oldest", made.prompt)]
    assert len(found) == 30
    for made in found:
        years = [int(year) for year in re.findall(r"\((\d+)\)", made.completion)]
        assert len(years) == 3
        assert years == sorted(years)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("numbered", "1. Rome\n2. Oslo\n3. Bern"),
        ("dashes", "- Rome\n- Oslo\n- Bern"),
        ("commas", "Rome, Oslo, Bern"),
        ("sentence", "Three of them are Rome, Oslo and Bern."),
    ],
)
def test_forms_of_lists(form, text):
    assert as_list(form, ["Rome", "Oslo", "Bern"]) == text
