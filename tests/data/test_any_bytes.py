"""Whatever bytes a file has, it is read, or refused by a message that names it; what the check passes, loads.

Files of every format are written right, and then changed: cut, doubled, overwritten with what breaks parsers.
"""

import csv
import gzip
import io
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmtools.core.errors import DataError, LmtoolsError
from lmtools.data import sources
from lmtools.data.check import check, prepare
from lmtools.data.formats import READERS
from lmtools.data.records import Passage, Question
from lmtools.data.rows import iter_records, read_rows
from lmtools.data.sources import corpus_file, open_source, source_hash
from lmtools.data.tabular import load_table
from lmtools.generation.requests import read_requests
from lmtools.retrieval.corpus import open_corpus

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
PAGES = {"supporting_facts": [["T", 0]], "context": [["T", ["One.", "Two."]]]}
RECORDS = {
    "2wiki": {"_id": "a", "question": "Who?", **PAGES, "evidences": [["T", "x", "U"]]},
    "hotpotqa": {"_id": "a", "question": "Who?", "answer": "B", **PAGES},
    "hover": {"uid": "a", "claim": "So.", "supporting_facts": [["T", 0]], "num_hops": 2},
    "musique": {
        "id": "a", "question": "Who?", "answer": "B",
        "paragraphs": [{"idx": 0, "title": "T", "paragraph_text": "x", "is_supporting": True}],
        "question_decomposition": [{"paragraph_support_idx": 0}],
    },
    "golden_answers": {"id": "a", "question": "Who?", "golden_answers": ["B"], "metadata": {"prop": "p"}},
    "popqa": {"id": 1, "question": "Who?", "possible_answers": '["B"]'},
    "truthfulqa-mc": {"question": "Why?", "mc1_targets": {"So.": 1, "No.": 0}},
    "truthfulqa": {
        "Question": "Why?", "Best Answer": "So.", "Correct Answers": "So.", "Incorrect Answers": "No.; Not.",
    },
    "truthfulqa-hub": {
        "question": "Why?", "best_answer": "So.", "correct_answers": ["So."], "incorrect_answers": ["No."],
    },
    "mmlu": {"id": "a", "question": "Why?", "A": "w", "B": "x", "C": "y", "D": "z", "answer": "B"},
    "arc": {
        "id": "a", "question": "Why?", "choices": {"text": ["x", "y"], "label": ["A", "B"]}, "answerKey": "B",
    },
    "arc-original": {
        "id": "a", "answerKey": "2",
        "question": {"stem": "Why?", "choices": [{"text": "x", "label": 1}, {"text": "y", "label": 2}]},
    },
    "openbookqa": {
        "id": "a", "question_stem": "Why", "answerKey": "A",
        "choices": {"text": ["x", "y"], "label": ["A", "B"]},
    },
    "llmbar": {"input": "Do.", "output_1": "x", "output_2": "y", "label": 2},
    "rm-bench": {"prompt": "Hi", "chosen": ["a", "b"], "rejected": ["c", "d"], "domain": "chat"},
    "reward-bench": {"prompt": "Hi", "chosen": "a", "rejected": "b", "subset": "chat"},
    "hh-rlhf": {"chosen": "Human: Hi\n\nAssistant: A.", "rejected": "Human: Hi\n\nAssistant: B."},
    "preferences": {"id": "a", "prompt": TURNS[:1], "chosen": TURNS[1:], "rejected": "No."},
    "alpaca": {"instruction": "Say it.", "input": "x", "output": "It."},
    "instructions": {"prompt": "Hi", "completion": "Hello."},
    "messages": {"messages": TURNS},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
    "choices": {"id": "a", "question": "Which?", "choices": ["x", "y"], "answer": 1, "subject": "s"},
    "truthful": {"id": "a", "question": "Why?", "answer": "So.", "incorrect": ["No."]},
    "corpus": {"id": "a", "title": "T", "text": "x"},
    "questions": {"id": "a", "question": "Who?", "answer": "B", "aliases": ["C"], "supporting": ["T"]},
    "beir-queries": {"_id": "a", "text": "Who?"},
    "pyserini": {"id": "a", "contents": "T\nx"},
}  # fmt: skip
"""A record of each format."""


def read_all(source: str, folder) -> None:
    """Check a source; what passes must load, to the same number of records, and be written as JSONL."""
    report = check(source)
    counts = {
        "questions": report.questions, "corpus": report.passages, "instructions": report.instructions,
        "choices": report.choices, "truthful": report.truthful, "preferences": report.preferences,
    }  # fmt: skip
    for kind, count in counts.items():
        if count:
            opened = open_source(source, kind)
            assert opened.reader.name == report.format or kind in opened.reader.makes
            load = getattr(sources, f"load_{'passages' if kind == 'corpus' else kind}")
            assert len(load(source)) == count
            if kind != "truthful":
                out = folder / "out.jsonl"
                written = prepare(source, kind, out).written
                assert written <= count
                assert check(str(out)).records == written
    assert len(source_hash(source)) == 64


