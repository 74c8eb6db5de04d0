"""Features on disk: what was written comes back, from several processes, and after a damaged write."""

import sqlite3
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import MachineError
from lmtools.core.sqlite_store import TABLE
from lmtools.models.chat import EncodedAnswer
from lmtools.models.features import FeatureCache, key_of

VALUES = np.array([[1.5, -2.0, 3e-30], [0.1, 1e30, 0.0]], np.float32)


def test_rows_come_back_as_they_were_and_absent_ones_do_not(tmp_path):
    cache = FeatureCache(tmp_path / "deep" / "features.sqlite", 3)
    cache.write([b"a", b"b"], VALUES)
    rows = FeatureCache(tmp_path / "deep" / "features.sqlite", 3).read([b"b", b"c", b"a"])
    assert rows.keys() == {b"a", b"b"}
    np.testing.assert_array_equal(np.stack([rows[b"a"], rows[b"b"]]), VALUES)
    assert rows[b"a"].dtype == np.float32


def test_a_row_of_another_width_counts_as_absent_and_is_replaced(tmp_path):
    path = tmp_path / "features.sqlite"
    FeatureCache(path, 2).write([b"a"], VALUES[:1, :2])
    cache = FeatureCache(path, 3)
    assert cache.read([b"a"]) == {}
    cache.write([b"a"], VALUES[:1])
    np.testing.assert_array_equal(cache.read([b"a"])[b"a"], VALUES[0])


def test_more_keys_than_a_statement_takes(tmp_path):
    cache = FeatureCache(tmp_path / "features.sqlite", 1)
    keys = [str(number).encode() for number in range(1203)]
    cache.write(keys, np.arange(1203, dtype=np.float32)[:, None])
    rows = cache.read(keys)
    assert [rows[key].item() for key in keys] == list(range(1203))


def _write(path, number):
    for step in range(20):
        FeatureCache(path, 1).write([f"{number} {step}".encode()], np.full((1, 1), number, np.float32))


def test_processes_write_beside_each_other(tmp_path):
    path = tmp_path / "features.sqlite"
    context = get_context("spawn")
    processes = [context.Process(target=_write, args=(path, number)) for number in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    keys = [f"{number} {step}".encode() for number in range(2) for step in range(20)]
    assert len(FeatureCache(path, 1).read(keys)) == 40


def test_the_key_tells_tokens_and_where_the_answer_begins():
    texts = [
        EncodedAnswer((1, 2), (3,)),
        EncodedAnswer((1,), (2, 3)),
        EncodedAnswer((), (1, 2, 3)),
        EncodedAnswer((1, 2), (4,)),
    ]
    assert len({key_of(text) for text in texts}) == 4
    assert key_of(texts[0]) == key_of(EncodedAnswer((1, 2), (3,)))


@given(st.integers(0, 3 * 4 - 1), st.integers(0, 7))
def test_a_flipped_bit_of_a_row_is_noticed(tmp_path_factory, byte, bit):
    path = tmp_path_factory.mktemp("flipped") / "features.sqlite"
    cache = FeatureCache(path, 3)
    cache.write([b"a", b"b"], VALUES)
    flipped = bytearray(VALUES[0].tobytes())
    flipped[byte] ^= 1 << bit
    with sqlite3.connect(path) as store:
        store.execute(f"UPDATE {TABLE} SET value = ? WHERE key = x'61'", (bytes(flipped),))
    assert cache.read([b"a", b"b"]).keys() == {b"b"}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be used"):
        FeatureCache(tmp_path / "file" / "features.sqlite", 3)


def test_values_are_little_endian_float32(tmp_path):
    path = tmp_path / "features.sqlite"
    FeatureCache(path, 3).write([b"a"], VALUES[:1])
    with sqlite3.connect(path) as store:
        ((value,),) = store.execute(f"SELECT value FROM {TABLE}")
    assert value == VALUES[0].astype("<f4").tobytes()
