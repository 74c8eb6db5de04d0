"""What a command makes of a finished run for others: model cards, a merged model, an upload to the hub."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lmtools.core.progress import first_process, say
from lmtools.core.run import last_run, last_unfinished

if TYPE_CHECKING:
    from lmtools.ats.recipe import AtsRecipe
    from lmtools.core.results import Results
    from lmtools.core.run import Run
    from lmtools.leret.recipe import LeretRecipe

MERGED = "merged"
LARGE = 1_000_000
"""Bytes; a larger JSON file is a vocabulary."""


def of_last_run(system: str, action: str, out: Path | None, resume: bool, wanted: bool) -> Path | None:
    """``out``, or with --resume the last run, finished or not, where something is to be made of it."""
    if out is None and resume and wanted and last_unfinished(system, action) is None:
        return last_run(system, action)
    return out


def of_exploration(run: "Run", recipe: "LeretRecipe") -> None:
    """The card of the training files, with which TRL takes the run directory as a data set."""
    from lmtools.leret.card import write_data_card

    if run.writes:
        write_data_card(run.directory, recipe, run.manifest)


def of_policy(run: "Run", recipe: "LeretRecipe", results: "Results", merge: bool = False) -> None:
    """The cards of a policy and, with ``merge``, the merged model and its card."""
    policy, merged = run.path("policy"), run.path(MERGED)
    if not run.writes or not policy.is_dir():
        return
    from lmtools.leret.card import merged_card, policy_card
    from lmtools.leret.inputs import policy_spec
    from lmtools.models.merge import write_merged
    from lmtools.models.publish import write_card

    of_exploration(run, recipe)
    write_card(policy, policy_card(recipe, policy, results), run.manifest, results)
    spec = policy_spec(recipe, policy)
    if merge and spec.adapter is None:
        say("policy/ is a whole model already (train.full): there is no adapter to merge")
    elif merge:
        if not merged.exists():
            with run.stage("merge"):
                write_merged(spec, merged)
        write_card(merged, merged_card(recipe, merged, results), run.manifest, results)


def policy_files(run: Path, merge: bool) -> dict[str, Path | str]:
    """What is published of a training: the merged model where one was asked for, else the policy."""
    return {"": run / MERGED if merge and (run / MERGED).exists() else run / "policy"}


def of_head(run: "Run", recipe: "AtsRecipe", results: "Results") -> None:
    """The card of a temperature head."""
    if run.writes:
        from lmtools.ats.card import head_card
        from lmtools.models.publish import write_card

        write_card(run.path("head"), head_card(recipe.model, run.path("head")), run.manifest, results)


def of_export(source: Path, directory: Path, recipe: "AtsRecipe") -> None:
    """The card of a model that was exported with the head of a fitted run."""
    if not (source / "manifest.json").is_file():
        return  # a head that was put there by hand
    from lmtools.ats.card import export_card
    from lmtools.core.manifest import read_manifest
    from lmtools.core.results import read_results
    from lmtools.models.publish import write_card

    metrics = source / "metrics.json"
    results = read_results(metrics) if metrics.is_file() else None
    manifest = read_manifest(source / "manifest.json")
    write_card(directory, export_card(recipe.model, source / "head"), manifest, results)


def push(
    repo: str | None,
    public: bool,
    files: Callable[[], Mapping[str, Path | str]],
    again: str = "the same command with --resume sends it",
) -> dict[str, str]:
    """Send a finished run's files where --push-to-hub says; for the JSON answer, where they are now.

    ``again`` tells what to do about files that could not be sent.
    """
    if repo is None or not first_process():
        return {}
    from lmtools.models.publish import upload

    sent = files()
    _tell_of_paths(sent)
    say(f"sending to the hub: {repo} ...")
    address = upload(sent, repo, public=public, again=again)
    say(f"it is at {address}")
    return {"pushed": address}


def _tell_of_paths(files: Mapping[str, Path | str]) -> None:
    """Say which paths of this machine go along in settings."""
    from lmtools.models.publish import local_paths

    texts = {name: source for name, source in files.items() if isinstance(source, str)}
    for folder in [source for source in files.values() if isinstance(source, Path) and source.is_dir()]:
        small = (file for file in folder.rglob("*.json") if file.stat().st_size < LARGE)
        texts |= {file.name: file.read_text(encoding="utf-8", errors="replace") for file in small}
    for name, text in texts.items():
        for path in dict.fromkeys(local_paths(text)):
            say(f"note: {name} names {path}, a path of this machine, and is sent as it is")
