"""2WikiMultihopQA: HotpotQA's shape, the reading order taken from the triples."""

import json

from lmtools.data.formats import detect
from lmtools.data.readers.two_wiki import TWO_WIKI, TwoWikiRecord, question
from lmtools.data.records import Passage, Question
from lmtools.data.sources import load_passages, load_questions

COMPOSITIONAL = {
    "_id": "13f5",
    "type": "compositional",
    "question": "What nationality is the director of film Move?",
    "context": [
        ["Stuart Rosenberg", ["He was an American.", " He directed."]],
        ["Move (film)", ["Move is a film."]],
    ],
    "supporting_facts": [["Stuart Rosenberg", 0], ["Move (film)", 0]],
    "evidences": [
        ["Move (film)", "director", "Stuart Rosenberg"],
        ["Stuart Rosenberg", "nationality", "American"],
    ],
    "answer": "American",
}


def test_pages_come_in_the_order_of_the_triples():
    assert list(question(TwoWikiRecord.model_validate(COMPOSITIONAL))) == [
        Question(
            id="13f5",
            question="What nationality is the director of film Move?",
            answer="American",
            supporting=("Move (film)", "Stuart Rosenberg"),
            kind="compositional",
        )
    ]


def test_pages_that_no_triple_speaks_of_come_last_as_they_were():
    value = {**COMPOSITIONAL, "evidences": [["Stuart Rosenberg", "nationality", "American"]]}
    value["supporting_facts"] = [["B", 0], ["A", 0], ["Stuart Rosenberg", 0]]
    assert next(question(TwoWikiRecord.model_validate(value))).supporting == ("Stuart Rosenberg", "B", "A")


def test_it_is_told_from_hotpotqa_by_the_triples():
    assert detect(COMPOSITIONAL) is TWO_WIKI


def test_a_file(tmp_path):
    path = tmp_path / "dev.json"
    path.write_text(json.dumps([COMPOSITIONAL]))
    assert load_questions(str(path))[0].supporting == ("Move (film)", "Stuart Rosenberg")
    assert load_passages(str(path)) == [
        Passage(id="Stuart Rosenberg", title="Stuart Rosenberg", text="He was an American. He directed."),
        Passage(id="Move (film)", title="Move (film)", text="Move is a film."),
    ]
