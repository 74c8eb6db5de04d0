"""MMLU, 5-shot: `lmtools eval calibration` against lm-evaluation-harness, same questions, prompts and model.

    python -m venv harness && harness/bin/pip install lm_eval==0.4.13 torch transformers accelerate
    python benchmarks/calibration_eval.py --model DIR --harness harness/bin/python

Both run as commands of their own, one after the other in every round, with the same number of threads.
Seconds are those of the whole command, start-up and model loading included; CPU seconds, which a busy machine
stretches less, stand beside them. lmtools starts with an empty cache in every round. The harness gets the
questions and the demonstrations as local JSON files, and one task for each subject, written as its own `mmlu`
is. The model is a local directory: neither needs a network. Chosen options and confidences are compared
question by question. Writes benchmarks/results/calibration_eval.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from figures import harness_version, once

from lmtools.calibration.answering import shares
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.calibration.tasks import ChoiceItem, read_tasks
from lmtools.core.environment import machine, versions
from lmtools.core.intervals import mean_interval
from lmtools.core.results import Interval, Results, Row
from lmtools.data.predictions import Prediction, read_predictions
from lmtools.data.records import MultipleChoice
from lmtools.data.sources import load_choices

RESULTS = Path(__file__).parent / "results" / "calibration_eval.json"
GROUP = "mmlu_local"
OPTIONS = "A. {{choices[0]}}\nB. {{choices[1]}}\nC. {{choices[2]}}\nD. {{choices[3]}}"
TEXT = f"{{{{question.strip()}}}}\n{OPTIONS}\nAnswer:"
ABOUT = "The following are multiple choice questions (with answers) about {}.\n\n"


def write_tasks(folder: Path, questions: Mapping[str, Sequence[MultipleChoice]]) -> None:
    """A task for each subject, and a group of them all, in the harness's own form."""
    demonstrations: dict[str, list[MultipleChoice]] = {subject: [] for subject in questions}
    for record in load_choices("data:mmlu/dev"):
        if record.subject in demonstrations:
            demonstrations[record.subject].append(record)
    for subject, records in questions.items():
        files = {}
        for split, chosen in (("test", records), ("dev", demonstrations[subject])):
            path = folder / f"{subject}.{split}.jsonl"
            path.write_text("".join(f"{record.model_dump_json()}\n" for record in chosen), encoding="utf-8")
            files[split] = str(path)
        task = {
            "task": f"{GROUP}_{subject}",
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": files},
            "test_split": "test",
            "fewshot_split": "dev",
            "fewshot_config": {"sampler": "first_n"},
            "num_fewshot": 5,
            "output_type": "multiple_choice",
            "description": ABOUT.format(subject.replace("_", " ")),
            "doc_to_text": TEXT,
            "doc_to_choice": ["A", "B", "C", "D"],
            "doc_to_target": "answer",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            "metadata": {"version": 1},
        }
        (folder / f"{subject}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    group = {"group": GROUP, "task": [f"{GROUP}_{subject}" for subject in questions]}
    (folder / "group.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")


def run(command: Sequence[str], folder: Path, threads: int) -> dict[str, float]:
    """Seconds on the clock and of the processor that a command takes."""
    environment = os.environ | {
        "OMP_NUM_THREADS": str(threads),
        "LMTOOLS_CACHE": str(folder / "cache"),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{process.stderr[-3000:]}")
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": spent}


def run_lmtools(folder: Path, options: argparse.Namespace) -> tuple[dict[str, float], list[Prediction]]:
    """The command, and what it predicted."""
    command = [sys.executable, "-m", "lmtools", "eval", "calibration", "--task", "mmlu", "--out", "run"]
    command += ["--model", options.model, "--set", f"limit={options.questions}", "--json"]
    command += ["--set", f"model.dtype={options.dtype}"]
    taken = run(command, folder, options.threads)
    return taken, read_predictions(folder / "run" / "predictions.jsonl")


def run_harness(folder: Path, tasks: Path, options: argparse.Namespace) -> tuple[dict[str, float], Path]:
    """The command, and the folder of its samples."""
    command = [options.harness, "-m", "lm_eval", "--model", "hf", "--tasks", GROUP, "--device", "cpu"]
    command += ["--model_args", f"pretrained={options.model},dtype={options.dtype}"]
    command += ["--include_path", str(tasks), "--batch_size", options.batch_size]
    command += ["--log_samples", "--output_path", str(folder / "out")]
    return run(command, folder, options.threads), folder / "out"


def read_samples(folder: Path) -> dict[str, list[float]]:
    """Question id -> the log-likelihoods of its four options."""
    likelihoods = {}
    for path in folder.rglob("samples_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            sample = json.loads(line)
            likelihoods[sample["doc"]["id"]] = [float(response[0][0]) for response in sample["resps"]]
    return likelihoods


def agreement(
    ours: Sequence[Prediction], theirs: Mapping[str, Sequence[float]], items: Sequence[ChoiceItem]
) -> dict[str, Interval]:
    """Accuracy of the harness, how often both choose the same, and how far their confidences are apart."""
    by_id = {prediction.id: prediction for prediction in ours}
    right, same, apart = [], [], []
    for item in items:
        chances = shares(theirs[item.id])
        best = int(np.argmax(chances))
        right.append(float(best == item.answer))
        same.append(float(item.choices[best] == by_id[item.id].answer))
        apart.append(abs(max(chances) - by_id[item.id].confidence))
    return {
        "accuracy": mean_interval(right),
        "same_choice": mean_interval(same),
        "confidence_difference_mean": mean_interval(apart),
        "confidence_difference_most": once(max(apart)),
    }


def means(measured: Sequence[dict[str, float]]) -> dict[str, Interval]:
    """Each figure over the rounds."""
    return {name: mean_interval([figures[name] for figures in measured]) for name in measured[0]}


def compare(options: argparse.Namespace, folder: Path) -> list[Row]:
    """A row for each of the two, and one of the ratios."""
    recipe = CalibrationRecipe(tasks=[{"name": "mmlu", "limit": options.questions}])
    [task] = read_tasks(recipe)
    ids = {item.id for item in task.items}
    questions: dict[str, list[MultipleChoice]] = {}
    for record in load_choices("data:mmlu/test"):
        if record.id in ids:
            questions.setdefault(record.subject, []).append(record)
    tasks = folder / "tasks"
    tasks.mkdir()
    write_tasks(tasks, questions)
    ours, theirs = [], []
    for number in range(options.rounds):
        here = folder / f"round-{number}"
        here.mkdir()
        taken, samples = run_harness(here, tasks, options)
        theirs.append(taken)
        taken, predictions = run_lmtools(here, options)
        ours.append(taken)
        print(f"round {number}: lmtools {ours[-1]}, harness {theirs[-1]}", file=sys.stderr, flush=True)
    ratios = [
        {f"{name}_ratio": theirs[n][name] / ours[n][name] for name in ours[n]} for n in range(options.rounds)
    ]
    accuracy = mean_interval([float(prediction.correct) for prediction in predictions])
    setting = {"questions": len(task.items), "subjects": len(questions), "threads": options.threads}
    return [
        Row("lmtools", {"accuracy": accuracy, **means(ours)}),
        Row(
            "lm-evaluation-harness",
            {**agreement(predictions, read_samples(samples), task.items), **means(theirs)},
        ),
        Row("lmtools against it", means(ratios)),
        Row("setting", {name: once(value) for name, value in setting.items()}),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a local directory")
    parser.add_argument("--harness", required=True, help="a Python that has lm_eval")
    parser.add_argument("--questions", type=int, default=520)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--batch-size", default="8", help="the harness's")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = compare(options, Path(folder))
    command = "python benchmarks/calibration_eval.py " + " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(options).items()
        if name not in ("model", "harness")
    )
    peer: dict[str, Any] = {"lm_eval": harness_version(options.harness)}
    packages = versions() | peer
    results = Results("benchmarks/calibration_eval", command, 0, packages, machine(), tuple(rows))
    results.write(RESULTS)
    for row in rows:
        print(row.name, {name: round(value.value, 4) for name, value in row.metrics.items()})


if __name__ == "__main__":
    main()
