"""HotpotQA in both its shapes, and the real slices."""

import pytest
from pydantic import ValidationError

from lmtools.data.reader import HotpotRecord, context_passages, zipped_pairs
from lmtools.data.readers.hotpotqa import question
from lmtools.data.records import Passage, Question
from lmtools.data.sources import check_questions, load_passages, load_questions

ORIGINAL = {
    "_id": "5a8b",
    "question": "What show does a retired player host?",
    "answer": "NBA Inside Stuff",
    "type": "bridge",
    "level": "medium",
    "supporting_facts": [["2003–04 Orlando Magic season", 2], ["Grant Hill", 0], ["Grant Hill", -1]],
    "context": [["Grant Hill", ["Grant Henry Hill is a host.", " He played.", ""]], ["", ["Nothing."]]],
}
HUB = {
    **{key: ORIGINAL[key] for key in ("question", "answer", "type", "level")},
    "id": "5a8b",
    "supporting_facts": {
        "title": ["2003–04 Orlando Magic season", "Grant Hill", "Grant Hill"],
        "sent_id": [2, 0, -1],
    },
    "context": {
        "title": ["Grant Hill", ""],
        "sentences": [["Grant Henry Hill is a host.", " He played.", ""], ["Nothing."]],
    },
}


@pytest.mark.parametrize("value", [ORIGINAL, HUB], ids=["original", "hub"])
def test_both_shapes_give_the_same(value):
    record = HotpotRecord.model_validate(value)
    assert list(question(record)) == [
        Question(
            id="5a8b",
            question="What show does a retired player host?",
            answer="NBA Inside Stuff",
            supporting=("2003–04 Orlando Magic season", "Grant Hill"),
            kind="bridge",
        )
    ]
    assert list(context_passages(record)) == [
        Passage(id="Grant Hill", title="Grant Hill", text="Grant Henry Hill is a host. He played."),
        Passage(id="untitled", title="", text="Nothing."),
    ]


def test_a_type_that_is_not_known_is_no_kind():
    record = HotpotRecord.model_validate({**ORIGINAL, "type": None})
    assert next(question(record)).kind == ""


@pytest.mark.parametrize(
    "facts", [[["T"]], [["T", "x"]], [["T", 0, 1]], "T", {"title": ["T"], "sent_id": []}, [3]]
)
def test_facts_of_another_shape_are_rejected(facts):
    with pytest.raises(ValidationError):
        HotpotRecord.model_validate({**ORIGINAL, "supporting_facts": facts})


def test_pairs_of_columns_of_different_length_are_left_for_the_model():
    value = {"title": ["a", "b"], "sent_id": [0]}
    assert zipped_pairs(value) is value


def test_the_real_slices(shared_data):
    train = load_questions(str(shared_data / "hotpotqa" / "train.json"))
    dev = load_questions(str(shared_data / "hotpotqa" / "dev.json"))
    assert (len(train), len(dev)) == (600, 1439)
    assert {len(question.supporting) for question in train + dev} == {2}
    assert {question.kind for question in train} == {"bridge", "comparison"}
    assert sum(question.kind == "" for question in dev) == 176
    corpus = load_passages(str(shared_data / "wiki" / "corpus.jsonl"))
    assert len(corpus) == 49_324
    check_questions(train + dev, {passage.title for passage in corpus})


def test_contexts_of_the_real_slice_hold_the_gold_pages(shared_data):
    source = str(shared_data / "hotpotqa" / "train.json")
    corpus = load_passages(source)
    check_questions(load_questions(source), {passage.title for passage in corpus})
    assert len({passage.id for passage in corpus}) == len(corpus)
    assert len({(passage.title, passage.text) for passage in corpus}) == len(corpus)
