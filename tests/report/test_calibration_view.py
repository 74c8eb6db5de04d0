"""A calibration run on the page: bins of all answers, each with examples; curves; old, odd and large runs."""

import json
import random

import numpy as np
import pytest
from quiz import QuizScorer, answer_records, choice_records, write_lines
from sample_page import HOSTILE

from lmtools.calibration.evaluate import evaluate_calibration
from lmtools.calibration.inputs import CalibrationInputs, read_inputs
from lmtools.calibration.prompt import Rendering
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.core.errors import DataError
from lmtools.core.run import Run
from lmtools.data.predictions import Prediction, read_predictions, write_predictions
from lmtools.metrics.calibration import BINS, bin_of
from lmtools.report import calibration
from lmtools.report.budget import ByteBudget, browser_json
from lmtools.report.calibration import main_method, outcomes, sections, thinned
from lmtools.report.elements import Browser, Dots, Grid, Lines, Prose, Reliability
from lmtools.report.html import Chapter, page_html
from lmtools.report.run_files import read_source


@pytest.fixture
def quiz_run(tmp_path):
    """A finished measurement of two tasks under three methods."""
    files = [
        write_lines(tmp_path / "choices.jsonl", choice_records()),
        write_lines(tmp_path / "answers.jsonl", answer_records()),
    ]
    recipe = CalibrationRecipe(tasks=[str(path) for path in files], resamples=100)
    return measure(recipe, tmp_path / "run")


def measure(recipe, directory):
    tasks, given = read_inputs(recipe)
    setup = CalibrationInputs(recipe, tasks, Rendering(), given, {})
    with Run.create(directory, recipe, command=["lmtools"], inputs={}, resume=False, seed=0) as run:
        run.finish(evaluate_calibration(setup, run, QuizScorer, "mine"))
    return directory


def rewrite(directory, predictions):
    """The run with other answers, and without the texts of its questions."""
    write_predictions(directory / "predictions.jsonl", predictions)
    (directory / "questions.jsonl").unlink(missing_ok=True)
    return directory


def said(id, confidence, correct, method="uncalibrated", task="quiz", answer="x"):
    return Prediction(id=id, task=task, method=method, answer=answer, confidence=confidence, correct=correct)


def parts(found, kind):
    flat = [part for section in found for part in section.parts]
    flat += [chart for part in flat if isinstance(part, Grid) for chart in part.charts]
    return [part for part in flat if isinstance(part, kind)]


def test_every_task_has_figures_diagrams_and_curves_of_every_method(quiz_run):
    found = sections(read_source(quiz_run))
    assert [section.title for section in found] == [
        "Calibration on choices", "Calibration on answers", "Answers",
    ]  # fmt: skip
    dots = parts(found[:1], Dots)
    assert [dot.title for dot in dots] == ["ece", "brier", "auroc", "accuracy"]
    results = read_source(quiz_run).results
    assert dict(dots[1].rows) == {row.name: row.metrics["choices/brier"] for row in results.rows}
    diagrams = parts(found[:1], Reliability)
    assert [one.title.partition(":")[0] for one in diagrams] == list(QuizScorer.methods)
    assert all(sum(one.counts) == 10 for one in diagrams)
    [curves] = parts(found[:1], Lines)
    assert [line.name for line in curves.lines] == list(QuizScorer.methods)
    assert curves.strong == "map"
    accuracy = results.row("map").metrics["choices/accuracy"].value
    assert curves.lines[2].points[-1] == pytest.approx((1.0, 1 - accuracy))


def test_a_click_on_any_bin_finds_the_answers_that_it_counts(quiz_run):
    found = sections(read_source(quiz_run))
    [browser] = parts(found, Browser)
    assert len(browser.entries) == 20  # not once more for every method
    predictions = read_predictions(quiz_run / "predictions.jsonl")
    questions = {f"{r['question']}" for r in (*choice_records(), *answer_records())}
    assert {entry.cells[0] for entry in browser.entries} == questions
    texts = {("choices", r["id"]): r["question"] for r in choice_records()}
    texts |= {("answers", r["id"]): r["question"] for r in answer_records()}
    checked = 0
    for task in ("choices", "answers"):
        charts = [one for section in found if task in section.title for one in parts([section], Reliability)]
        for method, chart in zip(QuizScorer.methods, charts, strict=True):
            assert chart.browser == browser.name
            for place, count in enumerate(chart.counts):
                [(name, option)] = chart.picks[place].items()
                shown = [entry.cells[0] for entry in browser.entries if option in entry.options[name]]
                expected = [
                    texts[task, p.id]
                    for p in predictions
                    if (p.task, p.method) == (task, method) and bin_of(np.array(p.confidence)) == place
                ]
                assert sorted(shown) == sorted(expected)
                assert len(shown) == count
                checked += count
    assert checked == 60


