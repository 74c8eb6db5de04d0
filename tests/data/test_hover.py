"""HoVer: the claim is the question."""

from lmtools.data.readers.hover import HoverRecord, question
from lmtools.data.records import Question
from lmtools.data.sources import check_questions, load_passages, load_questions

CLAIM = {
    "uid": "5c5c",
    "claim": "English Mastiff is bigger than a breed.",
    "supporting_facts": [
        ["Griffon Bruxellois", 0],
        ["Griffon Bruxellois", 1],
        ["English Mastiff", 0],
        ["Canine", 7],
    ],
    "label": "SUPPORTED",
    "num_hops": 3,
    "hpqa_id": "5a8d",
}


def test_a_claim():
    assert list(question(HoverRecord.model_validate(CLAIM))) == [
        Question(
            id="5c5c",
            question="English Mastiff is bigger than a breed.",
            answer="SUPPORTED",
            supporting=("Griffon Bruxellois", "English Mastiff", "Canine"),
            kind="3-hop",
        )
    ]


def test_facts_as_the_hub_has_them():
    facts = [{"key": title, "value": sentence} for title, sentence in CLAIM["supporting_facts"]]
    record = HoverRecord.model_validate({**CLAIM, "supporting_facts": facts})
    assert record.supporting_facts == HoverRecord.model_validate(CLAIM).supporting_facts


def test_a_test_set_claim_has_no_gold():
    found = next(question(HoverRecord.model_validate({"uid": "a", "claim": "b"})))
    assert (found.supporting, found.answer, found.kind) == ((), "", "")


def test_the_real_slice(shared_data):
    claims = load_questions(str(shared_data / "hover" / "dev.json"))
    assert len(claims) == 200
    assert {claim.kind for claim in claims} == {"2-hop", "3-hop", "4-hop"}
    assert all(len(claim.supporting) == int(claim.kind[0]) for claim in claims)
    corpus = load_passages(str(shared_data / "wiki" / "corpus.jsonl"))
    check_questions(claims, {passage.title for passage in corpus})
