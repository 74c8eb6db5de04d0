"""A fit that takes seconds: 14 instructions, the tiny Llama, one or two epochs."""

import json
from pathlib import Path
from typing import Any

from lmtools.ats import api
from lmtools.ats.recipe import AtsRecipe
from lmtools.core.results import Results

ANSWERS = ("The Seine", "Loire, in France.", "I do not know", "Yes no yes", "A tributary of the Rhine", "x")


def instructions(path: Path, count: int = 14) -> Path:
    """Write instructions of several lengths."""
    records = [
        {"prompt": f"Name river {number}" + "?" * (number % 3), "completion": ANSWERS[number % len(ANSWERS)]}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def tiny_recipe(model: Path, folder: Path, **settings: Any) -> AtsRecipe:
    """A recipe on the instructions in ``folder``, made if they are absent."""
    data = {"train": str(instructions(folder / "instructions.jsonl")), "validation": 0.2}
    return AtsRecipe(
        model={"name": str(model), "device": "cpu"},
        data=data | settings.pop("data", {}),
        train={"epochs": 2, "batch_sequences": 4, **settings.pop("train", {})},
        vector={"tokens": 40, "epochs": 1},
        resamples=100,
        **settings,
    )


def run_fit(recipe: AtsRecipe, directory: Path, resume: bool = False) -> Results:
    """Fit in a run directory."""
    return api.run_fit(recipe, directory, resume=resume).results
