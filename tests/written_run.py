"""Run directories written by hand: a manifest, a recipe, results, and predictions where asked for."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lmtools.core.intervals import mean_interval
from lmtools.core.manifest import Manifest
from lmtools.core.results import Difference, Interval, Results, Row

VERSIONS = {"python": "3.11.7", "lmtools": "0.1.0"}


def write_run(
    directory: Path,
    rows: Mapping[str, Mapping[str, float]] | None = None,
    *,
    inputs: Mapping[str, str] | None = None,
    differences: Sequence[Difference] = (),
    command: Sequence[str] = ("lmtools", "leret", "train"),
    versions: Mapping[str, str] = VERSIONS,
) -> Path:
    """A run with these figures, each with the interval +-.05; an unfinished one where ``rows`` is None."""
    manifest = Manifest(
        command=list(command), seed=0, inputs=dict(inputs or {}), versions=dict(versions),
        machine={"platform": "Linux x86_64", "cpu": "a processor", "cores": 2, "memory_gb": 24.0},
        started="2026-01-01T00:00:00+00:00", finished=None if rows is None else "2026-01-01T00:08:00+00:00",
        stages={"explore 1": 200.0, "SFT 1": 90.5},
    )  # fmt: skip
    directory.mkdir(parents=True)
    manifest.write(directory / "manifest.json")
    (directory / "recipe.yaml").write_text("seed: 0\n", encoding="utf-8")
    if rows is not None:
        made = [
            Row(name, {metric: Interval(v, v - 0.05, v + 0.05, 80) for metric, v in own.items()})
            for name, own in rows.items()
        ]
        results = Results("a/recipe", " ".join(command), 0, versions, {}, tuple(made), tuple(differences))
        results.write(directory / "metrics.json")
    return directory


def write_calibration_run(directory: Path, right: Mapping[str, Sequence[bool]], **settings) -> Path:
    """A calibration run: of each method whether its answers to q0, q1 ... are right, all said with .8."""
    rows = {method: {"quiz/accuracy": mean_interval(list(own)).value} for method, own in right.items()}
    write_run(directory, rows, command=("lmtools", "eval", "calibration"), **settings)
    lines = [
        {
            "id": f"q{n}",
            "task": "quiz",
            "method": method,
            "answer": "A",
            "confidence": 0.8,
            "correct": bool(one),
        }
        for method, own in right.items()
        for n, one in enumerate(own)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "recipe.yaml").write_text("system: calibration\n", encoding="utf-8")
    (directory / "predictions.jsonl").write_text(text, encoding="utf-8")
    return directory
