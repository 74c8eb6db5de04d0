"""Tables of numbers: which columns are what, and every cell that is no number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lmtools.core.errors import DataError
from lmtools.data.sources import source_hash
from lmtools.data.tabular import load_table


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.txt").write_text("1.0 2 \t 3e0\n\n4 5 -6.5 \n")
    (tmp_path / "index_features.txt").write_text("2\n0\n")
    (tmp_path / "index_target.txt").write_text("1\n")
    return tmp_path


def test_a_folder(folder):
    table = load_table(str(folder))
    assert table.names == ("2", "0")
    np.testing.assert_array_equal(table.features, [[3, 1], [-6.5, 4]])
    np.testing.assert_array_equal(table.target, [2, 5])
    assert len(source_hash(str(folder))) == 64


def test_a_csv_has_its_target_last(tmp_path):
    (tmp_path / "t.csv").write_text("age,height,weight\n1,2,3\n4,5,6\n")
    table = load_table(str(tmp_path / "t.csv"))
    assert table.names == ("age", "height")
    np.testing.assert_array_equal(table.features, [[1, 2], [4, 5]])
    np.testing.assert_array_equal(table.target, [3, 6])


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(2, 4)), elements=finite))
def test_a_table_keeps_every_number(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("table") / "t.csv"
    rows = [",".join(f"c{place}" for place in range(values.shape[1]))]
    path.write_text("\n".join([*rows, *(",".join(map(repr, row)) for row in values.tolist())]) + "\n")
    table = load_table(str(path))
    np.testing.assert_array_equal(np.column_stack([table.features, table.target]), values)


def test_all_faults_are_told_with_line_and_column(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,nan\n2,x\n3\n4,5\n")
    with pytest.raises(DataError) as caught:
        load_table(str(tmp_path / "t.csv"))
    lines = str(caught.value).splitlines()
    assert "t.csv:2: b: nan is not finite" in lines[1]
    assert "t.csv:3: b: expected a number, found text ('x')" in lines[2]
    assert "t.csv:4: b: missing" in lines[3]


BROKEN = {
    "no header": ({"t.csv": "1,2\n3,4\n"}, "t.csv", "names are expected"),
    "a column too many": ({"index_target.txt": "7\n"}, "", "7: missing"),
    "two targets": ({"index_target.txt": "0\n1\n"}, "", "not a single column"),
    "a target among the features": ({"index_target.txt": "0\n"}, "", "not a single column"),
    "a column that is no number": ({"index_features.txt": "x\n"}, "", "index_features.txt: "),
    "no column": ({"index_features.txt": "\n"}, "", "names no column"),
    "no row": ({"data.txt": "\n"}, "", "empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_table_is_said(folder, name):
    files, source, problem = BROKEN[name]
    for file, text in files.items():
        (folder / file).write_text(text)
    with pytest.raises(DataError, match=problem):
        load_table(str(folder / source))


def test_a_folder_without_its_files(tmp_path):
    with pytest.raises(DataError, match=r"index_features\.txt: no such file"):
        load_table(str(tmp_path))


SHAPES = {
    "energy": (768, 8), "kin8nm": (8192, 8), "power-plant": (9568, 4), "concrete": (1030, 8),
    "wine-quality-red": (1599, 11),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_real_tables(shared_data, name):
    table = load_table(str(shared_data / "uci" / name))
    assert table.features.shape == SHAPES[name]
    assert table.target.shape == SHAPES[name][:1]
    assert np.isfinite(table.features).all()
    assert table.features.std(axis=0).min() > 0
