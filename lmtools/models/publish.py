"""What a run made, for other people: its card, `README.md` as the Hugging Face hub reads it, and its upload.

Nothing names a path of this machine or its user (``public_name``, ``public_command``). ``write_card`` takes
its figures, inputs and command from the run's manifest and results. Names come from recipes and files that
others may have written: the front matter is YAML that a library writes, and in the text they mark up nothing.
``check_target`` looks at a repository before the work, ``upload`` sends files in one commit after it.
"""

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from lmtools import __version__
from lmtools.core.errors import LmtoolsError, MachineError
from lmtools.core.files import write_text
from lmtools.core.manifest import Manifest
from lmtools.core.results import Interval, Results
from lmtools.core.strings import printable
from lmtools.models.builtin import BUILTINS
from lmtools.models.files import on_hub
from lmtools.models.spec import PREFIX

# Models, inputs and commands by names that mean the same on every machine.

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
HUB_SOURCE = "hf:"
FOLDERS = re.compile(r"(^|[=\[,\"'\s])(?:~[\w.-]*|\.{1,2})?/(?:[^/,\]\"'=]+/)*")
"""The folders of a path that is absolute, or begins with ``.`` or ``~``, in a word of a command line."""
ABSOLUTE = re.compile(r"""(?:["']|: )(/[^"'\n]+)""")
CREDENTIALS = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True)
class Base:
    """A base model as a card speaks of it.

    ``loaded`` is what loads it: a name of the hub, or ``BASE``, of which ``hint`` says where it is;
    ``option`` is what ``--model`` of lmtools takes. ``hub`` is its repository and ``licence`` its licence as
    the hub spells it, None where they are not known; ``adapter`` one that belongs to it, empty without.
    """

    name: str
    loaded: str
    option: str
    hint: str = ""
    hub: str | None = None
    licence: str | None = None
    adapter: str = ""


def base_of_card(name: str, adapter: str | None = None) -> Base:
    """A model as a card speaks of it, by the names that a recipe gives it and its adapter."""
    more = public_name(adapter) if adapter else ""
    builtin = BUILTINS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    if builtin is not None:
        folder = f"`BASE` is the folder that `lmtools models pull {name}` prints"
        hint = f"{folder}: {builtin.hub}, rounded to 4 bits."
        return Base(name, "BASE", name, hint, builtin.hub, builtin.licence.lower(), more)
    if on_hub(name) and HUB_ID.fullmatch(name):
        return Base(name, name, name, hub=name, adapter=more)
    public = public_name(name)
    return Base(public, "BASE", "BASE", f"`BASE` is the directory of {code(public)}.", adapter=more)


def public_name(name: str) -> str:
    """An input's name where it means the same everywhere, else the last part of its path.

    >>> public_name("hf:org/pairs:en"), public_name("/home/anna/pairs.jsonl"), public_name("../mine/model/")
    ('hf:org/pairs:en', 'pairs.jsonl', 'model')
    """
    if name.startswith(PREFIX) or on_hub(name):
        return name
    return Path(name).name or "model"


def public_command(command: Sequence[str]) -> list[str]:
    """A command line without the folders of its paths, and without logins in its addresses.

    >>> public_command(["lmtools", "--set", "data.train=/home/anna/a.jsonl", "--out", "runs/a"])
    ['lmtools', '--set', 'data.train=a.jsonl', '--out', 'runs/a']
    """
    return [CREDENTIALS.sub("://", FOLDERS.sub(r"\1", word)) for word in command]


def local_paths(text: str) -> list[str]:
    """The paths of this machine in the text of a JSON or YAML file.

    An adapter's settings name its base so. They are part of what it is by content, and are published as they
    are.
    """
    return [path for path in ABSOLUTE.findall(text) if Path(path).exists()]


def code(text: str) -> str:
    """A text as code in Markdown, on one line and in a table too: whatever it holds, it marks up nothing."""
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{line or ' '}`"


def plain(text: str) -> str:
    """A text as words in Markdown: none of its signs is markup or a tag."""
    return re.sub(r"([\\`*_\[\]<>|#~&])", r"\\\1", " ".join(text.split()))


# The card.

FILE = "README.md"
TO_FILL_IN = "[More Information Needed]"
OF_THE_BASE = "license-of-the-base-model"


