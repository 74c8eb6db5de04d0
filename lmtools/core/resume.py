"""What lies in a run directory already, and whether a run may go on there."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmtools.core.errors import RunError
from lmtools.core.manifest import Manifest, now, read_manifest
from lmtools.core.progress import say
from lmtools.core.recipe_yaml import parse_yaml

RECIPE, MANIFEST, METRICS, LOCK = "recipe.yaml", "manifest.json", "metrics.json", ".lock"


def occupied(directory: Path) -> bool:
    """Whether anything lies there: a file of that name, or a folder that is not empty."""
    return directory.exists() and not (directory.is_dir() and not any(directory.iterdir()))


def unfinished(directory: Path) -> bool:
    """Whether the folder holds a run that has not come to its end."""
    if not (directory / MANIFEST).exists():
        return _barely_started(directory)
    return read_manifest(directory / MANIFEST).finished is None


def _barely_started(directory: Path) -> bool:
    """Whether a run was killed here before it had written its manifest."""
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else {"?"}
    return all(name in (LOCK, RECIPE) or name.endswith(".part") for name in names)


def has_run(directory: Path) -> bool:
    """Whether the folder holds a run; not so where nothing, or next to nothing, was written yet.

    Raises:
        RunError: it holds something else.
    """
    if (directory / MANIFEST).exists():
        return True
    if _barely_started(directory):
        return False
    raise RunError(
        f"{directory}: is not empty and holds no run", fix="choose another directory with --out DIR"
    )


def continued(directory: Path, fresh: Manifest, recipe: str, resume: bool) -> Manifest:
    """The manifest of the run in ``directory``, marked as resumed, once it is sure to be the same run.

    Raises:
        RunError: it was not to be resumed, or was started with another recipe, other inputs or another seed.
    """
    before = read_manifest(directory / MANIFEST)
    if not resume:
        state = "a finished" if before.finished else "an unfinished"
        raise RunError(
            f"{directory}: holds {state} run of `{shlex.join(before.command)}`",
            fix="continue it with --resume, or choose another directory with --out DIR",
        )
    changes = _changes(directory, before, recipe, fresh.inputs, fresh.seed)
    if changes:
        raise RunError(
            f"{directory}: cannot be resumed, since it was started differently:\n"
            + "\n".join(f"  {change}" for change in changes),
            fix=_mend(directory, recipe, changes),
        )
    for name, version in fresh.versions.items():
        if before.versions.get(name) != version:
            say(f"note: {name} was {before.versions.get(name, 'absent')} when this run started, is {version}")
    precision = before.precision or fresh.precision
    return before.model_copy(update={"resumed": [*before.resumed, now()], "precision": precision})


def _mend(directory: Path, recipe: str, changes: Sequence[str]) -> str:
    """How to go on: by its own precision where only that differs, as on a machine where `auto` is another."""
    settings = _setting_changes(directory / RECIPE, recipe)
    if len(settings) == len(changes) and all(key.endswith(".dtype") for key in settings):
        named = " ".join(f"--set {key}={before}" for key, (before, _) in settings.items())
        return f"go on at its own precision: {named}"
    return "start a new run with another --out DIR, or go back to what it was started with"


def started_with(directory: Path, recipe: str, inputs: Mapping[str, str], seed: int) -> bool:
    """Whether the run in the folder, if it came so far as to say so, began with these and can go on."""
    if not (directory / MANIFEST).exists():
        return True
    return not _changes(directory, read_manifest(directory / MANIFEST), recipe, inputs, seed)


def _changes(
    directory: Path, before: Manifest, recipe: str, inputs: Mapping[str, str], seed: int
) -> list[str]:
    settings = _setting_changes(directory / RECIPE, recipe).items()
    changes = [f"{key}: was {was}, is {now_is}" for key, (was, now_is) in settings]
    changes += _input_changes(before.inputs, inputs)
    return changes + ([f"seed: was {before.seed}, is {seed}"] if before.seed != seed else [])


def _setting_changes(path: Path, recipe: str) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> its value before and now, of every setting that differs."""
    before = _leaves(parse_yaml(path.read_text(encoding="utf-8"), str(path)) if path.exists() else {})
    after = _leaves(parse_yaml(recipe, "recipe"))
    values = {
        key: (before.get(key, "absent"), after.get(key, "absent"))
        for key in sorted(before.keys() | after.keys())
    }
    return {key: (was, now_is) for key, (was, now_is) in values.items() if was != now_is}


def _input_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    return [
        f"input {name}: "
        + ("is new" if name not in before else "is gone" if name not in after else "has changed")
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, for every setting of a nested recipe."""
    items = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    )
    if items is None or not value:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, item in items:
        leaves |= _leaves(item, f"{prefix}.{key}" if prefix else str(key))
    return leaves
