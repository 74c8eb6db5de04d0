"""A measurement over several tasks and methods: predictions, figures recomputed from them, resumption."""

import json
import math

import pytest
from quiz import QuizScorer, answer_records, choice_records, write_lines

from lmtools.calibration.evaluate import evaluate_calibration, make_table, predict
from lmtools.calibration.inputs import CalibrationInputs, read_inputs
from lmtools.calibration.prompt import Rendering
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.core.errors import BackendError, DataError
from lmtools.core.journal import Journal
from lmtools.core.results import read_results
from lmtools.core.run import Run
from lmtools.data.predictions import Prediction, read_asked, read_predictions

METRICS = {
    "accuracy", "ece", "ece-mass", "rms-ce", "mce", "brier", "nll", "auroc", "selective@50", "selective@80",
}  # fmt: skip


@pytest.fixture
def setup(tmp_path):
    """``setup(tasks=..., ...)``: prepared without any model."""
    files = {
        "choices": write_lines(tmp_path / "choices.jsonl", choice_records()),
        "answers": write_lines(tmp_path / "answers.jsonl", answer_records()),
    }

    def make(tasks=("choices", "answers"), **settings):
        recipe = CalibrationRecipe(
            tasks=[str(files[name]) for name in tasks], chunk=4, resamples=100, **settings
        )
        tasks, given = read_inputs(recipe)
        return CalibrationInputs(recipe, tasks, Rendering(), given, {})

    return make


@pytest.fixture
def open_run(tmp_path):
    def make(setup, resume=False, name="run"):
        return Run.create(
            tmp_path / name, setup.recipe, command=["lmtools"], inputs={}, resume=resume, seed=0
        )

    return make


def test_rows_by_method_and_metrics_by_task(setup, open_run):
    ready, reader = setup(compare=("uncalibrated", "map", "absent")), QuizScorer()
    with open_run(ready) as run:
        results = evaluate_calibration(ready, run, lambda: reader, "mine")
        run.finish(results)
    assert reader.closed
    assert [row.name for row in results.rows] == ["uncalibrated", "flatter", "map"]
    expected = {f"{task}/{metric}" for task in ("choices", "answers") for metric in METRICS}
    for row in results.rows:
        assert set(row.metrics) == expected
        assert row.metrics["choices/accuracy"].n == 10
    assert results.rows[0].metrics["answers/accuracy"].value == 0.5  # it knows five of ten capitals
    pairs = {(d.a, d.b) for d in results.differences}
    assert pairs == {
        ("flatter", "uncalibrated"), ("map", "uncalibrated"), ("uncalibrated", "map"), ("flatter", "map"),
    }  # fmt: skip
    same = [d for d in results.differences if d.metric == "answers/accuracy"]
    assert all(d.value == 0 and -0.5 < d.low < 0 < d.high < 0.5 for d in same)  # ten of ten alike


def test_every_figure_can_be_recomputed_from_the_predictions(setup, open_run, tmp_path):
    ready = setup()
    with open_run(ready) as run:
        results = evaluate_calibration(ready, run, QuizScorer, "mine")
        run.finish(results)
    predictions = read_predictions(tmp_path / "run" / "predictions.jsonl")
    recipe = ready.recipe
    table = make_table(predictions, recipe.compare, recipe.resamples, recipe.seed)
    written = read_results(tmp_path / "run" / "metrics.json")
    assert written.rows == tuple(table.rows) == results.rows
    assert written.differences == tuple(table.differences)
    by_hand = [p for p in predictions if (p.task, p.method) == ("choices", "map")]
    brier = sum((p.confidence - p.correct) ** 2 for p in by_hand) / len(by_hand)
    assert written.row("map").metrics["choices/brier"].value == pytest.approx(brier)


def test_a_head_is_compared_with_the_strongest_other_method():
    """Platt is right as often as it says, the model and scaling are not; the other head does not count."""
    said = {"uncalibrated": 1.0, "scaling": 0.8, "Platt": 0.5, "transformer": 0.6, "mlp": 0.5}
    predictions = [
        Prediction(id=f"q{n}", task="quiz", method=method, answer="a", confidence=p, correct=n % 2 == 0)
        for method, p in said.items()
        for n in range(8)
    ]
    table = make_table(predictions, ["uncalibrated"], 50)
    pairs = [(d.a, d.b) for d in table.differences if d.metric == "quiz/ece"]
    assert pairs[-1] == ("transformer", "Platt")
    assert set(pairs[:-1]) == {(name, "uncalibrated") for name in said if name != "uncalibrated"}
    assert table.rows[0].metrics["quiz/accuracy"].method.startswith("clopper-pearson")


