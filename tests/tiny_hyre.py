"""HyRe in seconds: twelve training pairs, two users of twelve pairs each, the tiny Llama, three draws."""

import json
from pathlib import Path
from typing import Any

import pytest

from lmtools.core.recipe import dump_recipe
from lmtools.core.results import Results
from lmtools.core.run import Run
from lmtools.hyre.api import run_evaluation
from lmtools.hyre.inputs import prepare, train
from lmtools.hyre.recipe import HyreRecipe

RIVERS = ("Seine", "Loire", "Rhine", "Po")
USERS = ("long", "short")
"""One likes short answers, the other long ones."""


def records(user: str, count: int = 12, start: int = 0) -> list[dict[str, Any]]:
    """The pairs of one user, each with an id and the user as its distribution."""
    found = []
    for number in range(start, start + count):
        river = RIVERS[number % len(RIVERS)]
        both = (f"The {river}, of course; its name is old.", f"{river} {number}")
        chosen, rejected = both if user == "long" else both[::-1]
        found.append(
            {
                "id": f"{user}-{number}",
                "prompt": f"Name river {number}" + "?" * (number % 3),
                "chosen": chosen,
                "rejected": rejected,
                "distribution": user,
            }
        )
    return found


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write records as JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def crowd(count: int = 6) -> list[dict[str, Any]]:
    """Training pairs, ``count`` of each user."""
    return [row for user in USERS for row in records(user, count, 100)]


def tiny_recipe(model: Path, folder: Path, **settings: Any) -> HyreRecipe:
    """A recipe on the pairs in ``folder``, made if they are absent; ``settings`` go over its own."""
    train_file, target_file = folder / "train.jsonl", folder / "targets.jsonl"
    if not train_file.exists():
        write(train_file, crowd())
    if not target_file.exists():
        write(target_file, [row for user in USERS for row in records(user)])
    data = {"train": str(train_file), "targets": str(target_file)}
    own = {
        "model": {"name": str(model), "device": "cpu"},
        "data": data | settings.pop("data", {}),
        "heads": [{"source": "pca", "count": 4}],
        "compare": ["shared_base"],
        "train": {"epochs": 2, "batch": 8, "hidden": 8},
        "eval": {"examples": [0, 1, 5], "draws": 3, "resamples": 100, "active": ["bald"]}
        | settings.pop("eval", {}),
    }
    return HyreRecipe.model_validate(own | settings)


def run_train(recipe: HyreRecipe, directory: Path, *, resume: bool = False) -> Results:
    """Train in a run directory."""
    inputs = prepare(recipe)
    with Run.create(
        directory, recipe, command=["lmtools"], inputs=inputs.hashes, resume=resume, seed=recipe.seed
    ) as run:
        results = train(inputs, run, "tiny")
        run.finish(results)
    return results


def run_eval(recipe: HyreRecipe, trained: Path | None, directory: Path, *, resume: bool = False) -> Results:
    """Measure in a run directory; without ``trained`` ensembles are trained there first."""
    return run_evaluation(trained, directory, recipe=recipe, name="tiny", resume=resume).results


def trained_once(model: Path, folder: Path, **settings: Any) -> tuple[HyreRecipe, Path]:
    """A recipe and a run of it, for fixtures of a whole module, which have no cache of their own."""
    recipe = tiny_recipe(model, folder, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        run_train(recipe, folder / "run")
    return recipe, folder / "run"


def recipe_file(recipe: HyreRecipe, path: Path) -> Path:
    """The recipe as a file for `--recipe`."""
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    return path