@dataclass(frozen=True)
class Artefact:
    """An artefact of a run, as the system that made it describes it.

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
        f"## How it was made\n\n{provenance(manifest, results.recipe if results else None)}",
        f"## Licence\n\n{licence}What is derived from a model stands under that of the base model, "
        f"{code(base.name)}; the data have terms of their own.",
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in artefact.limits),
    ]
    return printable(f"---\n{front}---\n\n" + "\n\n".join(sections) + "\n")


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
    datasets = [name for name in data if HUB_ID.fullmatch(name)]
    return front | ({"datasets": datasets} if datasets else {})


def _figures(artefact: Artefact, results: Results) -> str:
    rows = results.rows
    measured = dict.fromkeys(name for row in rows for name in row.metrics)
    names = [name for name in artefact.metrics if name in measured]
    names = names or [name for name in measured if "/" not in name] or list(measured)
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
    methods = "; ".join(dict.fromkeys(i.method for row in rows for i in row.metrics.values()))
    words = f"{artefact.measured} In brackets 95 % intervals ({methods})."
    return "\n\n".join([words, table, *(["\n".join(pairs)] if pairs else [])])


def _figure(value: Interval | None) -> str:
    return f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" if value else "–"


def inputs_table(manifest: Manifest) -> str:
    """Every input with its digest, in Markdown, by a name that tells no path."""
    rows = [[code(public_name(name)), code(digest)] for name, digest in manifest.inputs.items()]
    return _table(["input", "SHA-256 of its content"], rows)


def provenance(manifest: Manifest, recipe: str | None) -> str:
    """The command, recipe, seed, date and versions that a run's files come from, in Markdown."""
    command = " ".join(shlex.join(public_command(manifest.command)).split()).replace("```", "'''")
    versions = ", ".join(f"{plain(name)} {plain(version)}" for name, version in manifest.versions.items())
    named = f"Recipe {code(public_name(recipe))}, " if recipe else ""
    words = f"{named}seed {manifest.seed}, {manifest.started[:10]}. Versions: {versions}."
    return f"```bash\n{command}\n```\n\n{words}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [[plain(cell) for cell in head], ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


# The upload.

LOGIN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


def check_target(repo: str) -> None:
    """Whether something could be sent to a repository, as far as that is known without a network.

    Raises:
        LmtoolsError: the name is none, the hub is switched off, or there is no token.
    """
    from huggingface_hub import get_token
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise LmtoolsError(
            f"--push-to-hub {repo}: no name of a repository", fix="give NAME or OWNER/NAME, without spaces"
        ) from error
    if is_offline_mode():
        raise LmtoolsError(
            f"--push-to-hub {repo}: the hub is switched off (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set)",
            fix="unset that variable, or leave --push-to-hub out",
        )
    if not get_token():
        raise LmtoolsError(f"--push-to-hub {repo}: there is no token for the hub", fix=LOGIN)


def upload(files: Mapping[str, Path | str], repo: str, *, public: bool = False, again: str = "") -> str:
    """Send files and folders in one commit; gives the address of the repository, which is made if it is new.

    Args:
        files: path in the repository -> file or folder, or a text; a folder at "" is the repository itself.
        repo: NAME or OWNER/NAME.
        again: how it can be sent once more, for the message of an error.
        public: a new repository can be read by everybody; one that is there stays as it is.

    Raises:
        LmtoolsError: the hub refuses the token or the name.
        MachineError: it cannot be reached, or failed.
    """
    from huggingface_hub import HfApi

    api = HfApi(library_name="lmtools", library_version=__version__)
    with TemporaryDirectory() as folder, _explained(repo, again):
        _gather(files, Path(folder))
        created = api.create_repo(repo, private=not public, exist_ok=True)
        api.upload_folder(repo_id=created.repo_id, folder_path=folder, commit_message="Made with lmtools")
    return str(created)


def _gather(files: Mapping[str, Path | str], folder: Path) -> None:
    """Everything under ``folder`` as it will be in the repository: links, which cost no room."""
    for target, source in files.items():
        if isinstance(source, str):
            write_text(folder / target, source)
            continue
        for file in sorted(source.rglob("*")) if source.is_dir() else [source]:
            if file.is_file():
                _link(file, folder / target / file.relative_to(source))


def _link(file: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.symlink(file.resolve(), target)
    except OSError:  # a system without links
        shutil.copyfile(file, target)


@contextmanager
def _explained(repo: str, again: str) -> Iterator[None]:
    """What huggingface_hub raises, as errors that name the repository."""
    from huggingface_hub.errors import HfHubHTTPError

    kept = f"everything is on disk: {again}" if again else "everything is on disk"
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = error.server_message or str(error).strip().splitlines()[0]
        if status == 401:
            raise LmtoolsError(
                f"the hub refuses the token for {repo}: {reason}", fix=f"{LOGIN}; {kept}"
            ) from error
        if status in (400, 403, 404, 409):
            raise LmtoolsError(
                f"the hub refuses {repo}: {reason}",
                fix=f"choose a name under your own account, or a token that may write there; {kept}",
            ) from error
        raise MachineError(f"the hub failed on {repo}: {reason}", fix=f"try later; {kept}") from error
    except LmtoolsError:
        raise
    except Exception as error:  # of httpx and the system, which differ between its versions
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"cannot send {repo} to the hub: {reason}", fix=f"connect to it; {kept}"
        ) from error
