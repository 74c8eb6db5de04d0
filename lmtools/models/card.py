"""The card of what a run made: `README.md` as the Hugging Face hub reads it, from what the run has on record.

Names in it come from recipes and files that others may have written: the front matter is YAML that a library
writes, and in the text they mark up nothing.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmtools.core.files import write_text
from lmtools.core.manifest import Manifest
from lmtools.core.results import Results
from lmtools.core.statistics import Interval
from lmtools.models.published import HUB_ID, HUB_SOURCE, Base, code, plain, public_command, public_name

FILE = "README.md"
TO_FILL_IN = "[More Information Needed]"
OF_THE_BASE = "license-of-the-base-model"


@dataclass(frozen=True)
class Artefact:
    """What the system that made it knows of an artefact.

    Args:
        summary: what it is and does, in Markdown.
        use: how it is used, in Markdown with exact commands and code.
        limits: one sentence each, in Markdown.
        library: what loads it: ``peft``, ``transformers`` or ``lmtools``.
        relation: of its weights to the base's, as the hub names it: ``adapter``, ``finetune``, ``quantized``.
        measured: on what the figures were measured, in a sentence.
        metrics: the figures to show, by name; none named: those without a prefix.
        compared: the figure whose paired differences are shown.
    """

    title: str
    base: Base
    summary: str
    use: str
    limits: Sequence[str]
    library: str
    tags: Sequence[str]
    measured: str
    pipeline: str | None = None
    relation: str | None = None
    metrics: Sequence[str] = ()
    compared: str = ""


def write_card(directory: Path, artefact: Artefact, manifest: Manifest, results: Results | None) -> None:
    """Write the card of a directory. One that is there stays, since its owner may have changed it, but for
    the form that PEFT leaves to be filled in.

    Raises:
        MachineError: it cannot be written.
    """
    path = directory / FILE
    if not path.exists() or TO_FILL_IN in path.read_text(encoding="utf-8", errors="replace"):
        write_text(path, card(artefact, manifest, results))


def card(artefact: Artefact, manifest: Manifest, results: Results | None) -> str:
    """The text of a card; ``results`` is None where nothing was measured yet."""
    front = yaml.safe_dump(_front(artefact, manifest), sort_keys=False, allow_unicode=True)
    base = artefact.base
    adapter = f", with the adapter {code(base.adapter)} on it" if base.adapter else ""
    hint = f" {base.hint}" if "BASE" in artefact.use else ""
    licence = f"The base model's licence is {base.licence}. " if base.licence else ""
    sections = [
        f"# {plain(artefact.title)}",
        artefact.summary,
        f"Base model: {code(base.name)}{adapter}.{hint}",
        f"## Use\n\n{artefact.use}",
        *([f"## Figures\n\n{_figures(artefact, results)}"] if results and results.rows else []),
        f"## Made from\n\n{inputs_table(manifest)}",
        f"## How it was made\n\n{making(manifest, results.recipe if results else None)}",
        f"## Licence\n\n{licence}What is derived from a model stands under that of the base model, "
        f"{code(base.name)}; the data have terms of their own.",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in artefact.limits),
    ]
    return f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n"


def _front(artefact: Artefact, manifest: Manifest) -> dict[str, Any]:
    base = artefact.base
    front: dict[str, Any] = {"base_model": base.hub} if base.hub else {}
    if base.hub and artefact.relation:
        front["base_model_relation"] = artefact.relation
    front["library_name"] = artefact.library
    if artefact.pipeline:
        front["pipeline_tag"] = artefact.pipeline
    # The hub takes "other" only with a name.
    front |= {"license": base.licence} if base.licence else {"license": "other", "license_name": OF_THE_BASE}
    front["tags"] = ["lmtools", *artefact.tags]
    data = dict.fromkeys(
        name.removeprefix(HUB_SOURCE).partition(":")[0]
        for name in manifest.inputs
        if name.startswith(HUB_SOURCE)
    )
    known = [name for name in data if HUB_ID.fullmatch(name)]
    return front | ({"datasets": known} if known else {})


def _figures(artefact: Artefact, results: Results) -> str:
    rows = results.rows
    every = dict.fromkeys(name for row in rows for name in row.metrics)
    names = [name for name in artefact.metrics if name in every]
    names = names or [name for name in every if "/" not in name] or list(every)
    table = _table(
        ["", *names],
        [[plain(row.name), *(_figure(row.metrics.get(name)) for name in names)] for row in rows],
    )
    pairs = [
        f"- {plain(d.a)} − {plain(d.b)}, {plain(d.metric)}: {d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}] "
        f"(paired, n = {d.n})"
        for d in results.differences
        if d.metric == artefact.compared
    ]
    words = f"{artefact.measured} In brackets 95 % intervals (bootstrap)."
    return "\n\n".join([words, table, *(["\n".join(pairs)] if pairs else [])])


def _figure(value: Interval | None) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" if value else "–"


def inputs_table(manifest: Manifest) -> str:
    """Every input with its digest, in Markdown, by a name that tells no path."""
    rows = [[code(public_name(name)), code(digest)] for name, digest in manifest.inputs.items()]
    return _table(["input", "SHA-256 of its content"], rows)


def making(manifest: Manifest, recipe: str | None) -> str:
    """The command, recipe, seed, date and versions behind something, in Markdown."""
    command = " ".join(shlex.join(public_command(manifest.command)).split()).replace("```", "'''")
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in manifest.versions.items())
    named = f"Recipe {code(public_name(recipe))}, " if recipe else ""
    words = f"{named}seed {manifest.seed}, {manifest.started[:10]}. Versions: {versions}."
    return f"```bash\n{command}\n```\n\n{words}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[plain(cell) for cell in head], ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
