"""HyRe's part of a page: from runs of the real code, and from files by hand with values worked out."""

import io
import json
import shutil
import sys

import numpy as np
import pytest
from sample_page import HOSTILE
from tiny_hyre import USERS, run_eval, trained_once

from lmtools.cli.ask import ask
from lmtools.core.errors import DataError
from lmtools.core.results import Interval, Results, Row, read_results
from lmtools.hyre.api import adapt, adapt_targets
from lmtools.report import hyre, hyre_pairs, hyre_weights
from lmtools.report.budget import ByteBudget
from lmtools.report.elements import Bars, Browser, Dots, Grid, Lines, Prose, Table
from lmtools.report.html import Chapter, page_html
from lmtools.report.hyre_labels import disagreement_charts
from lmtools.report.run_files import read_source


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    """Runs of every command: by name, its directory."""
    folder = tmp_path_factory.mktemp("hyre")
    recipe, trained = trained_once(tiny_llama, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        run_eval(recipe, trained, folder / "eval")
        adapt(trained, folder / "adapt", examples=4, target="short")
        patch.setattr(sys, "stdin", io.StringIO("1\ns\n2\n1\n"))
        adapt(trained, folder / "asked", examples=3, target="long", ask=ask)
        adapt_targets(trained, folder / "kept" / "hyre-weights", 3)
    for name in ("manifest.json", "recipe.yaml"):
        shutil.copy(trained / name, folder / "kept" / name)
    return folder


@pytest.fixture
def run(made, tmp_path):
    """``run(NAME)``: a copy of a run, to be read and damaged."""

    def copied(name):
        target = tmp_path / name
        if not target.exists():
            shutil.copytree(made / name, target)
        return read_source(target)

    return copied


def parts(source, kind, title=None):
    found = [
        part for section in hyre.sections(source) if title in (None, section.title) for part in section.parts
    ]
    found += [chart for part in found if isinstance(part, Grid) for chart in part.charts]
    return [part for part in found if isinstance(part, kind)]


def titles(source):
    return [section.title for section in hyre.sections(source)]


def page(source):
    return page_html("run", [Chapter("run", hyre.sections(source))], ByteBudget("left.jsonl"))


def lines_of(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def measured(source, **metrics):
    """The run with one row of these metrics in place of its own."""
    found = Results(
        "r", "c", 0, {}, {}, (Row("hyre", {n: Interval(v, v, v, 4) for n, v in metrics.items()}),)
    )
    found.write(source.path("metrics.json"))
    return read_source(source.directory)


def test_training_shows_its_curves_and_how_heads_fit(run):
    source = run("run")
    assert titles(source) == ["Training of heads"]
    losses = parts(source, Lines)
    assert {chart.title for chart in losses} >= {"Loss of shared_base", "Loss of single head"}
    assert all(len(line.points) == 2 for chart in losses for line in chart.lines)  # two epochs
    assert [name for name, _ in parts(source, Dots)[0].rows] == ["pca", "shared_base", "single head"]
    assert hyre.outcomes(source) == {}


def test_accuracy_against_labels_on_average_and_for_every_target(run):
    source = run("eval")
    assert titles(source) == [
        "Accuracy against number of labels", "Weights over heads", "The pairs", "Disagreement between heads"
    ]  # fmt: skip
    overall, ensembles, *targets = parts(source, Lines, "Accuracy against number of labels")
    assert overall.strong == "hyre/pca"
    assert overall.even
    by_name = {line.name: line for line in overall.lines}
    accuracy = source.results.row("hyre/pca @5").metrics["accuracy"]
    assert by_name["hyre/pca"].points[-1] == (5.0, accuracy.value, accuracy.low, accuracy.high)
    assert [point[0] for point in by_name["hyre/pca"].points] == [0, 1, 5]
    assert by_name["single-head"].flat
    assert not by_name["logistic"].flat
    assert "hyre/shared_base" not in by_name
    assert "hyre/shared_base" in {line.name for line in ensembles.lines}
    assert [chart.title for chart in targets] == list(USERS)
    [table] = parts(source, Table)
    assert [row[0] for row in table.rows] == list(USERS)
    assert table.columns == ["", "@0", "@1", "@5"]


def test_the_same_selection_as_in_the_figures(run):
    source = run("eval")
    shown = {line.name for line in parts(source, Lines, "Accuracy against number of labels")[0].lines}
    figure = source.path("plots", "targets.svg").read_text(encoding="utf-8")
    assert all(name in figure for name in shown)
    assert "hyre/shared_base" not in figure


def test_the_pairs_of_an_evaluation(run):
    source = run("eval")
    [found] = parts(source, Browser)
    assert len(found.entries) == 24
    assert found.columns[-3:-1] == ["single-head @0", "hyre/pca @5"]
    before, after = (hyre.outcomes(source)[row]["accuracy"] for row in found.columns[-3:-1])
    changes = {"more often right": 1, "more often wrong": -1, "the same": 0}
    gains = [after[name] - before[name] for name in after]
    shown = [changes[own] for entry in found.entries if (own := entry.options.get("What labels change"))]
    assert sorted(shown) == sorted(np.sign(gains))
    assert found.filters["Target"] == list(USERS)
    texts = {(one["target"], one["chosen"]) for one in lines_of(source.path("pairs.jsonl"))}
    assert {(one.options["Target"], one.detail[1].items[0].text) for one in found.entries} == texts


def test_outcomes_of_an_evaluation_average_to_its_metrics(run):
    source = run("eval")
    found = hyre.outcomes(source)
    assert list(found) == [row.name for row in source.results.rows]
    with np.load(source.path("measured", "long.npz")) as arrays:
        correct = arrays["correct/hyre/pca @5"]
    own = found["hyre/pca @5"]["long/accuracy"]
    tested = np.isfinite(correct).any(axis=0)
    assert list(own) == [f"long/long-{n}" for n in np.flatnonzero(tested)]
    assert list(own.values()) == pytest.approx(np.nanmean(correct[:, tested], axis=0))
    assert set(found["hyre/pca @5"]["accuracy"]) == {
        name for user in USERS for name in found["hyre/pca @5"][f"{user}/accuracy"]
    }


def test_targets_of_different_sizes_have_no_mean_over_pairs_called_accuracy(run):
    source = run("eval")
    write(source.path("pairs.jsonl"), lines_of(source.path("pairs.jsonl"))[:-1])
    path = source.path("measured", "short.npz")
    with np.load(path) as arrays:
        shorter = {n: arrays[n][:, :-1] if n.startswith("correct/") else arrays[n] for n in arrays.files}
    np.savez_compressed(path, **shorter)
    metrics = hyre.outcomes(source)["hyre/pca @5"]
    assert set(metrics) == {"pairs/accuracy", "long/accuracy", "short/accuracy"}


def test_one_users_weights_pairs_and_disagreement(run):
    source = run("adapt")
    assert titles(source) == [
        "Weights over heads", "The pairs the user labelled", "Disagreement between heads"
    ]  # fmt: skip
    [bars] = parts(source, Bars, "Weights over heads")
    kept = json.loads(source.path("weights.json").read_text())
    assert [value for _, value in bars.rows] == kept["weights"]
    assert list(bars.groups) == kept["sources"]
    assert bars.mark == (1 / 4, "equal weights")
    worth, shares, effective = parts(source, Lines, "Weights over heads")
    rows = {row.name: row.metrics["accuracy"].value for row in source.results.rows}
    assert [point[0] for point in worth.lines[0].points] == [0, 1, 2, 3, 4]
    assert worth.lines[0].points[0][1] == rows["before @0"]
    assert worth.lines[0].points[-1][1] == rows["hyre @4"]
    for step in range(5):
        assert sum(line.points[step][1] for line in shares.lines) == pytest.approx(1)
    assert effective.lines[0].points[-1][1] == pytest.approx(kept["effective_heads"], rel=1e-3)


def test_labelled_pairs_come_first_in_their_order(run):
    source = run("adapt")
    [found] = parts(source, Browser)
    assert [entry.options["Pair"] for entry in found.entries] == ["labelled"] * 4 + ["tested"] * 8
    kept = json.loads(source.path("weights.json").read_text())["examples"]
    texts = {one["pair"]: one for one in lines_of(source.path("pairs.jsonl"))}
    for place, (name, entry) in enumerate(zip(kept, found.entries, strict=False)):
        assert entry.cells[0] == texts[name]["prompt"]
        assert f"label {place + 1}" in entry.cells
        prompt, chosen, rejected, _ = entry.detail
        assert prompt.text == texts[name]["prompt"]
        assert chosen.items[0].text == texts[name]["chosen"]
        assert rejected.items[0].text == texts[name]["rejected"]
    after = [texts[name]["after"] > 0.5 for name in kept]
    assert [entry.options["With 4 labels"] == "right" for entry in found.entries[:4]] == after


def test_outcomes_of_an_adaptation_are_its_accuracy(run):
    source = run("adapt")
    found = hyre.outcomes(source)
    for row in source.results.rows:
        values = found[row.name]["accuracy"]
        assert np.mean(list(values.values())) == row.metrics["accuracy"].value
        assert len(values) == 8
    assert all(name.startswith("short/short-") for name in found["hyre @4"]["accuracy"])


def test_pairs_labelled_in_the_terminal(run):
    source = run("asked")
    [found] = parts(source, Browser)
    assert len(found.entries) == 3
    answers = [one["value"] for one in lines_of(source.path("answers.jsonl"))]
    given = [one["pair"] for one in answers if one["event"] == "answer"]
    assert given == [one["pair"] for one in lines_of(source.path("pairs.jsonl"))]
    assert "none is left to test on" in " ".join(part.text for part in parts(source, Prose))
    assert hyre.outcomes(source) == {}


def test_what_a_quickstart_keeps_of_its_users(run):
    source = run("kept")
    assert "Each user's weights" in titles(source)
    heard, *users = parts(source, Bars, "Each user's weights")[:3]
    assert [name for name, _ in heard.rows] == list(USERS)
    assert [chart.title for chart in users] == list(USERS)
    [found] = parts(source, Browser)
    assert [entry.options["Pair"] for entry in found.entries].count("labelled") == 6
    source.path("hyre-weights", "pairs.jsonl").unlink()
    assert not parts(source, Browser)
    assert "run quickstart anew" in parts(source, Prose)[-1].text


def test_a_run_from_before_these_files_has_the_rest(run):
    source = run("eval")
    source.path("pairs.jsonl").unlink()
    assert len(parts(source, Lines, "Accuracy against number of labels")) == 4
    assert "not in this run" in parts(source, Prose, "The pairs")[0].text
    assert hyre.outcomes(source) == {}
    source = run("adapt")
    source.path("pairs.jsonl").unlink()
    source.path("steps.jsonl").unlink()
    assert titles(source) == ["Weights over heads", "The pairs the user labelled"]
    [labelled] = parts(source, Prose, "The pairs the user labelled")
    assert all(
        name in labelled.text for name in json.loads(source.path("weights.json").read_text())["examples"]
    )
    assert hyre.outcomes(source) == {}


def test_a_reward_model_and_its_worst_mistakes(run):
    source = run("run")
    source.path("training.jsonl").unlink()
    margins = {"chat": [2.0, -1.0], "code": [-3.0, 0.0]}
    write(source.path("pairs.jsonl"), [
        {"target": d, "pair": f"p{n}", "prompt": "?", "chosen": "a", "rejected": "b", "margin": m}
        for d, own in margins.items() for n, m in enumerate(own)
    ])  # fmt: skip
    source = measured(source, **{"accuracy": 0.4, "pairs/accuracy": 0.375, "chat/accuracy": 0.5})
    assert titles(source) == ["Accuracy by distribution", "The pairs"]
    [dots] = parts(source, Dots)
    assert [name for name, _ in dots.rows] == ["pairs", "chat"]
    [found] = parts(source, Browser)
    assert [entry.options["Order"] for entry in found.entries] == ["wrong", "wrong", "undecided", "right"]
    assert found.entries[0].options["Distribution"] == "code"
    outcome = hyre.outcomes(source)["hyre"]
    assert outcome["pairs/accuracy"] == {"chat/p0": 1.0, "chat/p1": 0.0, "code/p0": 0.0, "code/p1": 0.5}
    assert outcome["code/accuracy"] == {"code/p0": 0.0, "code/p1": 0.5}


def test_a_pair_that_is_there_twice_has_two_names():
    pair = hyre_pairs.Pair("u", "same", "p", "c", "r")
    assert hyre_pairs.examples([pair, pair, pair]) == ["u/same", "u/same #2", "u/same #3"]


def test_text_of_a_run_is_text(run):
    source = run("adapt")
    bad = " ".join(HOSTILE)
    texts = {"prompt": bad, "chosen": bad, "target": bad, "pair": bad}
    rows = [row | texts for row in lines_of(source.path("pairs.jsonl"))]
    write(source.path("pairs.jsonl"), rows)
    kept = json.loads(source.path("weights.json").read_text())
    kept |= {"sources": [bad] * 4, "rule": bad}
    source.path("weights.json").write_text(json.dumps(kept))
    written = page(source)
    assert not [one for one in HOSTILE if "<" in one and one in written]
    assert written.count("<script") == page(run("eval")).count("<script")
    assert parts(source, Browser)[0].entries[0].detail[0].text == rows[0]["prompt"]


@pytest.mark.parametrize(
    ("name", "file", "damage"),
    [
        ("adapt", "pairs.jsonl", '{"target": "a", "pair": "b"}\n'),
        (
            "adapt",
            "pairs.jsonl",
            '{"target": "a", "pair": "b", "prompt": 1, "chosen": "c", "rejected": "d"}\n',
        ),
        ("adapt", "steps.jsonl", '{"labels": 0, "weights": [1.0]}\n'),
        ("adapt", "steps.jsonl", '{"labels": 0, "weights": [NaN, 1, 1, 1]}\n'),
        ("adapt", "weights.json", "{"),
        ("adapt", "weights.json", '{"weights": [1.0], "sources": [], "examples": []}'),
        ("eval", "pairs.jsonl", "[]\n"),
        ("eval", "measured/long.npz", "no archive"),
    ],
)
def test_a_damaged_file_is_named(run, name, file, damage):
    source = run(name)
    source.path(file).write_text(damage, encoding="utf-8")
    with pytest.raises(DataError, match=file.rpartition("/")[2]):
        hyre.sections(source)


def test_measurements_of_other_pairs_are_told(run):
    source = run("eval")
    write(source.path("pairs.jsonl"), lines_of(source.path("pairs.jsonl"))[1:])
    with pytest.raises(DataError, match=r"long\.npz: damaged: \(3, 12\) values for 11 pairs"):
        hyre.sections(source)


def test_disagreement_by_hand():
    values = [0.01] * 6 + [0.49] * 6 + [0.3]
    [grid] = disagreement_charts({"now": values}, {"with": [1.0] * 6 + [0.0] * 3 + [1.0] * 3 + [np.nan]})
    bars, lines = grid.charts
    assert [count for _, count in bars.rows if count] == [6, 1, 6]
    assert lines.lines[0].points == [(pytest.approx(0.0125), 1.0), (pytest.approx(0.4875), 0.5)]
    [told] = disagreement_charts({"now": [0.5, 0.5]}, {})
    assert told.text == "Two heads disagree on every pair in 50.0 % of cases, now."
    assert disagreement_charts({"now": []}, {}) == []


def test_very_many_heads_and_pairs_are_bounded(monkeypatch):
    monkeypatch.setattr(hyre_weights, "MOST_HEADS", 3)
    every_head = hyre_weights.weight_bars([0.1, 0.4, 0.2, 0.3], ("a", "b", "a", "b"), "Weights")
    bars = hyre_weights.heaviest_bars(every_head)
    assert bars.rows == [("a/2", 0.2), ("b/1", 0.4), ("b/3", 0.3)]
    assert bars.title == "Weights, the 3 heaviest of 4"
    monkeypatch.setattr(hyre_pairs, "MOST_ENTRIES", 2)
    pairs = [
        hyre_pairs.Pair("u", str(n), "p", "c", "r", "tested", before=0.4, after=n / 10) for n in range(9)
    ]
    found = hyre_pairs.adapted_browser(pairs, "Pairs", "5 labels")
    assert [entry.cells[-2] for entry in found.entries] == ["40.0 % → 80.0 %", "40.0 % → 70.0 %"]
    [note] = hyre_pairs.left_out(pairs)
    assert (
        note.text == "The list below is of the 2 most telling of 9 pairs; all are in the run's pairs.jsonl."
    )


def test_rows_of_no_number_of_labels_are_left_out(run):
    source = run("eval")
    odd = Row("no labels", {"accuracy": Interval(0.5, 0.4, 0.6, 4)})
    results = read_results(source.path("metrics.json"))
    Results(**{**vars(results), "rows": (*results.rows, odd)}).write(source.path("metrics.json"))
    assert "no labels" not in page(read_source(source.directory))
