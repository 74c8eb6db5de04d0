"""Ensembles on tables: what is read, trained and measured on both sides of a shift."""

from contextlib import closing
from dataclasses import astuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError, RecipeError
from lmtools.core.run import Run
from lmtools.hyre.methods import best_head, hyre_method, measure, oracle_head, uniform
from lmtools.hyre.recipe import HyreRecipe
from lmtools.hyre.tabular import (
    RowView,
    TableScores,
    measure_tables,
    read_tables,
    ridge,
    row_view,
    table_draws,
    table_methods,
    tabular_results,
    train_table,
)


def write(path, features, target):
    lines = [",".join([*(f"x{i}" for i in range(features.shape[1])), "y"])]
    lines += [",".join(f"{value:.6g}" for value in row) for row in np.column_stack([features, target])]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def numbers(path, rows=120, seed=0):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 3))
    return write(path, x, 50 + 10 * x[:, 0] - 3 * x[:, 1] + random.normal(size=rows))


def labels(path, rows=120):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3))
    return write(path, x, np.where(x[:, 0] + 3 * random.normal(size=rows) > 0, 7, 3))


def recipe(*tables, task="regression", **changes):
    small = {
        "task": task,
        "data": {"tables": list(tables)},
        "heads": [{"source": "shared_base", "count": 6}],
        "train": {"epochs": 3, "hidden": 8},
        "eval": {"examples": [0, 2, 5], "draws": 4, "resamples": 100, "active": []},
    }
    return HyreRecipe.model_validate(small | changes)


def measured_table(data, small):
    """What training and measuring on one table gives."""
    ensembles = train_table(data, small)
    views = {name: row_view(ensemble, data) for name, ensemble in ensembles.items()}
    found = measure(views, table_draws(data, small), table_methods(ensembles, small), small.eval.examples)
    return TableScores(data.name, "rmse" if data.classes is None else "accuracy", found.scores)


def test_both_sides(tmp_path):
    [found] = read_tables(recipe(numbers(tmp_path / "tides.csv")))
    assert (found.name, found.feature, found.classes) == ("tides", "x0", None)
    assert len(found.train.x) == 72
    assert len(found.target_x) == len(found.target_y) == 48
    assert found.train.x[:, 0].max() < found.target_x[:, 0].min()


def test_limits(tmp_path):
    source = numbers(tmp_path / "t.csv")
    [found] = read_tables(recipe(source, data={"tables": [source], "train_limit": 20, "target_limit": 15}))
    assert (len(found.train.x), len(found.target_x)) == (20, 15)


def test_labels_become_classes(tmp_path):
    [found] = read_tables(recipe(labels(tmp_path / "t.tsv.csv"), task="classification"))
    assert found.classes == ("3", "7")
    assert set(found.train.y) == set(found.target_y) == {0, 1}


def test_a_label_that_is_only_above_the_shift(tmp_path):
    x = np.arange(40.0)[:, None]
    source = write(tmp_path / "t.csv", x, np.repeat([1, 2, 3, 4], 10))
    with pytest.raises(DataError, match="no row has the label 4") as caught:
        read_tables(recipe(source, task="classification", data={"tables": [source], "shift": 0.7}))
    assert "leave these rows out" in caught.value.fix


@pytest.mark.parametrize(
    ("rows", "examples", "problem"),
    [(12, [0, 1], "7 rows to train on"), (40, [10], "16 different rows: too few for 10 examples")],
)
def test_too_few_rows(tmp_path, rows, examples, problem):
    with pytest.raises(DataError, match=problem):
        read_tables(recipe(numbers(tmp_path / "t.csv", rows), eval={"examples": examples}))


def test_nothing_to_shift(tmp_path):
    with pytest.raises(DataError, match="no feature has two values"):
        read_tables(recipe(write(tmp_path / "t.csv", np.ones((30, 1)), np.arange(30))))


