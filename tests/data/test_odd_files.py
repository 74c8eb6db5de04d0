"""Files as other programs write them: every value that is right, and what is refused by its name."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data import locations, sources
from lmtools.data.check import check, prepare
from lmtools.data.records import MultipleChoice, Passage, Preference, Question, Turn
from lmtools.data.rows import listed, read_passages
from lmtools.data.sources import (
    corpus_file,
    load_choices,
    load_instructions,
    load_passages,
    load_preferences,
    load_questions,
    load_targets,
    source_hash,
)
from lmtools.retrieval.corpus import open_corpus

PASSAGES = [Passage(id="1", title="Malmö", text="A town."), Passage(id="2", title="Lund", text="Another.")]
LINES = b"".join(
    json.dumps({"id": each.id, "title": each.title, "text": each.text}, ensure_ascii=False).encode() + b"\n"
    for each in PASSAGES
)
TABLE = "id;title;text\n1;Malmö;A town.\n2;Lund;Another.\n"


@pytest.fixture
def write(tmp_path):
    def write(name: str, data) -> str:
        path = tmp_path / name
        if isinstance(data, bytes):
            path.write_bytes(data)
        elif name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(data), path)
        else:
            write_jsonl(path, data)
        return str(path)

    return write


def refusal(read, source: str) -> str:
    with pytest.raises(DataError) as caught:
        read(source)
    return str(caught.value).replace(source, "FILE")


# What a file is wrapped in.

WRAPPED = {
    "gzip": gzip.compress(LINES),
    "two gzips": gzip.compress(LINES[:20]) + gzip.compress(LINES[20:]),
    "zstd": pa.compress(LINES, codec="zstd", asbytes=True),
    "a mark": b"\xef\xbb\xbf" + LINES,
    "UTF-16": LINES.decode().encode("utf-16"),
    "UTF-16, big end first": LINES.decode().encode("utf-16-be"),
    "UTF-16 without a mark": LINES.decode().encode("utf-16-le"),
    "UTF-32": LINES.decode().encode("utf-32"),
    "UTF-16 in gzip": gzip.compress(LINES.decode().encode("utf-16")),
    "CR": LINES.replace(b"\n", b"\r"),
    "CR LF": LINES.replace(b"\n", b"\r\n"),
    "CR in zstd": pa.compress(LINES.replace(b"\n", b"\r"), codec="zstd", asbytes=True),
    "semicolons": TABLE.encode(),
    "tabs": TABLE.replace(";", "\t").encode(),
    "commas and CR": TABLE.replace(";", ",").replace("\n", "\r").encode(),
    "semicolons in UTF-16": TABLE.encode("utf-16"),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_corpus_reads_the_same_in_every_wrapping(write, name):
    source = write("c.txt", WRAPPED[name])
    assert check(source).passages == 2
    assert load_passages(source) == PASSAGES
    assert list(open_corpus(corpus_file(source))) == PASSAGES


@pytest.mark.parametrize("name", ["zstd", "UTF-16", "CR", "CR in zstd", "a mark"])
def test_jsonl_in_a_wrapping_is_a_corpus_of_its_own(tmp_path, write, name):
    write("c.jsonl", WRAPPED[name])
    assert read_passages(tmp_path / "c.jsonl") == PASSAGES
    corpus = open_corpus(tmp_path / "c.jsonl")
    assert [corpus[0], corpus[1]] == PASSAGES


def test_a_carriage_return_among_line_feeds_is_white_space(write):
    source = write("c.jsonl", LINES.replace(b"{", b"{\r"))
    assert load_passages(source) == PASSAGES


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(LINES * 50)[:-9], "FILE: damaged gzip"),
        (gzip.compress(LINES)[:20] + b"x" * 30, "FILE: damaged gzip"),
        (pa.compress(LINES * 50, codec="zstd", asbytes=True)[:-9], "FILE: damaged zstd"),
        (b"\x28\xb5\x2f\xfd" + b"\xff" * 40, "FILE: damaged zstd"),
        (gzip.compress(b"\0" * (1 << 26), 9), "FILE: 65,"),
        (pa.compress(b"[" + b" " * (1 << 26), codec="zstd", asbytes=True), "FILE: 2,"),
        (gzip.compress(gzip.compress(LINES)), "FILE: a gzip archive in another"),
        (LINES.decode().encode("utf-16")[:-3], "FILE: UTF-16 text that is damaged"),
        (b"PK\x03\x04" + b"x" * 40, "FILE: a zip archive"),
        (b"PAR1" + b"x" * 40, "FILE: a Parquet file that cannot be read"),
    ],
    ids=range(10),  # what is compressed tells the time, and ids must not
)
def test_what_is_damaged_or_foreign_is_named(write, data, message):
    assert refusal(load_passages, write("c.jsonl", data)).startswith(message)
    assert refusal(check, write("c.jsonl", data)).startswith(message)


def test_a_line_without_end_is_refused_before_it_fills_the_memory(write, monkeypatch):
    monkeypatch.setattr("lmtools.data.stream.MAX_LINE", 1000)
    assert "a line of more than" in refusal(load_passages, write("c.jsonl", LINES + b"{" + b" " * 2000))


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/null", "~nobody-of-that-name/x", "x" * 5000, "a\0b"])
def test_what_can_be_no_file_is_said(source):
    assert "cannot be read" in refusal(load_passages, source)
    assert "cannot be read" in refusal(check, source)


# Parquet.


def test_a_parquet_file_and_a_folder_of_shards(tmp_path, write):
    values = [{"id": place, "title": f"T{place}", "text": "x"} for place in range(5)]
    assert [each.id for each in load_passages(write("c.parquet", values))] == list("01234")
    (tmp_path / "shards").mkdir()
    write("shards/train-00000-of-00002.parquet", values[:3])
    write("shards/train-00001-of-00002.parquet", values[3:])
    folder = str(tmp_path / "shards")
    assert [each.id for each in load_passages(folder)] == list("01234")
    assert check(folder).passages == 5
    assert len(open_corpus(corpus_file(folder))) == 5
    first = source_hash(folder)
    write("shards/train-00001-of-00002.parquet", values[2:4])
    assert source_hash(folder) != first
    assert "train-00001-of-00002.parquet:record 1: id: '2' is the id of record 3" in refusal(check, folder)
    write("shards/test-00000-of-00001.parquet", values)
    assert "several splits: test, train" in refusal(load_passages, folder)


def test_types_that_json_lacks_and_class_labels(tmp_path):
    import datetime
    import decimal

    import datasets

    table = {
        "uid": ["a", "b"], "claim": [b"So.", b"No."], "label": [1, -1], "num_hops": [2.0, None],
        "when": [datetime.datetime(2020, 1, 1)] * 2, "price": [decimal.Decimal("1.5")] * 2,
        "supporting_facts": [[{"key": "T", "value": 0}]] * 2,
    }  # fmt: skip
    dataset = datasets.Dataset.from_dict(table)
    dataset = dataset.cast_column("label", datasets.ClassLabel(names=["NOT", "SUPPORTED"]))
    dataset.to_parquet(str(tmp_path / "h.parquet"))
    first, second = load_questions(str(tmp_path / "h.parquet"))
    assert first == Question(id="a", question="So.", answer="SUPPORTED", supporting=("T",), kind="2-hop")
    assert (second.answer, second.kind) == ("", "")


# Nulls and whole numbers.

NULLS = {
    "questions": {"id": "1", "question": "Who?", "answer": None, "aliases": None, "supporting": ["A"]},
    "preferences": {"prompt": "Hi", "chosen": "A", "rejected": "B", "distribution": None, "id": None},
    "instructions": {
        "messages": [
            {"role": "user", "content": "hi", "tool_calls": None}, {"role": "assistant", "content": "ho"}
        ],
        "prompt": None, "completion": None,
    },
    "choices": {"id": "1", "question": "Which?", "choices": ["a", "b"], "answer": 0, "subject": None},
    "truthful": {"id": "1", "question": "Who?", "answer": None, "incorrect": ["B"], "kind": None},
    "alpaca": {"instruction": "Say hi", "input": None, "output": "hi"},
    "musique": {
        "id": "1", "question": "Who?", "answer": None, "question_decomposition": None,
        "paragraphs": [{"idx": 0, "title": "T", "paragraph_text": "x", "is_supporting": None}],
    },
    "popqa": {"id": 7, "question": "Who?", "golden_answers": None, "possible_answers": ["B"], "prop": None},
    "hover": {"uid": "1", "claim": "So", "supporting_facts": None, "label": None, "num_hops": None},
}  # fmt: skip
"""A record of each kind with a null in every optional field."""


@pytest.mark.parametrize("name", NULLS)
@pytest.mark.parametrize("form", ["jsonl", "parquet", "hub"])
def test_a_null_is_an_absent_field_in_every_source(write, monkeypatch, name, form):
    record = NULLS[name]
    fields = {key: value for key, value in record.items() if value is not None}
    if form == "hub":
        monkeypatch.setattr(locations, "load_hub", lambda source: [record])
    source = "hf:x/y" if form == "hub" else write(f"n.{form}", [record])
    report, without = check(source), check(write("w.jsonl", [fields]))
    assert report.counts() == without.counts()
    assert report.format == without.format
    kinds = ("questions", "preferences", "instructions", "choices")
    kind = next(kind for kind in kinds if getattr(report, kind))
    load = getattr(sources, f"load_{kind}")
    assert load(source) == load(write("w.jsonl", [fields]))


def test_a_null_where_a_value_must_be_is_said(write):
    assert refusal(load_questions, write("q.jsonl", [{"id": "1", "question": None}])).startswith(
        "FILE:1: question: is null\n  fix: give it a value"
    )


@pytest.mark.parametrize(
    ("id", "text"), [(1, "1"), (-3, "-3"), (1.0, "1"), (2**63, str(2**63)), ("1.0", "1.0")]
)
def test_a_whole_number_is_an_id(write, id, text):
    assert load_questions(write("q.jsonl", [{"id": id, "question": "Who?"}]))[0].id == text
    assert read_passages_of(write("c.jsonl", [{"_id": id, "title": "T", "text": "x"}])) == [text]
    pair = {"id": id, "prompt": "Hi", "chosen": "a", "rejected": "b", "distribution": id}
    assert list(load_targets(write("p.jsonl", [pair]))) == [text]


def read_passages_of(source: str) -> list[str]:
    return [passage.id for passage in load_passages(source)]


@pytest.mark.parametrize("id", [1.5, True, 1e300, [1], {"a": 1}, ""])
def test_other_values_are_no_id(write, id):
    assert ":1: id: " in refusal(load_questions, write("q.jsonl", [{"id": id, "question": "Who?"}]))


def test_ids_that_are_the_same_as_text_are_the_same(write):
    records = [{"id": id, "question": "Who?"} for id in (1, "1", 1.0)]
    assert "2 faults" in refusal(check, write("q.jsonl", records))


def test_numbers_of_400_digits_and_beyond_all_bounds(write):
    long = b'{"id": ' + b"9" * 400 + b', "question": "Who?", "mine": 1e999}\n'
    assert load_questions(write("q.jsonl", long))[0].id == "9" * 400
    assert "answer: " in refusal(
        load_choices,
        write("m.jsonl", b'{"id": 1, "question": "?", "choices": ["a", "b"], "answer": 1e999}'),
    )
    assert "cannot be read" in refusal(load_questions, write("q.jsonl", b'{"id": ' + b"9" * 5000 + b"}"))


# Tables.

CHOICE = MultipleChoice(id="1", question="Which?", choices=("a", "b, c"), answer=1)


@pytest.mark.parametrize(
    "cell", ['"[""a"", ""b, c""]"', "\"['a', 'b, c']\"", '"a | b, c"', '"[\'a\', ""b, c""]"']
)
@pytest.mark.parametrize("answer", ["1", "B", "1.0", " 1 "])
def test_a_table_of_choices(write, cell, answer):
    source = write("m.csv", f"id,question,choices,answer\n1,Which?,{cell},{answer}\n".encode())
    assert load_choices(source) == [CHOICE]
    assert check(source).choices == 1


def test_an_answer_that_may_mean_two_choices_is_refused(write):
    choice = {"id": "1", "question": "2 - 1?", "choices": ["1", "2"], "answer": "1"}
    assert "'1' is the text of a choice, where the place" in refusal(load_choices, write("m.jsonl", [choice]))
    assert load_choices(write("m.jsonl", [{**choice, "answer": 1}]))[0].answer == 1
    assert load_choices(write("m.jsonl", [{**choice, "choices": ["0", "1"]}]))[0].answer == 1


def test_lists_that_are_none_stay_texts():
    assert listed("['a' 'b']") == "['a' 'b']"
    assert listed("['it\\'s', \"x\", -1.5, None]") == ["it's", "x", -1.5, None]
    for text in ("[", "[]]", "['a'", "['a',]x", "[os.system]", "['a',,]", "[__import__('os')]"):
        assert listed(text) == text


def test_an_empty_cell_is_an_absent_field(write):
    table = b'uid,claim,supporting_facts,num_hops,label\na,So,"[[""T"", 0]]",,\n'
    assert refusal(load_questions, write("h.csv", table)).startswith(
        "FILE:2: supporting_facts: expected a list"
    )
    table = b"id,question,answer,aliases,supporting\n1,Who?,,,\n"
    assert load_questions(write("q.csv", table)) == [Question(id="1", question="Who?")]


def test_two_columns_of_one_name_are_a_fault(write):
    assert "two columns named 'text'" in refusal(check, write("c.csv", b"id,title,text,text\n1,a,b,c\n"))


def test_a_row_too_long_names_what_parts_the_cells(write):
    assert "parted by semicolons" in refusal(check, write("c.csv", b"id;title;text\n1;a;b;c\n"))


# Message parts, and the formats of others.

PARTS = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]


def test_the_text_parts_of_a_message_are_joined(write):
    turns = [{"role": "user", "content": PARTS}, {"role": "assistant", "content": PARTS[:1]}]
    (record,) = load_instructions(write("m.jsonl", [{"messages": turns}]))
    assert record.messages == (Turn(role="user", content="hi"), Turn(role="assistant", content="h"))
    (pair,) = load_preferences(
        write("p.jsonl", [{"prompt": turns[:1], "chosen": turns[1:], "rejected": "No"}])
    )
    assert pair == Preference(
        prompt=(Turn(role="user", content="hi"),),
        chosen=(Turn(role="assistant", content="h"),),
        rejected="No",
    )


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ({"type": "image_url", "image_url": {"url": "x"}}, "a part of type 'image_url'"),
        ({"type": "text"}, "a part without text"),
        ({"type": ["text"], "text": "x"}, "a part of type"),
        (3, "a part without text"),
    ],
)
def test_another_part_is_one_fault(write, part, problem):
    turns = [{"role": "user", "content": [*PARTS, part]}, {"role": "assistant", "content": "ho"}]
    message = refusal(check, write("m.jsonl", [{"messages": turns}]))
    assert message.startswith(f"FILE:1: messages[0].content: {problem}")
    assert message.count("FILE:1") == 1


def test_sharegpt(write):
    said = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
    values = [{"conversations": said}, {"conversations": said[:1]}, {"conversations": [*said, *said]}]
    source = write("s.jsonl", values)
    records = load_instructions(source)
    assert [len(record.messages) for record in records] == [2, 4]
    assert records[0].split() == ((Turn(role="user", content="Hi"),), "Hello.")
    assert check(source).remarks == ("1 left out: each does not end with an answer to a turn",)
    tool = {"conversations": [{"from": "tool", "value": "x"}, said[1]]}
    assert "conversations[0].from" in refusal(check, write("s.jsonl", [tool]))


def test_beir(write):
    corpus = write("corpus.jsonl", [{"_id": "a", "title": "", "text": "x", "metadata": {}}])
    assert load_passages(corpus) == [Passage(id="a", title="", text="x")]
    assert open_corpus(corpus_file(corpus))[0].id == "a"
    queries = write("queries.jsonl", [{"_id": "1", "text": "Who?"}])
    assert load_questions(queries) == [Question(id="1", question="Who?")]
    qrels = write("test.tsv", b"query-id\tcorpus-id\tscore\n1\ta\t1\n")
    assert refusal(check, qrels).startswith("FILE: BEIR relevance judgements")
    assert refusal(load_questions, qrels).startswith("FILE: BEIR relevance judgements")


def test_pyserini(write):
    contents = ['"Anna Berg"\nAnna Berg was\nborn.', "One line.", "T\nThe same title.", "T\nThe same title."]
    values = [{"id": place, "contents": text} for place, text in enumerate(contents)]
    passages = load_passages(write("c.jsonl", values))
    assert [(each.id, each.title, each.text) for each in passages] == [
        ("0", "Anna Berg", "Anna Berg was\nborn."),
        ("1", "", "One line."),
        ("2", "T", "The same title."),
        ("3", "T", "The same title."),
    ]


@pytest.mark.parametrize(("labels", "key"), [("ABC", "B"), ("123", "2"), ([1, 2, 3], 2)])
def test_arc(tmp_path, write, labels, key):
    texts = ["x", "y", "z"]
    values = [
        {"id": "1", "question": "Q?", "choices": {"text": texts, "label": list(labels)}, "answerKey": key},
        {
            "id": "2", "answerKey": key,
            "question": {
                "stem": "Q?",
                "choices": [{"text": text, "label": each} for text, each in zip(texts, labels, strict=True)],
            },
        },
        {
            "id": "3", "answerKey": key, "question_stem": "Q?",
            "choices": {"text": texts, "label": list(labels)},
        },
    ]  # fmt: skip
    for value in values:
        (record,) = load_choices(write("a.jsonl", [value]))
        assert record == MultipleChoice(id=value["id"], question="Q?", choices=("x", "y", "z"), answer=1)
    assert prepare(write("a.jsonl", values[:1]), "choices", tmp_path / "out.jsonl").written == 1
    assert "'E' is no label" in refusal(check, write("a.jsonl", [{**values[0], "answerKey": "E"}]))
    assert check(write("a.jsonl", [{**values[0], "answerKey": ""}])).choices == 0


def test_what_breaks_the_contract_once_it_is_converted_is_a_fault(write):
    task = {"instruction": " ", "output": "x"}
    assert refusal(check, write("a.jsonl", [task])).startswith("FILE:1: neither `messages` nor a prompt")
    assert refusal(load_instructions, write("a.jsonl", [task])).startswith("FILE:1: neither `messages`")
    blank = {"input": " ", "output_1": "x", "output_2": "y", "label": 1}
    assert refusal(load_preferences, write("l.jsonl", [blank])).startswith("FILE:1: the prompt is empty")