def test_an_answer_is_told_with_its_question_and_every_confidence(quiz_run):
    [browser] = parts(sections(read_source(quiz_run)), Browser)
    assert browser.filters["subject"] == ["north", "south"]
    assert browser.filters["task"] == ["choices", "answers"]
    assert browser.hidden == ["bin"]
    wrong = next(e for e in browser.entries if e.options["graded"] == "wrong" and "subject" in e.options)
    assert wrong.cells[2] == "wrong"
    question, choices, confidence = wrong.detail
    assert question.text == wrong.cells[0]
    marked = {item.mark: item.text for item in choices.items}
    assert marked["gold"] == wrong.cells[3]
    assert marked["bad"] == f"{wrong.cells[1]} (chosen)"
    assert [item.text.partition(":")[0] for item in confidence.items] == list(QuizScorer.methods)
    assert confidence.items[0].text == f"uncalibrated: {wrong.cells[4]}"
    assert wrong.options["map is"] == "less sure"
    written = next(e for e in browser.entries if e.detail[1].heading == "Accepted answers")
    assert [item.mark for item in written.detail[1].items] == ["gold", "gold"]
    order = [(e.options["graded"], float(e.cells[4].split()[0])) for e in browser.entries]
    falling = [value for graded, value in order if graded == "wrong"]
    assert falling == sorted(falling, reverse=True)
    assert [graded for graded, _ in order] == ["wrong"] * len(falling) + ["right"] * (20 - len(falling))


def test_another_answer_under_a_method_is_told_where_it_is_given(quiz_run):
    answers = [
        said("q", 0.9, False), said("q", 0.6, True, "vector scaling", answer="y"),
    ]  # fmt: skip
    [browser] = parts(sections(read_source(rewrite(quiz_run, answers))), Browser)
    [entry] = browser.entries
    first, second = entry.detail[-1].items
    assert (first.text, first.mark) == ("uncalibrated: 90.0 %", "")
    assert (second.text, second.mark) == ("vector scaling: 60.0 % in “y”", "good")


def test_several_answers_to_a_question_stay_apart(quiz_run):
    answers = [said("q", 0.9, False), said("q", 0.3, True)]
    answers += [said("q", 0.8, False, "mlp"), said("q", 0.4, True, "mlp")]
    run = read_source(rewrite(quiz_run, answers))
    [browser] = parts(sections(run), Browser)
    assert [entry.cells[-2:] for entry in browser.entries] == [["90.0 %", "80.0 %"], ["30.0 %", "40.0 %"]]
    assert outcomes(run)["mlp"] == {
        "quiz/accuracy": {"q": 0.5},
        "quiz/brier": {"q": pytest.approx((0.8**2 + 0.6**2) / 2)},
    }


def test_outcomes_have_the_means_of_the_result_file(quiz_run):
    run = read_source(quiz_run)
    found = outcomes(run)
    for row in run.results.rows:
        assert set(found[row.name]) == {
            f"{t}/{m}" for t in ("choices", "answers") for m in ("accuracy", "brier")
        }
        for metric, examples in found[row.name].items():
            assert len(examples) == 10
            assert np.mean(list(examples.values())) == pytest.approx(row.metrics[metric].value)


def test_a_run_without_texts_of_questions_shows_their_ids_and_says_so(quiz_run):
    (quiz_run / "questions.jsonl").unlink()
    found = sections(read_source(quiz_run))
    [browser] = parts(found, Browser)
    assert {entry.cells[0] for entry in browser.entries} == {f"{k}{n}" for k in "ac" for n in range(10)}
    assert any("no questions.jsonl" in prose.text for prose in parts(found, Prose))


def test_an_unfinished_run_shows_what_it_has(quiz_run):
    (quiz_run / "metrics.json").unlink()
    found = sections(read_source(quiz_run))
    assert len(parts(found, Reliability)) == 6
    assert parts(found, Dots) == []


def test_other_runs_have_no_part_in_this_view(quiz_run):
    (quiz_run / "recipe.yaml").write_text("system: hyre\n")
    assert sections(read_source(quiz_run)) == []
    assert outcomes(read_source(quiz_run)) == {}
    (quiz_run / "recipe.yaml").write_text("system: calibration\n")
    (quiz_run / "predictions.jsonl").unlink()
    assert sections(read_source(quiz_run)) == []


@pytest.mark.parametrize("name", ["predictions.jsonl", "questions.jsonl"])
def test_a_damaged_file_is_named(quiz_run, name):
    with (quiz_run / name).open("a") as file:
        file.write('{"id": 3}\n')
    with pytest.raises(DataError, match=rf"{name}:\d+: "):
        sections(read_source(quiz_run))


