"""Results in the layout of lm-evaluation-harness 0.4.13, for dashboards and scripts that read its files.

    DIR/MODEL/results_TIME.json      DIR/MODEL/samples_TASK_TIME.jsonl

A metric ``TASK/NAME`` becomes ``NAME,FILTER`` of that task, with accuracy under the harness's name, ``acc``.
The harness's filters are ways to treat what the model said, so each row of a result file (a calibration
method, a policy, a number of labels) is a filter of one model: ``none`` where there is a single row or where
nothing is done (``uncalibrated``), else the row's name.

The harness gives standard errors, we give 95 % intervals: ``NAME_stderr,FILTER`` is half the width of the
interval divided by 1.96, which is the standard error where the interval is a normal one.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lmtools.core.files import sha256_text, write_json, write_jsonl
from lmtools.core.results import LESS_IS_BETTER, Interval, Results

NAMES = {"accuracy": "acc"}
"""Our name of a metric -> the harness's."""
PLAIN = "uncalibrated"
"""The row in which nothing is done to the answers: the harness's filter ``none``."""
Z = 1.96
"""Standard errors in half a 95 % interval of a normal distribution."""


@dataclass(frozen=True)
class HarnessRun:
    """What a result file does not say of its run.

    ``overall`` names the task of metrics without one (means over tasks); ``model`` and ``arguments`` are the
    model and how it was opened, ``source`` the backend; ``shots`` the demonstrations of each task.
    """

    model: str
    source: str
    arguments: Mapping[str, Any]
    overall: str
    resamples: int
    seconds: float = 0.0
    limit: int | None = None
    chat: bool = False
    shots: Mapping[str, int] = field(default_factory=dict)


def write_lm_eval(
    directory: Path,
    results: Results,
    ran: HarnessRun,
    samples: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    when: datetime | None = None,
) -> Path:
    """Write ``results_TIME.json``, and the samples of each task if there are any.

    Args:
        samples: of each task by name, in the harness's form.
        when: the TIME; None: now.

    Returns:
        the results file.

    Raises:
        MachineError: it cannot be written.
    """
    when = when or datetime.now()
    folder, time = directory / sanitized(ran.model), when.isoformat().replace(":", "-")
    for task, records in (samples or {}).items():
        write_jsonl(folder / f"samples_{task_name(task)}_{time}.jsonl", map(dict, records))
    path = folder / f"results_{time}.json"
    write_json(path, as_lm_eval(results, ran, samples, when))
    return path


def as_lm_eval(
    results: Results,
    ran: HarnessRun,
    samples: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    when: datetime | None = None,
) -> dict[str, Any]:
    """The content of ``results_TIME.json``."""
    by_task = _by_task(results, ran.overall)
    counts = {task: max(interval.n for _, _, interval in metrics) for task, metrics in by_task.items()}
    parts = [task for task in by_task if task != ran.overall]
    return {
        "results": {task: _metrics(task, metrics, counts[task]) for task, metrics in by_task.items()},
        "group_subtasks": {ran.overall: parts} if ran.overall in by_task and parts else {},
        "configs": {task: _config(task, metrics, ran) for task, metrics in by_task.items()},
        "versions": {task: results.versions.get("lmtools", "") for task in by_task},
        "n-shot": {task: ran.shots.get(task, 0) for task in by_task},
        "higher_is_better": {
            task: {NAMES.get(name, name): name not in LESS_IS_BETTER for name, _, _ in metrics}
            for task, metrics in by_task.items()
        },
        "n-samples": {task: {"original": count, "effective": count} for task, count in counts.items()},
        # What lmtools has no counterpart of has the harness's value for "none", since readers index it.
        "config": {
            "model": ran.source,
            "model_args": dict(ran.arguments),
            "batch_size": None,
            "batch_sizes": [],
            "device": ran.arguments.get("device"),
            "use_cache": None,
            "limit": ran.limit,
            "bootstrap_iters": ran.resamples,
            "gen_kwargs": {},
            "random_seed": results.seed,
            "numpy_seed": results.seed,
            "torch_seed": results.seed,
            "fewshot_seed": results.seed,
        },
        "git_hash": None,
        "date": (when or datetime.now()).timestamp(),
        "pretty_env_info": _environment(results),
        "transformers_version": results.versions.get("transformers"),
        "lmtools_version": results.versions.get("lmtools"),
        "upper_git_hash": None,
        "task_hashes": {task: _task_hash(records) for task, records in (samples or {}).items()},
        "model_source": ran.source,
        "model_name": ran.model,
        "model_name_sanitized": sanitized(ran.model),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": ran.chat,
        "chat_template": None,
        "chat_template_sha": None,
        "total_evaluation_time_seconds": str(ran.seconds),
    }


def filter_name(row: str, only: bool = False) -> str:
    """The harness's filter that stands for a row; ``only`` if there is no other row.

    >>> filter_name("uncalibrated"), filter_name("scalar (NLL)"), filter_name("single-head", only=True)
    ('none', 'scalar (NLL)', 'none')
    """
    return "none" if only or row == PLAIN else row.replace(",", ";")


def standard_error(interval: Interval) -> float:
    """Half the width of a 95 % interval divided by 1.96.

    >>> round(standard_error(Interval(value=0.5, low=0.402, high=0.598, n=100)), 3)
    0.05
    """
    return (interval.high - interval.low) / 2 / Z


def sanitized(model: str) -> str:
    """A model's name as the harness names its folder.

    >>> sanitized("meta-llama/Llama-3.1-8B")
    'meta-llama__Llama-3.1-8B'
    """
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", model)


def task_name(task: str) -> str:
    """A task's name as part of a file's."""
    return re.sub(r"\W", "_", task)


FilteredMetric = tuple[str, str, Interval]
"""A metric's name without its task, its filter and its value."""


def _by_task(results: Results, overall: str) -> dict[str, list[FilteredMetric]]:
    """Task -> what was measured on it, in order."""
    by_task: dict[str, list[FilteredMetric]] = {}
    only = len(results.rows) == 1
    for row in results.rows:
        for full, interval in row.metrics.items():
            task, _, name = full.rpartition("/")
            by_task.setdefault(task or overall, []).append((name, filter_name(row.name, only), interval))
    return by_task


def _metrics(task: str, metrics: Sequence[FilteredMetric], count: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": task, "alias": task, "sample_len": count}
    for name, chosen, interval in metrics:
        harness_name = NAMES.get(name, name)
        entry[f"{harness_name},{chosen}"] = interval.value
        entry[f"{harness_name}_stderr,{chosen}"] = standard_error(interval)
    return entry


def _config(task: str, metrics: Sequence[FilteredMetric], ran: HarnessRun) -> dict[str, Any]:
    names = dict.fromkeys(name for name, _, _ in metrics)
    return {
        "task": task,
        "num_fewshot": ran.shots.get(task, 0),
        "metric_list": [
            {"metric": NAMES.get(name, name), "higher_is_better": name not in LESS_IS_BETTER}
            for name in names
        ],
        "metadata": {"num_fewshot": ran.shots.get(task, 0)},
    }


def _environment(results: Results) -> str:
    facts = {"command": results.command, **results.machine, **results.versions}
    return "\n".join(f"{name}: {value}" for name, value in facts.items())


def _task_hash(records: Sequence[Mapping[str, Any]]) -> str:
    """The SHA-256 over the hashes of all samples, joined, as the harness takes it."""
    hashes = ("doc_hash", "prompt_hash", "target_hash")
    return sha256_text("".join(record[name] for record in records for name in hashes))


def plain_json(value: Any) -> str:
    """What a document's hash is taken of."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