def test_two_tables_of_one_name(tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(RecipeError, match="two tables are called t"):
        read_tables(recipe(numbers(tmp_path / "t.csv"), numbers(tmp_path / "other" / "t.csv")))


@pytest.mark.parametrize("adapt", [{"rule": "gaussian"}, {"standardise": True}, {"loss": "zero_one"}])
def test_settings_that_are_for_pairs(tmp_path, adapt):
    with pytest.raises(RecipeError, match="not for task: regression"):
        read_tables(recipe(numbers(tmp_path / "t.csv"), adapt=adapt))


def test_copies_of_a_row_stay_on_one_side(tmp_path):
    random = np.random.default_rng(0)
    x = np.tile(random.normal(size=(40, 2)), (3, 1))
    small = recipe(write(tmp_path / "t.csv", x, x[:, 0]))
    [data] = read_tables(small)
    assert len(set(data.first_copies())) == 16
    scores = measured_table(data, small).scores
    [tested] = np.isfinite(scores["hyre/shared_base @5"])[:1]
    for copy in set(data.first_copies()):
        assert len(set(tested[np.array(data.first_copies()) == copy])) == 1


def test_an_ensemble_of_a_regression(tmp_path):
    small = recipe(numbers(tmp_path / "t.csv"), compare=["epinet", "diverse", "shared_base"])
    [data] = read_tables(small)
    threads = torch.get_num_threads()
    found = train_table(data, small)
    assert torch.get_num_threads() == threads
    assert list(found) == ["shared_base", "epinet", "diverse"]
    for ensemble in found.values():
        assert ensemble.count == 6
        assert ensemble.outputs(data.target_x).shape == (48, 6)
        assert 0 < ensemble.info.noise < 200
        assert abs(ensemble.info.target_mean - data.train.y.mean()) < 3
    again = train_table(data, small)
    np.testing.assert_array_equal(
        again["epinet"].outputs(data.target_x), found["epinet"].outputs(data.target_x)
    )


def test_rows_and_differences(tmp_path):
    small = recipe(numbers(tmp_path / "a.csv"), numbers(tmp_path / "b.csv", seed=1), compare=["epinet"])
    measured = [measured_table(data, small) for data in read_tables(small)]
    rows, differences = tabular_results(measured, small)
    by_name = {row.name: row.metrics for row in rows}
    counts = {"uniform": [0], "hyre": [0, 2, 5], "best-head": [2, 5], "oracle-head": [0]}
    names = [f"{method}/{source} @{n}" for source in ("shared_base", "epinet") for method in counts
             for n in counts[method]]  # fmt: skip
    assert list(by_name) == [*names, "ridge @2", "ridge @5"]
    assert set(by_name["ridge @5"]) == {"a/rmse", "b/rmse", "rmse-ratio"}
    uniform_row, hyre_row = by_name["uniform/shared_base @0"], by_name["hyre/shared_base @5"]
    assert (uniform_row["rmse-ratio"].low, uniform_row["rmse-ratio"].high) == (1, 1)
    for metric, found in by_name["hyre/shared_base @0"].items():
        assert astuple(found) == pytest.approx(astuple(uniform_row[metric]))
    ratios = [hyre_row[name].value / uniform_row[name].value for name in ("a/rmse", "b/rmse")]
    assert hyre_row["rmse-ratio"].value == pytest.approx(np.mean(ratios))
    assert hyre_row["a/rmse"].low <= hyre_row["a/rmse"].value <= hyre_row["a/rmse"].high
    assert by_name["oracle-head/epinet @0"]["a/rmse"].value <= by_name["best-head/epinet @5"]["a/rmse"].value
    [gained] = [
        d for d in differences
        if (d.a, d.b, d.metric) == ("hyre/shared_base @5", "uniform/shared_base @0", "a/rmse")
    ]  # fmt: skip
    assert gained.value == pytest.approx(hyre_row["a/rmse"].value - uniform_row["a/rmse"].value)
    assert {d.b for d in differences if d.a == "hyre/epinet @2"} == {
        "uniform/epinet @0", "best-head/epinet @2", "ridge @2",
    }  # fmt: skip


def test_a_classification(tmp_path):
    small = recipe(labels(tmp_path / "t.csv"), task="classification")
    [data] = read_tables(small)
    rows, _ = tabular_results([measured_table(data, small)], small)
    for row in rows:
        assert set(row.metrics) == {"accuracy", "t/accuracy"}
        assert 0 <= row.metrics["accuracy"].low <= row.metrics["accuracy"].value <= 1


def test_only_the_rows_asked_for(tmp_path):
    changes = {"eval": {"examples": [2], "draws": 2, "methods": ["ridge"]}}
    small = recipe(numbers(tmp_path / "t.csv"), **changes)
    [data] = read_tables(small)
    found = measured_table(data, small)
    assert list(found.scores) == ["uniform/shared_base @0", "ridge @2"]


def test_the_mean_error_is_squared_first():
    scores = {"uniform/shared_base @0": np.array([[9.0, np.nan, 16.0], [np.nan, 25.0, 14.0]])}
    [row], _ = tabular_results([TableScores("t", "rmse", scores)], recipe("t.csv"))
    assert row.metrics["t/rmse"].value == 4
    assert row.metrics["t/rmse"].n == 3


def test_methods_by_hand():
    outputs = np.array([[1.0, 3.0], [2.0, 6.0], [0.0, 9.0]])
    rows = RowView(outputs, np.zeros((3, 1)), np.array([3.0, 6.0, 0.0]), noise=1.0)
    known, asked = rows[np.array([0, 1])], rows[np.array([2])]
    settings = recipe("t.csv").adapt
    assert uniform(known, asked) == [4.5]
    assert best_head(known, asked) == [9.0]
    assert oracle_head(known, asked) == [0.0]
    # The first head's loss is (2^2 + 4^2) / 2 = 10, the second one's 0.
    weights, _ = hyre_method("hyre", "", np.full(2, 0.5), settings).weigh(known)
    assert asked.blended(weights) == pytest.approx(9 / (1 + np.exp(-10)))
    assert rows.scores(outputs[:, 0]).tolist() == [4, 16, 0]


def test_of_heads_with_as_many_errors_the_surer_one_is_best():
    logits = np.array([[[0.0, 1.0], [0.0, 5.0], [1.0, 0.0]]])
    rows = RowView(logits, np.zeros((1, 1)), np.array([1]), noise=1.0)
    assert best_head(rows, rows).tolist() == [[0.0, 5.0]]
    assert rows.scores(logits[:, 2]).tolist() == [0]


@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 99))
def test_ridge_minimises_its_objective(rows, width, seed):
    random = np.random.default_rng(seed)
    x, y = random.normal(size=(rows, width)), random.normal(size=rows)
    # Intercept and slopes, from what is predicted at 0 and at each unit vector.
    intercept, *ends = ridge(x, y, np.concatenate([np.zeros((1, width)), np.eye(width)]), penalty=0.7)
    slopes = np.array(ends) - intercept
    missed = intercept + x @ slopes - y
    np.testing.assert_allclose(missed.sum(), 0, atol=1e-9)
    np.testing.assert_allclose(x.T @ missed + 0.7 * slopes, 0, atol=1e-9)


