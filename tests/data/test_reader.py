"""Every row becomes a record or a fault; none is lost between the two."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.data.faults import BrokenRecordsError
from lmtools.data.formats import CONTRACTS, READERS, by_name, closest, detect
from lmtools.data.records import Passage
from lmtools.data.rows import Row, Rows
from lmtools.data.sources import Tally, read_converted, unique_passages

FIELDS = sorted(
    {
        "_id",
        "id",
        "uid",
        "question",
        "claim",
        "supporting_facts",
        "context",
        "evidences",
        "paragraphs",
        "aliases",
        "golden_answers",
        "possible_answers",
        "mc1_targets",
        "Question",
        "Best Answer",
        "instruction",
        "output",
        "prompt",
        "completion",
        "messages",
        "chosen",
        "rejected",
        "subset",
        "distribution",
        "input",
        "output_1",
        "output_2",
        "label",
        "choices",
        "answer",
        "incorrect",
    }
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["title", "idx"]), inner),
    max_leaves=6,
)


@given(
    st.sampled_from(READERS),
    st.lists(st.dictionaries(st.sampled_from(FIELDS), values), min_size=1, max_size=3),
)
def test_a_row_is_a_record_or_a_fault(reader, objects):
    rows = Rows("here", [Row(number, value) for number, value in enumerate(objects, start=1)])
    read, faulty = 0, set()
    try:
        for _ in read_converted(reader, rows, reader.makes, Tally()):
            read += 1
    except BrokenRecordsError as error:
        faulty = {fault.line for fault in error.faults if "is the id of" not in fault.problem}
    assert read + len(faulty) == len(objects)


def test_faults_of_rows_are_passed_on():
    rows = Rows("here", [Row(1, None), Row(2, {"id": "a", "question": "x"})], unit="record ")
    with pytest.raises(BrokenRecordsError, match="here:record 1: an object is expected, found null"):
        list(read_converted(by_name("questions"), rows, ["questions"], Tally()))


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"_id", "question", "supporting_facts", "context", "evidences"}, "2wiki"),
        ({"_id", "question", "supporting_facts", "context"}, "hotpotqa"),
        ({"uid", "claim", "supporting_facts"}, "hover"),
        ({"id", "question", "paragraphs"}, "musique"),
        ({"id", "title", "text"}, "corpus"),
        ({"id", "question"}, "questions"),
        ({"id", "question", "golden_answers", "metadata"}, "golden_answers"),
        ({"id", "question", "possible_answers", "prop"}, "popqa"),
        ({"question", "mc0_targets", "mc1_targets", "mc2_targets"}, "truthfulqa-mc"),
        ({"Category", "Question", "Best Answer", "Correct Answers", "Incorrect Answers"}, "truthfulqa"),
        ({"question", "best_answer", "correct_answers", "incorrect_answers"}, "truthfulqa-hub"),
        ({"id", "subject", "question", "A", "B", "C", "D", "answer"}, "mmlu"),
        ({"instruction", "input", "output"}, "alpaca"),
        ({"prompt", "completion"}, "instructions"),
        ({"messages"}, "messages"),
        ({"id", "question", "choices", "answer"}, "choices"),
        ({"id", "question", "answer", "incorrect"}, "truthful"),
        ({"prompt", "chosen", "rejected", "distribution"}, "preferences"),
        ({"prompt", "chosen", "chosen_model", "rejected", "rejected_model", "subset", "id"}, "reward-bench"),
        ({"chosen", "rejected"}, "hh-rlhf"),
        ({"input", "output_1", "output_2", "label"}, "llmbar"),
    ],
)
def test_formats_are_told_by_their_fields(fields, name):
    assert detect(dict.fromkeys(fields, "x")) is by_name(name)


def test_formats_of_the_same_fields_are_told_by_their_values():
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    texts = {"prompt": "Hi", "chosen": ["a", "b"], "rejected": ["c", "d"]}
    assert detect({"chosen": turns, "rejected": turns}) is by_name("preferences")
    assert detect({**texts, "subset": "chat"}) is by_name("rm-bench")
    assert detect(
        {"prompt": turns[:1], "chosen": turns[1:], "rejected": turns[1:], "subset": "x"}
    ) is by_name("preferences")


@pytest.mark.parametrize("kind", CONTRACTS)
def test_every_kind_has_a_contract_that_makes_it(kind):
    assert kind in CONTRACTS[kind].makes
    assert CONTRACTS[kind] in READERS


def test_a_record_that_could_be_either_is_what_is_wanted():
    fields = dict.fromkeys(["id", "question", "title", "text"], "x")
    assert detect(fields, "questions") is by_name("questions")
    assert detect(fields, "corpus") is by_name("corpus")


def test_unknown_fields_have_no_format_and_misspelt_ones_a_closest():
    assert detect({"foo": 1}) is None
    assert closest({"foo"}) is None
    assert closest({"id", "questoin"}) is by_name("questions")
    assert closest({"id", "titel", "txt"}) is by_name("corpus")


@given(st.lists(st.tuples(st.sampled_from(["A", "A #2", ""]), st.sampled_from("xyz")), max_size=12))
def test_pages_are_kept_once_in_order_with_ids_of_their_own(pages):
    tally = Tally()
    passages = [Passage(id="-", title=title, text=text) for title, text in pages]
    found = list(unique_passages(passages, tally))
    assert [(passage.title, passage.text) for passage in found] == list(dict.fromkeys(pages))
    assert len({passage.id for passage in found}) == len(found)
    assert sum(tally.left_out.values()) == len(pages) - len(found)