def told(read, *names: str) -> None:
    """``read()`` ends, or fails with a message that names the file and says what to do."""
    try:
        read()
    except LmtoolsError as error:
        refusal = error
    else:
        return
    assert any(name in refusal.message for name in names), refusal.message
    assert refusal.fix
    assert len(refusal.message) < 10_000


def csv_bytes(record, delimiter=",") -> bytes:
    cells = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.items()}
    text = io.StringIO()
    writer = csv.DictWriter(text, cells, delimiter=delimiter)
    writer.writeheader()
    writer.writerow(cells)
    return text.getvalue().encode()


def parquet_bytes(records) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), sink)
    return sink.getvalue()


def files() -> dict[str, bytes]:
    """Right files of every form."""
    lines = {name: json.dumps(record).encode() + b"\n" for name, record in RECORDS.items()}
    question, passage = RECORDS["questions"], RECORDS["corpus"]
    two = lines["corpus"] + lines["corpus"].replace(b'"a"', b'"b"')
    return {
        **{f"{name}.jsonl": line for name, line in lines.items()},
        **{f"{name}.json": json.dumps([record], indent=1).encode() for name, record in RECORDS.items()},
        "c.csv": csv_bytes(passage),
        "q.csv": csv_bytes(question),
        "semi.csv": csv_bytes(question, ";"),
        "choices.tsv": csv_bytes(RECORDS["choices"], "\t"),
        "python.csv": b"id,question,choices,answer\r\n1,Which?,\"['a', 'b']\",0\r\n",
        "cr.csv": csv_bytes(passage).replace(b"\r\n", b"\r"),
        "cr.jsonl": two.replace(b"\n", b"\r"),
        "crlf.jsonl": two.replace(b"\n", b"\r\n"),
        "bom.jsonl": b"\xef\xbb\xbf" + two,
        "c.jsonl.gz": gzip.compress(two),
        "c.jsonl.zst": pa.compress(two, codec="zstd", asbytes=True),
        "utf16.jsonl": two.decode().encode("utf-16"),
        "utf16be.jsonl": two.decode().encode("utf-16-be"),
        "utf32.csv": csv_bytes(passage).decode().encode("utf-32"),
        "q.parquet": parquet_bytes([question, {**question, "id": "b", "answer": None}]),
        "arc.parquet": parquet_bytes([RECORDS["arc"]]),
        "mmlu_test.csv": b"Why?,w,x,y,z,B\nWho?,w,x,y,z,A\n",
    }


FILES = files()


@pytest.mark.parametrize("name", FILES)
def test_right_files_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    read_all(str(tmp_path / name), tmp_path)


def test_every_format_is_tried():
    assert set(RECORDS) == {reader.name for reader in READERS}
    for name in RECORDS:
        assert f"{name}.jsonl" in FILES


ODD = [
    b"", b"\x00", b"\xff", b"\xed\xa0\x80", b'"', b"'", b"{", b"}", b"[" * 300, b"]", b"[" * 3000, b"null",
    b"NaN", b"1e999", b"9" * 400, b"9" * 5000, b"-1", b"1.0", b"true", b'"\\ud800"', b'"\\u0000"', b"\\",
    b"\r", b"\n", b"\r\n", b"\t", b",", b";", b"|", b"\xe2\x80\xa8", b"\xef\xbb\xbf", b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd", b"PAR1", b"\xff\xfe", b"\x1b]52;c;", b"[]", b"{}", b'""', b"['a' 'b']", b" ",
]  # fmt: skip
edits = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(ODD) | st.binary(max_size=6)),
    min_size=1,
    max_size=4,
)


def edited(data: bytes, changes) -> bytes:
    for where, removed, inserted in changes:
        place = int(where * len(data))
        data = data[:place] + inserted + data[place + removed :]
    return data


@given(st.sampled_from(sorted(FILES)), edits)
def test_changed_files_are_read_or_refused(tmp_path_factory, name, changes):
    folder = tmp_path_factory.mktemp("changed")
    path = folder / name
    path.write_bytes(edited(FILES[name], changes))
    told(lambda: read_all(str(path), folder), str(path), str(folder / "out.jsonl"))
    told(lambda: list(read_rows(path).rows), str(path))


@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.csv", "x.json", "x.parquet", "x.gz"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("any")
    (folder / name).write_bytes(data)
    told(lambda: read_all(str(folder / name), folder), str(folder / name))


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4)
    | st.sampled_from(["\u2028", "\x1b[2J", " ", "0", "B", "[", "1.0", 2**53, 10**400, 1.0, 1.5, "x" * 5000])
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "label", "type", "title", "role", "content"]), inner)
        | inner.map(lambda value: [[value]])
    ),
    max_leaves=6,
)