def test_an_interrupted_evaluation_goes_on(tmp_path, monkeypatch):
    small = recipe(numbers(tmp_path / "a.csv"), numbers(tmp_path / "b.csv", seed=1))
    data = read_tables(small)

    def run(resume):
        return closing(
            Run.create(tmp_path / "run", small, command=["lmtools"], inputs={}, resume=resume, seed=0)
        )

    with run(False) as first:
        measure_tables(data[:1], small, first, "toy")
    with run(True) as second:
        whole = measure_tables(data, small, second, "toy")
    monkeypatch.setattr("lmtools.hyre.tabular.train_table", lambda *_: pytest.fail("trained again"))
    with run(True) as third:
        assert measure_tables(data, small, third, "toy").rows == whole.rows


def test_a_real_table(shared_data, monkeypatch):
    monkeypatch.setenv("LMTOOLS_DATA", str(shared_data))
    changes = {"train": {"epochs": 20, "hidden": 32, "prior_scale": 3.0}, "adapt": {"temperature": 4.0}}
    small = recipe("data:uci/energy", heads=[{"source": "shared_base", "count": 50}], **changes)
    [data] = read_tables(small)
    assert data.name == "energy"
    rows, _ = tabular_results([measured_table(data, small)], small)
    rmse = {row.name: row.metrics["energy/rmse"].value for row in rows}
    # The shift is a hard one: heads learn from tall houses and are asked about low ones.
    assert rmse["hyre/shared_base @5"] < 0.7 * rmse["uniform/shared_base @0"]
