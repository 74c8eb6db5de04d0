"""The explorers that are no model: what they propose, and that no text trips them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.leret.prompts import PassageText, clean_query
from lmtools.leret.rules import RULES, bare_title, candidates, leftover, phrases, propose, stem

QUESTION = "In which country is the town where the painter Anna Berg was born?"
ANNA = PassageText("Anna Berg", "Anna Berg (1901-1980) was a painter born in Lund.")
LUND = PassageText("Lund (city)", "Lund is a city in Sweden.")
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
SHOWN = st.lists(st.builds(PassageText, TEXT, TEXT), max_size=4)


def queries(rule, question, *passages, limit=24):
    return [proposal.query for proposal in propose(rule, question, passages, limit)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The film was directed by Joby Harold, in 2007.", ["Joby Harold", "2007"]),
        ("He wrote The Lord of the Rings there.", ["The Lord of the Rings"]),
        ("by J. R. R. Tolkien", ["J. R. R. Tolkien"]),
        ("Paris, then Paris again", ["Paris"]),
        ("nothing here", []),
        ("It is.", []),
    ],
)
def test_phrases(text, found):
    assert phrases(text) == found


def test_leftover_drops_what_was_found_by_stem():
    assert leftover("painters born where", [ANNA]) == "where"
    assert leftover("painter born", [ANNA]) == ""
    assert leftover("painter born", []) == "painter born"


def test_bare_title():
    assert bare_title("Awake (film)") == "Awake"
    assert bare_title("Awake (film) again") == "Awake (film) again"


def test_candidates_are_titles_then_names_of_passages_then_of_the_question():
    found = candidates(QUESTION, [LUND, ANNA])
    assert found[:2] == ["Lund", "Anna Berg"]
    assert "Sweden" in found
    assert len(found) == len(set(found))


def test_what_each_rule_proposes():
    assert queries("question", QUESTION, ANNA) == [QUESTION]
    assert queries("drop-word", "river in Paris") == ["in Paris", "river in"]
    assert queries("leftover", "town of Anna Berg", ANNA, LUND) == ["town of"]
    assert queries("question+title", "why?", ANNA, LUND) == ["why? Anna Berg", "why? Lund"]
    assert queries("phrase", "why?", LUND)[0] == "Lund"
    assert queries("phrase+leftover", "country of the painter", ANNA)[0] == "Anna Berg country of the"
    assert queries("question+phrase", "why?", LUND)[0] == "why? Lund"


def test_a_proposal_names_the_phrase_it_is_built_around():
    by_phrase = propose("question+phrase", "why?", [LUND], 5)
    assert [proposal.phrase for proposal in by_phrase][:1] == ["Lund"]
    assert {proposal.phrase for proposal in propose("drop-word", "river in Paris", [], 5)} == {""}


def test_stems_join_forms_of_a_word():
    assert stem("Rivers") == stem("river")


@pytest.mark.parametrize("rule", RULES)
@given(question=TEXT, passages=SHOWN, limit=st.integers(1, 6))
def test_any_text_gives_few_distinct_repeatable_queries(rule, question, passages, limit):
    proposals = propose(rule, question, passages, limit)
    assert proposals == propose(rule, question, passages, limit)
    assert len(proposals) <= limit
    texts = [proposal.query for proposal in proposals]
    assert all(text.strip() for text in texts)
    assert len(texts) == len(set(texts))


@given(TEXT, SHOWN)
def test_leftover_is_made_of_the_questions_words(question, passages):
    rest = leftover(question, passages)
    assert all(word in question for word in rest.split())
    assert leftover(rest, passages) == rest


@pytest.mark.parametrize("rule", RULES)
@given(question=TEXT, passages=SHOWN)
def test_a_models_query_of_the_same_text_would_be_read_as_the_same(rule, question, passages):
    texts = [proposal.query for proposal in propose(rule, question, passages, 9)]
    assert [clean_query(text) for text in texts] == texts


def test_a_question_of_several_lines_is_one_query():
    assert queries("question", ' "Lund"\n or\u2028"Oslo" ') == ['"Lund" or "Oslo"']