def test_predictions_have_the_fields_of_the_contract(setup, open_run, tmp_path):
    ready = setup()
    with open_run(ready) as run:
        evaluate_calibration(ready, run, QuizScorer, "mine")
    lines = (tmp_path / "run" / "predictions.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 10 * 3
    rows = [json.loads(line) for line in lines]
    assert all(list(row) == ["id", "task", "method", "answer", "confidence", "correct"] for row in rows)
    assert rows[0]["answer"] == "Paris"


def test_the_text_of_every_question_stands_beside_the_predictions(setup, open_run, tmp_path):
    ready = setup()
    with open_run(ready) as run:
        evaluate_calibration(ready, run, QuizScorer, "mine")
    asked = {(one.task, one.id): one for one in read_asked(tmp_path / "run" / "questions.jsonl")}
    assert set(asked) == {(p.task, p.id) for p in read_predictions(tmp_path / "run" / "predictions.jsonl")}
    choice, written = asked["choices", "c1"], asked["answers", "a1"]
    assert (choice.question, choice.subject) == ("What is the capital of Japan?", "north")
    assert choice.choices[1] == "Tokyo"
    assert choice.accepted == ("Tokyo",)
    assert (written.question, written.choices) == ("Capital of Japan?", ())
    assert written.accepted == ("Tokyo", "TOKYO")


def test_worked_confidences(setup):
    ready = setup()
    found = {(p.id, p.method): p for p in predict(ready, _journal(), QuizScorer)}
    # c0 lists Paris first: logits 2, 0, 0, .5.
    e = math.exp
    share = e(2) / (e(2) + 1 + 1 + e(0.5))
    assert found["c0", "uncalibrated"].confidence == pytest.approx(share)
    assert found["c0", "map"].confidence == pytest.approx(share - 0.1)
    assert found["c0", "flatter"].confidence == pytest.approx(e(1) / (e(1) + 1 + 1 + e(0.25)))
    # Of the three tokens of a0 the last is the newline that ended it.
    [[answer]] = QuizScorer().generate([ready.tasks[1].items[0].prompt.text()], None)
    tokens = [e(value) for value in answer.logprobs[:2]]
    assert found["a0", "uncalibrated"].confidence == pytest.approx(sum(tokens) / 2)
    assert found["a0", "map"].confidence == pytest.approx(sum(tokens) / 2 - 0.1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("product", lambda p: p[0] * p[1]), ("length-normalised", lambda p: (p[0] * p[1]) ** 0.5)],
)
def test_other_confidences(setup, name, expected):
    ready = setup(tasks=["answers"], confidence=name)
    first = predict(ready, _journal(), QuizScorer)[0]
    [[answer]] = QuizScorer().generate([ready.tasks[0].items[0].prompt.text()], None)
    assert first.confidence == pytest.approx(expected([math.exp(x) for x in answer.logprobs[:2]]))


def test_several_samples_are_several_answers_to_one_question(setup, open_run):
    ready = setup(tasks=["answers"], answers={"temperature": 1.0, "samples": 3})
    with open_run(ready) as run:
        results = evaluate_calibration(ready, run, QuizScorer, "mine")
    accuracy = results.rows[0].metrics["answers/accuracy"]
    assert accuracy.n == 30
    assert accuracy.value == pytest.approx(5 * 2 / 30)  # every second sample says too much


def test_killed_and_resumed_it_asks_only_what_is_missing(setup, open_run, tmp_path):
    ready = setup()
    with open_run(ready, name="whole") as run:
        whole = evaluate_calibration(ready, run, QuizScorer, "mine")

    class Dies(QuizScorer):
        def score(self, prompts, answers):
            if any("Norway" in prompt for prompt in prompts):
                raise KeyboardInterrupt
            return super().score(prompts, answers)

    with open_run(ready) as run, pytest.raises(KeyboardInterrupt):
        evaluate_calibration(ready, run, Dies, "mine")
    again = QuizScorer()
    with open_run(ready, resume=True) as run:
        results = evaluate_calibration(ready, run, lambda: again, "mine")
        run.finish(results)
    assert [call for call, _ in again.calls] == ["generate", "score"] * 2  # 3 chunks, the first was done
    assert (results.rows, results.differences) == (whole.rows, whole.differences)
    paths = [tmp_path / name / "predictions.jsonl" for name in ("run", "whole")]
    assert paths[0].read_bytes() == paths[1].read_bytes()

    def no_reader():
        raise AssertionError("a finished run needs no model")

    with open_run(ready, resume=True) as run:
        assert evaluate_calibration(ready, run, no_reader, "mine").rows == whole.rows


