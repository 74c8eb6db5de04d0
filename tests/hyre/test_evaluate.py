"""An evaluation: its rows, its fair draws, and that it goes on with the next target after a kill."""

import json

import numpy as np
import pytest
from tiny_hyre import USERS, records, run_eval, tiny_recipe, trained_once, write

from lmtools.core.errors import DataError
from lmtools.hyre import evaluate as module
from lmtools.hyre.evaluate import examples_left_out, methods_of
from lmtools.hyre.methods import measure
from lmtools.hyre.results import Target
from lmtools.hyre.train import load_ensembles

BASELINES = {"uniform", "best-head", "simplex", "oracle-head"}


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    return trained_once(tiny_llama, tmp_path_factory.mktemp("hyre"))


def changed(recipe, **settings):
    """The recipe with some settings of ``eval`` or ``data`` changed."""
    value = recipe.model_dump(mode="json")
    for place, change in settings.items():
        value[place] = value[place] | change
    return recipe.model_validate(value)


def metrics(directory):
    value = json.loads((directory / "metrics.json").read_text())
    return value["rows"], value["differences"]


def test_a_row_for_every_method_and_number_of_labels(trained, tmp_path):
    recipe, run = trained
    results = run_eval(recipe, run, tmp_path / "eval")
    names = [row.name for row in results.rows]
    assert {f"hyre/{source} @{n}" for source in ("pca", "shared_base") for n in (0, 1, 5)} <= set(names)
    assert {"hyre/pca (bald) @1", "hyre/pca (bald) @5", "single-head @0", "uniform/pca @0"} <= set(names)
    assert {"mean-difference @1", "logistic @5", "best-head/shared_base @5", "oracle-head/pca @0"} <= set(
        names
    )
    assert not {"mean-difference @0", "hyre/pca (bald) @0", "single-head @5", "uniform/pca @5"} & set(names)
    assert len(names) == len(set(names))
    for row in results.rows:
        assert {"accuracy", "long/accuracy", "short/accuracy", "spread"} <= set(row.metrics)
        for name, found in row.metrics.items():
            assert found.low <= found.high
            if name.endswith("accuracy"):
                assert found.low <= found.value <= found.high, (row.name, name)
        both = [row.metrics[f"{user}/accuracy"].value for user in USERS]
        assert row.metrics["accuracy"].value == pytest.approx(np.mean(both))
    diverse = results.row("hyre/pca @5").metrics
    assert 1 <= diverse["effective-heads"].value <= 4
    assert 0 < diverse["disagreement"].value <= 1
    compared = {(one.a, one.b, one.metric): one.value for one in results.differences}
    one, two = (results.row(name).metrics["accuracy"].value for name in ("hyre/pca @5", "uniform/pca @0"))
    found = compared["hyre/pca @5", "uniform/pca @0", "accuracy"]
    assert found == pytest.approx(one - two)
    assert {path.name for path in (tmp_path / "eval" / "plots").iterdir()} == {"labels.svg", "targets.svg"}
    assert {path.name for path in (tmp_path / "eval" / "measured").iterdir()} == {"long.npz", "short.npz"}


def test_with_no_labels_hyre_is_the_uniform_ensemble(trained, tmp_path):
    recipe, run = trained
    results = run_eval(recipe, run, tmp_path / "eval")
    for source in ("pca", "shared_base"):
        one, two = (results.row(f"{name}/{source} @0").metrics["accuracy"] for name in ("hyre", "uniform"))
        assert one == two


def test_no_pair_is_tested_that_was_labelled(trained, tmp_path, monkeypatch):
    """By content too: each pair is there twice, without an id."""
    recipe, run = trained
    rows = [{key: row[key] for key in row if key != "id"} for row in records("long", 10)]
    source = str(write(tmp_path / "twice.jsonl", rows * 2))
    seen = []

    def watched(views, choices, methods, examples):
        found = measure(views, choices, methods, examples)
        for name, right in found.scores.items():
            count = int(name.rpartition("@")[2])
            for choice, row in zip(choices, right, strict=True):
                seen.append(({*choice.pool[:count]}, set(np.flatnonzero(np.isfinite(row)))))
        return found

    monkeypatch.setattr(module, "measure", watched)
    run_eval(changed(recipe, data={"targets": source}), run, tmp_path / "eval")
    assert len(seen) > 30
    for known, tested in seen:
        assert tested
        assert not {place % 10 for place in known} & {place % 10 for place in tested}


