"""The harness's layout: names, structure, files, and the harness's own table of what was written."""

import json
import os
import subprocess
import sys
from datetime import datetime

import pytest

from lmtools.core.files import sha256_text
from lmtools.core.lm_eval import HarnessRun, as_lm_eval, sanitized, write_lm_eval
from lmtools.core.results import Interval, Results, Row

WHEN = datetime(2026, 3, 1, 12, 30, 15, 250000)
KEYS = {
    "results", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "config",
    "git_hash", "date", "pretty_env_info", "transformers_version", "upper_git_hash", "task_hashes",
    "model_source", "model_name", "model_name_sanitized", "system_instruction", "system_instruction_sha",
    "fewshot_as_multiturn", "chat_template", "chat_template_sha", "total_evaluation_time_seconds",
}  # fmt: skip
"""What lm_eval 0.4.13 writes, but for its own version."""
CONFIG = {
    "model", "model_args", "batch_size", "batch_sizes", "device", "use_cache", "limit", "bootstrap_iters",
    "gen_kwargs", "random_seed", "numpy_seed", "torch_seed", "fewshot_seed",
}  # fmt: skip


def near(value, width=0.098, n=50):
    return Interval(value, value - width / 2, value + width / 2, n)


def results(*rows):
    versions = {"lmtools": "0.1.0", "transformers": "5.19.0"}
    return Results("calibration/paper", "lmtools eval calibration", 7, versions, {"cores": 2}, rows)


def ran(**more):
    arguments = {"pretrained": "org/tiny", "dtype": "float32", "device": "cpu"}
    return HarnessRun("org/tiny", "hf", arguments, "calibration", 2000, 12.5, **more)


CALIBRATION = results(
    Row("uncalibrated", {"mmlu/accuracy": near(0.5), "mmlu/ece": near(0.25)}),
    Row("scalar (NLL)", {"mmlu/accuracy": near(0.5), "mmlu/ece": near(0.125)}),
)


def test_methods_are_filters_of_one_model():
    found = as_lm_eval(CALIBRATION, ran(shots={"mmlu": 5}, limit=50), when=WHEN)
    task = found["results"]["mmlu"]
    assert task.pop("alias") == task.pop("name") == "mmlu"
    assert task.pop("sample_len") == 50
    assert {name: round(value, 9) for name, value in task.items()} == {
        "acc,none": 0.5, "acc_stderr,none": 0.025, "ece,none": 0.25, "ece_stderr,none": 0.025,
        "acc,scalar (NLL)": 0.5, "acc_stderr,scalar (NLL)": 0.025,
        "ece,scalar (NLL)": 0.125, "ece_stderr,scalar (NLL)": 0.025,
    }  # fmt: skip
    assert found["higher_is_better"] == {"mmlu": {"acc": True, "ece": False}}
    assert found["n-shot"] == {"mmlu": 5}
    assert found["n-samples"] == {"mmlu": {"original": 50, "effective": 50}}
    assert found["group_subtasks"] == {}
    assert found["config"]["limit"] == 50
    assert found["config"]["random_seed"] == 7


def test_the_keys_are_the_harnesss_own():
    found = as_lm_eval(CALIBRATION, ran(), when=WHEN)
    assert found.keys() - {"lmtools_version"} == KEYS
    assert found["config"].keys() == CONFIG
    assert "lm_eval_version" not in found  # it did not run
    tasks = set(found["results"])
    for name in ("configs", "versions", "n-shot", "higher_is_better", "n-samples"):
        assert found[name].keys() == tasks
    assert found["date"] == WHEN.timestamp()
    assert found["total_evaluation_time_seconds"] == "12.5"


def test_a_single_row_needs_no_filter_and_means_are_the_group():
    row = Row(
        "single-head", {"accuracy": near(0.75, n=90), "short/accuracy": near(0.5), "long/accuracy": near(1)}
    )
    found = as_lm_eval(results(row), ran())
    assert list(found["results"]) == ["calibration", "short", "long"]
    assert found["results"]["calibration"]["acc,none"] == 0.75
    assert found["group_subtasks"] == {"calibration": ["short", "long"]}


def test_files_lie_where_the_harness_puts_them(tmp_path):
    sample = {"doc_hash": "a", "prompt_hash": "b", "target_hash": "c"}
    path = write_lm_eval(tmp_path, CALIBRATION, ran(), {"my task/1": [sample, sample]}, WHEN)
    assert path == tmp_path / "org__tiny" / "results_2026-03-01T12-30-15.250000.json"
    names = {file.name for file in path.parent.iterdir()} - {path.name}
    assert names == {"samples_my_task_1_2026-03-01T12-30-15.250000.jsonl"}
    assert json.loads(path.read_text())["task_hashes"] == {"my task/1": sha256_text("abcabc")}


@pytest.mark.parametrize(
    ("model", "folder"),
    [("a/b", "a__b"), ("C:\\x", "C__x"), ('a<>:"|?*[]b', "a__b"), ("builtin:tiny", "builtin__tiny")],
)
def test_a_models_folder(model, folder):
    assert sanitized(model) == folder


READ = """
import json, sys
from lm_eval.utils import get_file_datetime, get_file_task_name, make_table, sanitize_model_name
found = json.load(open(sys.argv[1]))
print(make_table(found))
print(sanitize_model_name(found["model_name"]), get_file_datetime(sys.argv[1]).removesuffix(".json"))
print(get_file_task_name("samples_my_task_1_2026-03-01T12-30-15.250000.jsonl"))
"""


@pytest.fixture(scope="session")
def harness():
    """A Python with lm_eval: $LM_EVAL_PYTHON, or this one."""
    python = os.environ.get("LM_EVAL_PYTHON", sys.executable)
    done = subprocess.run([python, "-c", "import lm_eval"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("needs lm_eval: set LM_EVAL_PYTHON to a Python that has lm_eval 0.4.13")
    return python


def test_the_harness_prints_its_table_of_our_file(harness, tmp_path):
    path = write_lm_eval(tmp_path, CALIBRATION, ran(shots={"mmlu": 5}), when=WHEN)
    done = subprocess.run([harness, "-c", READ, str(path)], capture_output=True, text=True, check=True)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()]
    assert rows[0][:5] == ["Tasks", "Version", "Filter", "n-shot", "Metric"]
    body = [row for row in rows[2:] if len(row) == 9]
    assert body[0] == ["mmlu", "0.1.0", "none", "5", "acc", "↑", "0.500", "±", "0.025"]
    assert [(row[2], row[4], row[5]) for row in body] == [
        ("none", "acc", "↑"), ("scalar (NLL)", "acc", "↑"),
        ("none", "ece", "↓"), ("scalar (NLL)", "ece", "↓"),
    ]  # fmt: skip
    assert done.stdout.splitlines()[-2:] == ["org__tiny 2026-03-01T12-30-15.250000", "my_task_1"]
