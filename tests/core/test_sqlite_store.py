"""Values on disk by key: what was damaged is never given back, and never in the way."""

import sqlite3
from multiprocessing import get_context

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lmtools.core import sqlite_store
from lmtools.core.errors import MachineError
from lmtools.core.sqlite_store import TABLE, KeyedTable

ROWS = {f"key {number}".encode(): bytes(range(number, number + 40)) * 9 for number in range(30)}
DAMAGED = "damaged in the cache of things"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "things.sqlite"


def table(path):
    return KeyedTable(path, "things")


def written(path):
    """A file with ``ROWS``, all of them in the file itself and none in its log."""
    table(path).write(ROWS.items())
    with sqlite3.connect(path) as store:
        store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def test_rows_are_replaced(path):
    things = table(path)
    things.write([(b"a", b"1"), (b"b", b"")])
    things.write([(b"a", b"2")])
    assert table(path).read([b"b", b"a", b"c", b"a"]) == {b"a": b"2", b"b": b""}


def test_more_keys_than_a_statement_takes_some_of_them_twice(path, capsys):
    things = table(path)
    things.write((str(number).encode(), b"x") for number in range(1203))
    assert len(things.read([str(number % 1203).encode() for number in range(1300)])) == 1203
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "change",
    ["value = 'text'", "value = x'00'", "value = 7", "value = 1.5", "digest = x'00'", "digest = 0",
     "value = CAST(x'ff' AS TEXT)"],
)  # fmt: skip
def test_a_changed_row_counts_as_absent_and_is_told_once_it_is_read(path, change, capsys):
    things = table(path)
    things.write(ROWS.items())
    with sqlite3.connect(path) as store:
        store.execute(f"UPDATE {TABLE} SET {change} WHERE key = ?", (b"key 3",))
    expected = {key: value for key, value in ROWS.items() if key != b"key 3"}
    assert things.read(list(ROWS)) == expected
    assert f"{DAMAGED} {path}, and made again: 1 of 30 values" in capsys.readouterr().err
    things.write([(b"key 3", ROWS[b"key 3"])])
    assert things.read(list(ROWS)) == ROWS
    assert capsys.readouterr().err == ""


def test_a_value_under_the_key_of_another_is_not_given_back(path):
    things = table(path)
    things.write([(b"a", b"of a"), (b"b", b"of b")])
    with sqlite3.connect(path) as store:
        store.execute(f"DELETE FROM {TABLE} WHERE key = x'61'")
        store.execute(f"UPDATE {TABLE} SET key = x'61'")
    assert things.read([b"a", b"b"]) == {}


NOT_WHOLE = {
    "none": b"",
    "text": b"no database" * 100,
    "zeros": bytes(9000),
    "header alone": b"SQLite format 3\x00",
}


@pytest.mark.parametrize("content", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_a_file_that_is_no_database_is_made_anew(path, content, capsys):
    path.write_bytes(content)
    things = table(path)
    assert things.read([b"a"]) == {}
    things.write(ROWS.items())
    assert table(path).read(list(ROWS)) == ROWS
    assert ("is made again" in capsys.readouterr().err) == bool(content)


def test_a_file_that_becomes_one_in_between(path, capsys):
    things = table(written(path))
    path.write_bytes(path.read_bytes()[:5000])
    assert things.read(list(ROWS)).items() <= ROWS.items()
    things.write(ROWS.items())
    path.write_text("no database at all")
    things.write(ROWS.items())
    path.unlink()
    assert things.read(list(ROWS)) == {}
    things.write(ROWS.items())
    assert things.read(list(ROWS)) == ROWS
    assert "is made again" in capsys.readouterr().err


@pytest.mark.parametrize(
    "columns",
    ["key BLOB PRIMARY KEY, value BLOB NOT NULL", "a", "key TEXT, value TEXT, digest INT, more INT"],
)
def test_a_table_of_other_columns_is_made_anew(path, columns):
    with sqlite3.connect(path) as store:
        store.execute(f"CREATE TABLE {TABLE} ({columns})")
    table(path).write(ROWS.items())
    assert table(path).read(list(ROWS)) == ROWS


def test_a_file_of_an_earlier_format_is_taken_without_a_word(path, capsys):
    with sqlite3.connect(path) as store:
        store.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, value TEXT NOT NULL)")
        store.execute("INSERT INTO answers VALUES ('key 1', '[]')")
    things = table(path)
    assert things.read(list(ROWS)) == {}
    things.write(ROWS.items())
    assert things.read(list(ROWS)) == ROWS
    assert capsys.readouterr().err == ""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    places=st.lists(st.integers(0, 2**40), min_size=1, max_size=4), bit=st.integers(0, 7), early=st.booleans()
)
@example(places=[18], bit=7, early=True)  # the header: a version that may not be written
@example(places=[19], bit=7, early=True)  # nor read
@example(places=[47], bit=3, early=True)
@example(places=[59], bit=1, early=True)
def test_whatever_bits_flip_values_are_right_or_absent_and_can_be_kept_again(
    tmp_path_factory, places, bit, early
):
    path = written(tmp_path_factory.mktemp("flipped") / "things.sqlite")
    data = bytearray(path.read_bytes())
    for place in places:
        data[place % (100 if early else len(data))] ^= 1 << bit
    path.write_bytes(data)
    things = table(path)
    assert things.read(list(ROWS)).items() <= ROWS.items()
    things.write(ROWS.items())
    things.write([(b"another", b"value")])
    rows = things.read([*ROWS, b"another"])
    assert rows.items() <= {**ROWS, b"another": b"value"}.items()


def test_who_waits_too_long_for_another_process_is_told(path, monkeypatch):
    things = table(path)
    monkeypatch.setattr(sqlite_store, "SECONDS", 0.01)
    with sqlite3.connect(path) as store:
        store.execute("BEGIN EXCLUSIVE")
        with pytest.raises(MachineError, match="locked") as caught:
            things.write([(b"a", b"b")])
        assert "wait for the process" in caught.value.fix
    things.write([(b"a", b"b")])


def test_a_folder_in_its_place(path):
    path.mkdir()
    with pytest.raises(MachineError, match="cannot be used"):
        table(path)


def _write(path, number, damage):
    for step in range(12):
        if damage and step == 4:
            path.write_bytes(b"damaged" * 2000)
        things = KeyedTable(path, "things")
        key = f"{number} {step}".encode()
        things.write([(key, key * 50)])
        assert things.read([key]).get(key) in (key * 50, None)


@pytest.mark.parametrize("damage", [False, True])
def test_processes_write_beside_each_other(path, damage):
    context = get_context("spawn")
    processes = [
        context.Process(target=_write, args=(path, number, damage and not number)) for number in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    keys = [f"{number} {step}".encode() for number in range(3) for step in range(12)]
    rows = KeyedTable(path, "things").read(keys)
    assert rows.items() <= {key: key * 50 for key in keys}.items()
    if not damage:
        assert len(rows) == len(keys)