def test_killed_it_goes_on_with_the_next_target(trained, tmp_path, monkeypatch):
    recipe, run = trained
    run_eval(recipe, run, tmp_path / "whole")
    real, done = module.draws, []

    def until(*settings):
        if done:
            raise KeyboardInterrupt
        done.append(settings)
        return real(*settings)

    with monkeypatch.context() as patch:
        patch.setattr(module, "draws", until)
        with pytest.raises(KeyboardInterrupt):
            run_eval(recipe, run, tmp_path / "eval")
    assert [path.name for path in (tmp_path / "eval" / "measured").iterdir()] == ["long.npz"]
    again = []
    monkeypatch.setattr(module, "draws", lambda *settings: again.append(settings[-1]) or real(*settings))
    run_eval(recipe, run, tmp_path / "eval", resume=True)
    assert again == ["short"]
    assert metrics(tmp_path / "eval") == metrics(tmp_path / "whole")


def test_ensembles_may_be_trained_in_the_same_directory(trained, tmp_path):
    recipe, run = trained
    run_eval(recipe, run, tmp_path / "apart")
    run_eval(recipe, None, tmp_path / "one")
    assert (tmp_path / "one" / "ensemble" / "ensemble.json").is_file()
    assert metrics(tmp_path / "one") == metrics(tmp_path / "apart")


def test_killed_after_training_in_the_same_directory_nothing_is_trained_again(trained, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    recipe, run = trained
    with monkeypatch.context() as patch:
        patch.setattr(module, "draws", stop)
        with pytest.raises(KeyboardInterrupt):
            run_eval(recipe, None, tmp_path / "one")
    monkeypatch.setattr("lmtools.hyre.train.make_ensemble", stop)
    run_eval(recipe, None, tmp_path / "one", resume=True)
    run_eval(recipe, run, tmp_path / "apart")
    assert metrics(tmp_path / "one") == metrics(tmp_path / "apart")


def test_a_small_target_has_no_rows_of_many_labels(trained, tmp_path):
    recipe, run = trained
    rows = [*records("long", 24), *records("short", 6)]
    source = str(write(tmp_path / "uneven.jsonl", rows))
    wanted = changed(recipe, data={"targets": source}, eval={"examples": [0, 2, 8, 64], "active": ["bald"]})
    results = run_eval(wanted, run, tmp_path / "eval")
    assert "short/accuracy" in results.row("hyre/pca @2").metrics
    for name in ("hyre/pca @8", "hyre/pca (bald) @8", "logistic @8"):
        found = results.row(name).metrics
        assert "short/accuracy" not in found
        assert found["accuracy"] == found["long/accuracy"]
    assert not any(row.name.endswith("@64") for row in results.rows)
    compared = {d.a: d.n for d in results.differences if d.b == "uniform/pca @0" and d.metric == "wins"}
    assert (compared["hyre/pca @2"], compared["hyre/pca @8"]) == (2, 1)
    targets = [
        Target(name, 0, module._read(tmp_path / "eval" / "measured" / f"{name}.npz"), {}) for name in USERS
    ]
    assert examples_left_out(targets, wanted) == {8: ["short"], 64: ["long", "short"]}


def test_a_target_of_one_pair_is_an_error(trained, tmp_path):
    recipe, run = trained
    source = str(write(tmp_path / "one.jsonl", [*records("long"), *records("short", 1)]))
    with pytest.raises(DataError, match="short: 1 pair, too few"):
        run_eval(changed(recipe, data={"targets": source}), run, tmp_path / "eval")


def test_the_methods_of_a_recipe(trained):
    recipe, run = trained
    found = load_ensembles(run, recipe)
    names = [method.name for method in methods_of(recipe, found)]
    assert names[0] == "hyre/pca"
    assert {f"{name}/{source}" for name in BASELINES for source in ("pca", "shared_base")} <= set(names)
    assert {"single-head", "mean-difference", "logistic"} <= set(names)
    some = changed(recipe, eval={"methods": ["logistic", "hyre/pca"]})
    assert [method.name for method in methods_of(some, found)] == ["hyre/pca", "logistic"]


def test_named_methods_alone_are_measured(trained, tmp_path):
    recipe, run = trained
    some = changed(recipe, eval={"methods": ["hyre/pca", "single-head"], "active": []})
    results = run_eval(some, run, tmp_path / "eval")
    assert [row.name for row in results.rows] == [
        "hyre/pca @0", "hyre/pca @1", "hyre/pca @5", "single-head @0",
    ]  # fmt: skip


def test_one_head_is_what_it_is_at_any_number_of_labels(tiny_llama, tmp_path):
    recipe = tiny_recipe(tiny_llama, tmp_path, heads=[{"source": "shared_base", "count": 1}], compare=[])
    results = run_eval(recipe, None, tmp_path / "eval")
    rows = {name: results.row(f"hyre/shared_base {name}").metrics for name in ("@0", "@1", "@5", "(bald) @5")}
    assert len({row["accuracy"].value for row in rows.values()}) == 1
    assert {row["effective-heads"].value for row in rows.values()} == {1.0}
    assert {row["disagreement"].value for row in rows.values()} == {0.0}
    assert results.row("oracle-head/shared_base @0").metrics["accuracy"] == rows["@0"]["accuracy"]
