"""Data sets of the Hugging Face hub: ``hf:repo[:config][:split]``, read through ``datasets``.

``repo`` is a name on the hub or a local folder that ``datasets`` can load. Without a split it is ``train``;
``hf:repo::validation`` names a split of a repository without configurations.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lmtools.core.errors import DataError, MachineError
from lmtools.data.rows import Row

PREFIX = "hf:"


@dataclass(frozen=True)
class HubName:
    """The parts of ``hf:repo[:config][:split]``."""

    repo: str
    config: str | None
    split: str


def parse(source: str) -> HubName:
    """Take a source apart.

    Raises:
        DataError: it has no repository, or more than three parts.
    """
    repo, *rest = source.removeprefix(PREFIX).split(":")
    if not repo or len(rest) > 2:
        raise DataError(f"{source}: not a hub data set", fix="write hf:REPO[:CONFIG][:SPLIT]")
    config, split = [*rest, "", ""][:2]
    return HubName(repo, config or None, split or "train")


def load(source: str) -> Any:
    """The ``datasets.Dataset`` of a source; its class labels are turned into their names.

    Raises:
        DataError: there is no such repository, configuration or split.
        MachineError: the hub cannot be reached and the data set is not in its cache.
    """
    import datasets

    name = parse(source)
    try:
        found = datasets.load_dataset(name.repo, name.config, split=name.split)
    except Exception as error:  # whatever the hub's client, the file system or a parser may raise
        raise _explained(source, name, error) from error
    labels = {
        column: feature
        for column, feature in found.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for column, feature in labels.items():
        names = [feature.int2str(number) if number >= 0 else "" for number in found[column]]
        found = found.remove_columns(column).add_column(column, names)
    return found


def rows(dataset: Any) -> Iterator[Row]:
    """The records of a data set, counted from 1."""
    for number, value in enumerate(dataset, start=1):
        yield Row(number, value)


def content_hash(dataset: Any) -> str:
    """SHA-256 of the records, whatever files or cache they came from."""
    digest = hashlib.sha256()
    for value in dataset:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
        digest.update(text.encode("ascii") + b"\n")
    return digest.hexdigest()


def _explained(source: str, name: HubName, error: Exception) -> DataError | MachineError:
    """What the user can do about an error of ``datasets``, told by name: its classes move about."""
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & {"ConnectionError", "OfflineModeIsEnabled", "LocalEntryNotFoundError", "TimeoutException"}:
        fix = f"check the network, or fetch {name.repo} elsewhere and give its path"
        return MachineError(f"{source}: the Hugging Face hub cannot be reached: {first}", fix=fix)
    if kinds & {"DatasetNotFoundError", "RepositoryNotFoundError", "FileNotFoundError"}:
        return DataError(
            f"{source}: no such data set: {first}", fix="check the repository's name, or log in to the hub"
        )
    return DataError(
        f"{source}: cannot be loaded: {first}", fix="check configuration and split: hf:REPO:CONFIG:SPLIT"
    )
