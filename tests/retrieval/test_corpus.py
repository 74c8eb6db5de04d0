import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.data.records import Passage
from lmtools.retrieval.corpus import FileCorpus, MemoryCorpus, id_order, inverse, line_offsets, open_corpus

words = st.text(alphabet='ab\n"\\é漢', max_size=8)


def jsonl(passages):
    return "".join(json.dumps(passage.model_dump(), ensure_ascii=False) + "\n" for passage in passages)


@pytest.fixture
def planets_file(tmp_path, planets):
    path = tmp_path / "corpus.jsonl"
    path.write_text(jsonl(planets), encoding="utf-8")
    return path


def test_file_and_memory_agree(planets_file, planets):
    in_file, in_memory = open_corpus(planets_file), open_corpus(planets)
    assert isinstance(in_file, FileCorpus)
    assert isinstance(in_memory, MemoryCorpus)
    assert list(in_file) == list(in_memory) == planets
    assert len(in_file) == len(in_memory) == 5
    assert in_file.rank.tolist() == in_memory.rank.tolist() == [0, 4, 3, 2, 1]
    for passage in planets:
        assert in_file.find(passage.id) == in_memory.find(passage.id) == passage


@given(st.dictionaries(words.filter(bool), st.tuples(words, words), min_size=1, max_size=12))
def test_every_passage_comes_back(tmp_path_factory, table):
    passages = [Passage(id=id, title=title, text=text) for id, (title, text) in table.items()]
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_text(jsonl(passages), encoding="utf-8")
    corpus = open_corpus(path)
    assert list(corpus) == passages
    assert [corpus.find(passage.id) for passage in passages] == passages


@pytest.mark.parametrize("source", ["file", "memory"])
def test_unknown_id(source, planets_file, planets):
    corpus = open_corpus(planets_file if source == "file" else planets)
    with pytest.raises(DataError, match="no passage with the id '77'"):
        corpus.find("77")


def test_blank_lines_and_byte_order_mark_are_passed_over(tmp_path, planets):
    lines = jsonl(planets[:2]).splitlines()
    path = tmp_path / "corpus.jsonl"
    path.write_text("\ufeff" + lines[0] + "\n\n  \r\n" + lines[1], encoding="utf-8")
    assert list(open_corpus(path)) == planets[:2]
    assert line_offsets(path)[0] == 3


def test_gzipped_file_is_read_into_memory(tmp_path, planets):
    path = tmp_path / "corpus.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl(planets).encode()))
    assert list(open_corpus(path)) == planets


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ('{"id": "1", "title": "A", "text": "x"}\n{"id": "1", "title": "B", "text": "y"}\n', ":2: id: '1'"),
        ('{"id": "1", "title": "A"}\n', ":1: text: missing"),
        ('{"id": "1", "title": "A", "text": "x"}\n{"id": ', ":2: broken JSON"),
        ('{"id": 1.5, "title": "A", "text": "x"}\n', ":1: id: expected text"),
    ],
)
def test_broken_files_name_line_and_fault(tmp_path, text, fault):
    path = tmp_path / "corpus.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=fault) as caught:
        open_corpus(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_corpus(tmp_path / "none.jsonl")


def test_memory_corpus_must_not_be_empty_or_ambiguous(planets):
    with pytest.raises(DataError, match="empty"):
        open_corpus([])
    with pytest.raises(DataError, match="two passages with the id '10'"):
        open_corpus([*planets, planets[0]])


def test_identity_follows_the_content(planets_file, planets):
    before = open_corpus(planets_file).identity
    assert open_corpus(planets_file).identity == before
    planets_file.write_text(jsonl(planets[::-1]), encoding="utf-8")
    changed = open_corpus(planets_file)
    assert changed.identity != before
    assert list(changed) == planets[::-1]
    assert open_corpus(planets).identity != open_corpus(planets[::-1]).identity


@given(st.lists(st.text(min_size=1, max_size=3), unique=True, max_size=20))
def test_rank_is_the_place_by_id(ids):
    order = id_order(ids)
    assert [ids[position] for position in order] == sorted(ids)
    assert np.array_equal(order[inverse(order)], np.arange(len(ids))) or not ids
    assert [sorted(ids)[place] for place in inverse(order)] == ids
