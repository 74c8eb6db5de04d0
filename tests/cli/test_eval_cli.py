"""``lmtools eval calibration`` from the shell: output, files, exit codes, resumption, and bad input."""

import json

import pytest
from quiz import answer_records, choice_records, write_lines

from lmtools.cli.app import run

FAST = ("--set", "resamples=100", "--set", "chat=true", "--set", "model.device=cpu")


@pytest.fixture
def shell(tmp_path, monkeypatch, capsys):
    """``shell("eval", ...)``: (exit code, stdout, stderr), in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def choices(tmp_path):
    return write_lines(tmp_path / "towns.jsonl", choice_records())


@pytest.fixture
def answers(tmp_path):
    return write_lines(tmp_path / "short.jsonl", answer_records())


@pytest.fixture
def measure(shell, tiny_llama):
    return lambda *arguments: shell("eval", "calibration", "--model", tiny_llama, *FAST, *arguments)


def test_two_files_measured(measure, choices, answers, tmp_path):
    code, out, err = measure("--task", choices, "--task", answers, "--json")
    assert code == 0, err
    found = json.loads(out)  # one object and nothing else
    assert found["run"] == "runs/eval-calibration"
    assert [row["name"] for row in found["rows"]] == ["uncalibrated"]
    assert set(found["rows"][0]["metrics"]["towns/ece"]) == {
        "value", "low", "high", "n", "method", "clusters",
    }  # fmt: skip
    assert "short/accuracy" in found["rows"][0]["metrics"]
    run_directory = tmp_path / "runs" / "eval-calibration"
    plots = sorted(path.name for path in (run_directory / "plots").iterdir())
    assert plots == ["short-reliability.svg", "short-risk.svg", "towns-reliability.svg", "towns-risk.svg"]
    assert (run_directory / "plots" / "towns-risk.svg").read_text().startswith("<svg ")
    inputs = json.loads((run_directory / "manifest.json").read_text())["inputs"]
    assert {"task towns", "task short", str(choices), str(answers)} <= inputs.keys()

    again = ("--task", choices, "--task", answers, "--out", run_directory)
    code, _, err = measure(*again)
    assert code == 2
    assert "--resume" in err
    code, out, _ = measure(*again, "--resume", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == found["rows"]

    choices.write_text(choices.read_text().replace("Paris", "PARIS"))
    code, _, err = measure(*again, "--resume")
    assert code == 2
    assert f"input {choices}: has changed" in err


def test_the_default_is_the_bundled_data(shell):
    code, _, err = shell("eval", "calibration", "--dry-run", "--model", "no-such-folder/at/all")
    assert code == 2  # the model is wanted, not the recipe
    assert "no-such-folder" in err


def test_dry_run_shows_a_prompt_and_loads_nothing(measure, choices, answers, tmp_path):
    code, out, err = measure("--task", choices, "--task", answers, "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert [(task["task"], task["questions"]) for task in plan["tasks"]] == [("towns", 10), ("short", 10)]
    assert "What is the capital of France?\nA. Paris" in plan["tasks"][0]["prompt"]
    assert plan["tasks"][0]["generated_tokens"] == 0
    assert plan["tasks"][1]["generated_tokens"] == 10 * 32
    assert plan["tasks"][0]["prompt_tokens"] > 10 * 20
    assert not (tmp_path / "runs").exists()
    code, out, err = measure("--task", choices, "--dry-run")
    assert out == ""
    assert "everything checks out" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "truthfullqa"], "did you mean truthfulqa"),
        (["--task", "no/such.jsonl"], "unknown task 'no/such.jsonl'"),
        (["--set", "answers.samples=3"], "3 greedy answers are one and the same"),
        (["--set", "confidence=avg"], "confidence: 'avg' is none of mean, product, length-normalised"),
        (["--set", "task=mmlu"], "unknown key; did you mean tasks"),
        (["--head", "nowhere"], "nowhere: holds no fitted head"),
        (["--set", "head=nowhere", "--backend", "vllm"], "head needs model.backend: hf"),
        (["--set", "answers.file=x.jsonl"], "answers.file needs exactly one task"),
        (["--set", "tasks=[]"], "tasks"),
    ],
)
def test_bad_options_are_told_without_a_traceback(measure, choices, answers, arguments, message):
    code, out, err = measure(*(() if "--task" in arguments else ("--task", choices)), *arguments)
    assert code == 2, err
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_wrong_answer_index_is_named(measure, tmp_path):
    records = choice_records()
    records[4]["answer"] = -1
    code, _, err = measure("--task", write_lines(tmp_path / "bad.jsonl", records))
    assert code == 2
    assert "bad.jsonl:5: answer: there is no choice -1 among 4" in err


def test_options_that_are_not_one_token(shell, tiny_llama, choices):
    code, _, err = shell("eval", "calibration", "--model", tiny_llama, "--task", choices)
    assert code == 2
    assert "option ' A' is 2 tokens for this model" in err


def test_sampled_answers_count_and_follow_the_seed(measure, answers):
    sampled = ("--task", answers, "--set", "answers={temperature: 1.0, samples: 2}", "--json")
    runs = [
        json.loads(measure(*sampled, "--seed", seed, "--out", out)[1]) for seed, out in ((1, "a"), (1, "b"))
    ]
    assert runs[0]["rows"] == runs[1]["rows"]
    assert runs[0]["rows"][0]["metrics"]["short/accuracy"]["n"] == 20


def test_given_answers(measure, answers, tmp_path):
    given = write_lines(
        tmp_path / "given.jsonl", [{"id": "a0", "answer": "Paris"}, {"id": "a1", "answer": "Rome"}]
    )
    code, out, err = measure("--task", answers, "--set", f"answers.file={given}", "--json")
    assert code == 0, err
    found = json.loads(out)["rows"][0]["metrics"]["short/accuracy"]
    assert (found["value"], found["n"]) == (0.5, 2)
    # The exact interval of one right answer of two; each question has one answer, so nothing is clustered.
    assert found["method"].startswith("clopper-pearson")
    assert found["low"] == pytest.approx(1 - 0.975**0.5)
    assert found["high"] == pytest.approx(0.975**0.5)
    assert "8 of 10 questions have no answer" in err


def test_a_row_of_another_name(measure, choices):
    code, out, err = measure("--task", choices, "--set", "method=exported", "--json")
    assert code == 0, err
    assert [row["name"] for row in json.loads(out)["rows"]] == ["exported"]
    assert "compare: 'uncalibrated' will not be measured" in err