def test_hostile_texts_stay_texts(quiz_run):
    answers = [
        said(
            bad.replace("\ud800", ""),
            0.1 * (n % 10),
            n % 2 == 0,
            method,
            HOSTILE[0],
            bad.replace("\ud800", ""),
        )
        for n, bad in enumerate(HOSTILE)
        for method in ("uncalibrated", HOSTILE[3])
    ]
    found = sections(read_source(rewrite(quiz_run, answers)))
    [browser] = parts(found, Browser)
    assert {entry.cells[1] for entry in browser.entries} == {bad.replace("\ud800", "") for bad in HOSTILE}
    page = page_html("run", [Chapter("run", found)], ByteBudget("left.jsonl"))
    assert page.count("<script>") == 1
    assert "<img" not in page
    assert "<svg" not in page.partition("<script>")[0]


def test_of_very_many_answers_some_of_every_bin_are_listed(quiz_run, monkeypatch):
    monkeypatch.setattr(calibration, "MOST", 400)
    monkeypatch.setattr(calibration, "TIER", 3)
    draw = random.Random(0)
    answers = []
    for number in range(3000):
        sure = draw.random() ** 4  # few are sure
        answers += [said(f"q{number}", sure, draw.random() < sure), said(f"q{number}", sure**2, False, "mlp")]
    found = sections(read_source(rewrite(quiz_run, answers)))
    [browser] = parts(found, Browser)
    assert len(browser.entries) == 400
    assert any("400 of 3,000 answers" in prose.text for prose in parts(found, Prose))
    for chart in parts(found, Reliability):
        assert sum(chart.counts) == 3000
        for count, pick in zip(chart.counts, chart.picks, strict=True):
            own = [e for e in browser.entries if pick["bin"] in e.options["bin"]]
            assert len(own) >= min(count, calibration.TIER)
    # Where a page has room for few, every bin keeps some, the surest wrong ones among them.
    whole = ByteBudget("left.jsonl")
    size = whole.size
    browser_json(browser, whole)
    kept = browser_json(browser, ByteBudget("left.jsonl", (size - whole.size) // 2))
    assert 0 < kept["left"] < 400
    bins = [place for name, place in zip(browser.filters, range(9), strict=False) if name == "bin"]
    seen = {option for _, options, _ in kept["entries"] for option in options[bins[0]]}
    assert seen == set(range(len(browser.filters["bin"])))
    assert browser.entries[0].options["graded"] == "wrong"
    assert float(browser.entries[0].cells[-2].split()[0]) == max(
        float(e.cells[-2].split()[0]) for e in browser.entries if e.options["graded"] == "wrong"
    )


def test_a_curve_begins_where_it_is_steady_and_keeps_its_shape(quiz_run):
    answers = [said(f"q{n}", 1 - n / 10_000, n % 7 > 0 or n < 50) for n in range(5000)]
    [curves] = parts(sections(read_source(rewrite(quiz_run, answers))), Lines)
    [line] = curves.lines
    assert len(line.points) <= 200
    assert line.points[0][0] == pytest.approx(0.05)
    assert [x for x, _ in line.points] == sorted({x for x, _ in line.points})
    one = [said(f"q{n}", 0.5, n > 1) for n in range(4)]
    [curves] = parts(sections(read_source(rewrite(quiz_run, one))), Lines)
    assert curves.lines[0].points == [(0.05, 0.5), (1.0, 0.5)]


def test_thinning_keeps_ends_and_peaks():
    x = np.linspace(0, 1, 100_001)
    y = np.where(np.arange(len(x)) == 31_234, 5.0, np.sin(9 * x))
    points = thinned(x, y)
    assert len(points) <= 200
    assert points[0] == (0.0, 0.0)
    assert points[-1] == (1.0, pytest.approx(np.sin(9)))
    assert (x[31_234], 5.0) in points
    assert thinned(x[:3], y[:3]) == list(zip(x[:3].tolist(), y[:3].tolist(), strict=True))


def test_the_page_is_about_the_strongest_head():
    assert main_method(["uncalibrated", "mlp", "transformer", "isotonic"]) == "transformer"
    assert main_method(["uncalibrated", "linear"]) == "linear"
    assert main_method(["uncalibrated", "isotonic"]) == "isotonic"
    assert main_method(["ats-vllm", "ats-vllm"]) == "ats-vllm"


def test_a_server_that_calibrates_by_itself_has_one_column(quiz_run):
    answers = [said(f"q{n}", n / 10, n % 2 == 0, "mine") for n in range(10)]
    [browser] = parts(sections(read_source(rewrite(quiz_run, answers))), Browser)
    assert browser.columns[4:] == ["Confidence, mine"]
    assert list(browser.filters) == ["graded", "bin"]
    assert len(browser.filters["bin"]) <= BINS
    json.dumps(browser_json(browser, ByteBudget("left.jsonl")))
