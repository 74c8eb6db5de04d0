"""A source by any of its names gives the same records and a hash of its content."""

import gzip
import hashlib
import json

import pytest

from lmtools.core.errors import DataError
from lmtools.data import locations
from lmtools.data.records import Passage, Question
from lmtools.data.sources import corpus_file, load_passages, load_questions, source_hash

QUESTIONS = [{"id": "a", "question": "Who?", "supporting": ["T"]}, {"id": "b", "question": "Where?"}]
PASSAGES = [{"id": "1", "title": "T", "text": "It was me."}, {"id": "2", "title": "U", "text": "Here."}]


def lines(values) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


@pytest.fixture
def write(tmp_path):
    def write(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write


def test_the_same_questions_from_every_kind_of_file(write):
    expected = [Question(id="a", question="Who?", supporting=("T",)), Question(id="b", question="Where?")]
    assert load_questions(write("q.jsonl", lines(QUESTIONS))) == expected
    assert load_questions(write("q.gz", gzip.compress(lines(QUESTIONS)))) == expected
    assert load_questions(write("q.json", json.dumps(QUESTIONS, indent=1).encode())) == expected
    assert load_questions(write("q.csv", b"id,question,supporting\na,Who?,T\nb,Where?,\n")) == expected


def test_a_limit_keeps_the_first_and_checks_the_rest(write):
    assert [question.id for question in load_questions(write("q.jsonl", lines(QUESTIONS)), limit=1)] == ["a"]
    broken = write("b.jsonl", lines([*QUESTIONS, {"id": "c"}]))
    with pytest.raises(DataError, match=r"b\.jsonl:3: question: missing"):
        load_questions(broken, limit=1)


def test_faults_of_an_array_name_the_record(write):
    with pytest.raises(DataError, match=r"q\.json:record 2: question: expected text, found a number \(3\)"):
        load_questions(write("q.json", json.dumps([QUESTIONS[0], {"id": "b", "question": 3}]).encode()))


def test_a_repeated_id_in_an_array_is_a_fault(write):
    with pytest.raises(DataError, match="record 2: id: 'a' is the id of record 1 too"):
        load_questions(write("q.json", json.dumps([QUESTIONS[0], QUESTIONS[0]]).encode()))


def test_faults_of_an_original_name_field_and_record(write):
    record = {"_id": "a", "question": "Who?", "supporting_facts": [["T", 0]], "context": [["T", ["x"]]]}
    broken = {**record, "_id": "b", "supporting_facts": [["T", "zero"]]}
    with pytest.raises(DataError) as caught:
        load_questions(write("h.json", json.dumps([record, broken]).encode()))
    assert "record 2: supporting_facts[0][1]: expected a whole number, found text ('zero')" in str(
        caught.value
    )


@pytest.mark.parametrize("depth", [300, 900])
def test_nesting_without_end_in_an_array_is_a_fault_and_no_crash(write, depth):
    deep = b'[{"id": "a", "question": "x", "aliases": ' + b"[" * depth + b"]" * depth + b"}]"
    with pytest.raises(DataError, match=r"q\.json:record 1: "):
        load_questions(write("q.json", deep))


def test_a_corpus_holds_no_questions(write):
    with pytest.raises(DataError, match="no questions in it"):
        load_questions(write("c.jsonl", lines(PASSAGES)))


def test_questions_hold_no_passages(write):
    with pytest.raises(DataError, match="no passages in it"):
        load_passages(write("q.jsonl", lines(QUESTIONS)))


def test_a_source_of_no_known_format_is_measured_by_the_contract(write):
    with pytest.raises(DataError, match=r"c\.jsonl:1: title: missing, but there is `titel`"):
        load_passages(write("c.jsonl", b'{"id": "1", "titel": "T", "body": "x"}\n'))


def test_a_format_by_name(write):
    source = write("c.jsonl", lines([{**PASSAGES[0], "question": "Who?"}]))
    assert load_questions(source, format="questions")[0].question == "Who?"
    with pytest.raises(DataError, match="unknown format 'hotpot'"):
        load_questions(source, format="hotpot")


def test_the_hash_is_that_of_the_bytes(write):
    data = lines(PASSAGES)
    assert source_hash(write("c.jsonl", data)) == hashlib.sha256(data).hexdigest()
    with pytest.raises(DataError, match="no such file"):
        source_hash("nowhere.jsonl")


def test_the_bundled_data_set_by_its_names(write, tmp_path, monkeypatch):
    write("corpus.jsonl", lines(PASSAGES))
    write("questions.dev.jsonl", lines(QUESTIONS))
    monkeypatch.setattr(locations, "bundled", lambda *parts: tmp_path / parts[-1])
    assert len(load_passages("atlas")) == 2
    assert len(load_questions("atlas:dev")) == 2
    assert corpus_file("atlas") == tmp_path / "corpus.jsonl"
    with pytest.raises(
        DataError, match="one of atlas, atlas:train, atlas:dev, atlas:test, atlas:instructions"
    ):
        load_questions("atlas:validation")


def test_a_plain_corpus_file_is_used_where_it_is(write):
    source = write("c.jsonl", lines(PASSAGES))
    assert str(corpus_file(source)) == source


@pytest.mark.parametrize("wrap", [gzip.compress, b"\xef\xbb\xbf".__add__], ids=["gzip", "byte order mark"])
def test_any_other_corpus_is_converted_once(write, wrap):
    source = write("c.jsonl", wrap(lines(PASSAGES)))
    converted = corpus_file(source)
    assert str(converted) != source
    assert [json.loads(line) for line in converted.read_text().splitlines()] == PASSAGES
    stamp = converted.stat().st_mtime_ns
    assert corpus_file(source) == converted
    assert converted.stat().st_mtime_ns == stamp


def test_a_broken_corpus_leaves_nothing_in_the_cache(write, tmp_path, monkeypatch):
    monkeypatch.setenv("LMTOOLS_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError):
        corpus_file(write("c.gz", gzip.compress(lines([*PASSAGES, {"id": "3"}]))))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_passages_of_a_csv(write):
    source = write("c.csv", b"id,title,text\n1,T,It was me.\n")
    assert load_passages(source) == [Passage(id="1", title="T", text="It was me.")]