def paths(value, path=()):
    """Where the parts of a JSON value are."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def replaced(value, path, new):
    """A JSON value with another part in one place."""
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(copy[path[0]], path[1:], new)
    return copy


@given(st.data(), st.sampled_from(sorted(RECORDS)), st.sampled_from(["jsonl", "json", "parquet"]))
def test_any_value_in_any_field_is_read_or_refused(tmp_path_factory, data, name, form):
    record = RECORDS[name]
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from([path for path in paths(record) if path]))
        record = replaced(record, place, data.draw(values))
    folder = tmp_path_factory.mktemp("value")
    path = folder / f"x.{form}"
    if form == "parquet":
        try:
            path.write_bytes(parquet_bytes([record]))
        except (pa.ArrowException, OverflowError, UnicodeError):  # what a table cannot hold
            return
    else:
        path.write_text(json.dumps([record] if form == "json" else record))
    told(lambda: read_all(str(path), folder), str(path), str(folder / "out.jsonl"))


@given(st.sampled_from(["corpus.jsonl", "cr.jsonl", "utf16.jsonl", "bom.jsonl", "c.jsonl.zst"]), edits)
@example("cr.jsonl", [(0.0, 0, b"")])
def test_a_corpus_that_passes_is_searched_as_it_was_checked(tmp_path_factory, name, changes):
    folder = tmp_path_factory.mktemp("corpus")
    path = folder / name
    path.write_bytes(edited(FILES[name], changes))

    def read():
        count = check(str(path)).passages
        if count:
            corpus = open_corpus(corpus_file(str(path)))
            assert len(corpus) == count
            assert [corpus[place] for place in range(count)] == list(corpus)

    told(read, str(path))


@given(st.sampled_from(["questions", "corpus"]), edits)
def test_both_ways_to_read_jsonl_agree(tmp_path_factory, name, changes):
    path = tmp_path_factory.mktemp("ways") / "x.jsonl"
    path.write_bytes(edited(FILES[f"{name}.jsonl"] * 2, [(0.0, 0, b""), *changes]).replace(b'"a"', b'"b"', 1))

    def result(read):
        try:
            return read()
        except DataError as error:
            return re.sub(r"(faults)?\n.*", "", error.message)

    model = {"questions": Question, "corpus": Passage}[name]
    fast = result(lambda: list(iter_records(path, model)))
    if isinstance(fast, list):
        assert len(fast) == check(str(path)).records
    else:
        with pytest.raises(LmtoolsError):
            check(str(path))


@given(edits)
def test_requests_are_read_or_refused(tmp_path_factory, changes):
    path = tmp_path_factory.mktemp("requests") / "x.jsonl"
    path.write_bytes(edited(b'{"id": 1, "prompt": "Hi"}\n' + FILES["messages.jsonl"], changes))
    told(lambda: read_requests(path), str(path))


@given(st.sampled_from(["t.csv", "data.txt", "index_features.txt", "index_target.txt"]), edits)
@example("index_features.txt", [(0.0, 1, b"1e999")])
@example("index_target.txt", [(0.0, 1, b"9" * 400)])
@example("data.txt", [(0.0, 1, b"1e999")])
@example("t.csv", [(0.3, 1, b"[" * 200_000)])
def test_tables_of_numbers_are_read_or_refused(tmp_path_factory, name, changes):
    folder = tmp_path_factory.mktemp("table")
    right = {"t.csv": b"a,b\n1,2\n3,4\n", "data.txt": b"1 2 3\n4 5 6\n"}
    right |= {"index_features.txt": b"0\n1\n", "index_target.txt": b"2\n"}
    for file, data in right.items():
        (folder / file).write_bytes(edited(data, changes) if file == name else data)
    source = folder / "t.csv" if name == "t.csv" else folder

    def read():
        table = load_table(str(source))
        assert np.isfinite(table.features).all()
        assert np.isfinite(table.target).all()

    told(read, str(folder))


@given(edits)
def test_folders_are_read_or_refused(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("pairs")
    line = json.dumps({**RECORDS["preferences"], "id": 1}).encode()
    (folder / "anna.jsonl").write_bytes(line)
    (folder / "bo.jsonl").write_bytes(edited(line, changes))
    told(lambda: read_all(str(folder), folder.parent), str(folder))


DEEP = [b"[" * 200_000, b'{"a":' * 200_000, b'{"id": ' + b"[" * 200_000, b'{"id": "1", "x": ' + b"[" * 150]


@pytest.mark.parametrize("data", DEEP)
@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.csv"])
def test_depth_is_refused(tmp_path, data, name):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError):
        check(str(tmp_path / name))