@pytest.mark.parametrize("known", [0, 10])
def test_all_right_or_all_wrong_has_no_auroc(setup, open_run, known):
    ready = setup(tasks=["answers"])
    with open_run(ready) as run:
        results = evaluate_calibration(ready, run, lambda: QuizScorer(known), "mine")
        run.finish(results)
    for row in results.rows:
        assert set(row.metrics) == {f"answers/{name}" for name in METRICS - {"auroc"}}
        assert row.metrics["answers/accuracy"].value == known / 10
    assert not any(d.metric.endswith("auroc") for d in results.differences)


def test_one_question(setup, open_run):
    ready = setup(limit=1)
    with open_run(ready) as run:
        results = evaluate_calibration(ready, run, QuizScorer, "mine")
        run.finish(results)  # writes no NaN
    assert results.rows[0].metrics["choices/accuracy"].n == 1


@pytest.mark.parametrize(
    ("value", "fault"), [(math.nan, "not a number"), (500.0, "above 0"), (0.01, "above 0")]
)
def test_numbers_that_are_none_name_question_and_method(setup, value, fault):
    class Broken(QuizScorer):
        def options(self, prompts, options):
            rows = super().options(prompts, options)
            rows[1]["flatter"] = (value,) * len(options)
            return rows

    with pytest.raises(BackendError, match=f"choices: question 'c1', flatter: .* {fault}"):
        predict(setup(), _journal(), Broken)


def test_an_empty_answer_is_wrong_and_as_sure_as_its_end(setup):
    class Silent(QuizScorer):
        def _written(self, prompt, sample):
            from lmtools.generation.protocol import Completion

            return Completion("", (2,), (-0.5,), "stop")

    first = predict(setup(tasks=["answers"]), _journal(), Silent)[0]
    assert (first.answer, first.correct) == ("", False)
    assert first.confidence == pytest.approx(math.exp(-0.5))


def test_given_answers_are_scored_and_nothing_is_generated(setup, tmp_path, capsys):
    lines = [{"id": "a1", "answer": "Tokyo"}, {"id": "a0", "answer": "Paris"}, {"id": "a0", "answer": "Nice"}]
    file = write_lines(tmp_path / "given.jsonl", lines)
    reader = QuizScorer()
    ready = setup(tasks=["answers"], answers={"file": str(file)})
    found = [p for p in predict(ready, _journal(), lambda: reader) if p.method == "uncalibrated"]
    assert [(p.id, p.answer, p.correct) for p in found] == [
        ("a0", "Paris", True), ("a0", "Nice", False), ("a1", "Tokyo", True),
    ]  # fmt: skip
    assert [call for call, _ in reader.calls] == ["score"]
    assert found[0].confidence == pytest.approx(math.exp(-0.3))
    assert "8 of 10 questions have no answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"id": "a11", "answer": "x"}], "'a11' is no id of the questions asked in answers"),
        ([{"id": "a1", "answer": ""}], "given.jsonl:1: answer"),
        ([{"id": "a1"}], "given.jsonl:1: answer"),
    ],
)
def test_wrong_given_answers(setup, tmp_path, lines, message):
    file = write_lines(tmp_path / "given.jsonl", lines)
    with pytest.raises(DataError, match=message):
        setup(tasks=["answers"], answers={"file": str(file)})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"id": "a", "task": "t", "method": "m", "answer": "", "confidence": 1.5, "correct": true}',
            "confidence",
        ),
        ('{"id": "a"}', "task"),
        ('{"id": 1, ', "predictions.jsonl:1: "),
    ],
)
def test_broken_predictions(tmp_path, line, message):
    path = tmp_path / "predictions.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(DataError, match=message):
        read_predictions(path)


def _journal():
    """A journal that stays in memory."""
    from pathlib import Path

    return Journal(Path("nowhere.jsonl"), writable=False)
