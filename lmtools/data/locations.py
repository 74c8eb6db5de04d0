"""A source's name, and what it stands for: a file, a folder, a data set of the hub.

atlas                         the bundled corpus; atlas:train, atlas:dev, atlas:test its questions;
                              atlas:instructions, atlas:choices and, to show, atlas:choices.dev;
                              atlas:preferences, and atlas:preferences.targets of one user each
hf:repo[:config][:split]      a data set of the Hugging Face hub, or a folder that ``datasets`` can load
data:hotpotqa/dev.json        a file of the data folder: $LMTOOLS_DATA, or ../shared/data beside the checkout
data:mmlu/test                a folder of tables in MMLU's form
data:preferences/targets      a folder of JSONL files of pairs, one for each distribution
a folder of Parquet files     the shards of one split
anything else                 a file: JSONL in the contract, or a known original format; gzip and zstd too
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from lmtools.core.config import Location
from lmtools.core.errors import DataError, MachineError
from lmtools.core.files import PACKAGE, absolute, bundled, sha256_file, sha256_text
from lmtools.core.strings import cut, did_you_mean
from lmtools.data.parquet import json_value, parquet_files
from lmtools.data.readers.mmlu import is_mmlu, mmlu_rows, tables
from lmtools.data.records import as_id
from lmtools.data.rows import Row, Rows, numbered, read_rows
from lmtools.data.stream import open_data

DATA_PREFIX = "data:"
PAIR_SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")
ATLAS = {
    "atlas": "corpus.jsonl",
    **{f"atlas:{split}": f"questions.{split}.jsonl" for split in ("train", "dev", "test")},
    "atlas:instructions": "instructions.jsonl",
    "atlas:choices": "choices.test.jsonl",
    "atlas:choices.dev": "choices.dev.jsonl",
    "atlas:preferences": "preferences.train.jsonl",
    "atlas:preferences.targets": "preferences.targets.jsonl",
}


def read_source(source: str) -> Rows:
    """The rows of a source of any format; raises as ``open_source`` does."""
    if source.startswith(HUB_PREFIX):
        return Rows(source, numbered(hub_values(source)), unit="record ")
    path = source_path(source)
    if pair_files(path):
        return Rows(source, _rows_of_pairs(path))
    if shards := parquet_files(path):
        return Rows(source, _rows_of_shards(shards), unit="record ")
    return mmlu_rows(path) if is_mmlu(path) else read_rows(path)


def pair_files(folder: Path) -> list[Path]:
    """The JSONL files of a folder, by name; none of what is no folder."""
    return sorted(path for path in folder.glob("*.jsonl*") if path.name.endswith(PAIR_SUFFIXES))


def _rows_of_pairs(folder: Path) -> Iterator[Row]:
    """The rows of all files of a folder; the name of each file is its distribution."""
    for path in pair_files(folder):
        name = path.name.removesuffix(".gz").removesuffix(".zst").removesuffix(".jsonl")
        for row in _of_file(path):
            yield row._replace(value=_named(row.value, name))


def _rows_of_shards(shards: Iterable[Path]) -> Iterator[Row]:
    """The rows of all shards of a split."""
    return chain.from_iterable(map(_of_file, shards))


def _of_file(path: Path) -> Iterator[Row]:
    """The rows of one file of several, which their faults name."""
    for row in read_rows(path).rows:
        faults = tuple(replace(fault, file=str(path)) for fault in row.faults)
        yield row._replace(faults=faults, file=str(path))


def _named(value: Any, distribution: str) -> Any:
    """A record of that distribution; its id, if it has one, stays apart from those of other files."""
    if not isinstance(value, dict):
        return value
    id = as_id(value.get("id"))
    prefixed = {"id": f"{distribution}/{id}"} if id and isinstance(id, str) else {}
    return {**value, **prefixed, "distribution": distribution}


def source_hash(source: str) -> str:
    """SHA-256 of a source's content: of a file its bytes, of a folder those of its files, of a hub data set
    its records.

    Raises as ``load_questions`` does.
    """
    if source.startswith(HUB_PREFIX):
        return hub_hash(load_hub(source))
    path = source_path(source)
    if path.is_dir():
        files = tables(path) or pair_files(path) or parquet_files(path) or sorted(path.glob("*.txt"))
        if files:
            return sha256_text("".join(f"{file.name} {sha256_file(file)}\n" for file in files))
    with open_data(path):  # for its messages
        return sha256_file(path)


def source_path(source: str) -> Path:
    """The file behind a source that is no hub data set.

    Raises:
        DataError: the bundled data set has no such split, or no file can have such a name.
    """
    if source in ATLAS:
        return bundled("data", "atlas", ATLAS[source])
    if source.startswith("atlas:"):
        near = did_you_mean(source, ATLAS)
        raise DataError(
            f"{source}: no such part of the bundled data set", fix=f"{near} one of {', '.join(ATLAS)}".strip()
        )
    if source.startswith(DATA_PREFIX):
        return data_folder() / source.removeprefix(DATA_PREFIX)
    try:
        path = Path(source).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError, RuntimeError) as error:  # too long, not permitted, NUL, ~nobody
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{cut(source, 200)}: cannot be read: {reason}", fix="check the path") from error
    return path


def source_file(source: str) -> tuple[str, str, str]:
    """A source as ``Location.split`` gives it: of ``hf:``, too, a local folder is a path."""
    if source in ATLAS or source.startswith(("atlas:", DATA_PREFIX)):
        return source, "", ""
    if not source.startswith(HUB_PREFIX):
        return "", source, ""
    repo, colon, rest = source.removeprefix(HUB_PREFIX).partition(":")
    local = os.path.exists(repo) and ":" not in absolute(repo)
    return (HUB_PREFIX, repo, colon + rest) if local else (source, "", "")


Source = Annotated[str, Location(source_file)]
"""A setting that names records: a file, or what the head of this module lists."""


def data_folder() -> Path:
    """The folder of public data sets that recipes name as ``data:``.

    Raises:
        DataError: there is none.
    """
    named = os.environ.get("LMTOOLS_DATA")
    folder = Path(named).expanduser() if named else PACKAGE.parent.parent / "shared" / "data"
    if not folder.is_dir():
        raise DataError(
            f"the data folder {folder} is not there",
            fix="export LMTOOLS_DATA=FOLDER, or name your own files with --set data.train=FILE and so on",
        )
    return folder


# Data sets of the Hugging Face hub: ``hf:repo[:config][:split]``, read through ``datasets``.
#
# ``repo`` is a name on the hub or a local folder that ``datasets`` can load. Without a split it is
# ``train``; ``hf:repo::validation`` names a split of a repository without configurations.

HUB_PREFIX = "hf:"


@dataclass(frozen=True)
class HubName:
    """The parts of ``hf:repo[:config][:split]``."""

    repo: str
    config: str | None
    split: str


def parse_hub_name(source: str) -> HubName:
    """Take a source apart.

    Raises:
        DataError: it has no repository, or more than three parts.
    """
    repo, *rest = source.removeprefix(HUB_PREFIX).split(":")
    if not repo or len(rest) > 2:
        raise DataError(f"{source}: not a hub data set", fix="write hf:REPO[:CONFIG][:SPLIT]")
    config, split = [*rest, "", ""][:2]
    return HubName(repo, config or None, split or "train")


def load_hub(source: str) -> Any:
    """The ``datasets.Dataset`` of a source; its class labels are turned into their names.

    Raises:
        DataError: there is no such repository, configuration or split.
        MachineError: the hub cannot be reached and the data set is not in its cache.
    """
    import datasets

    name = parse_hub_name(source)
    try:
        dataset = datasets.load_dataset(name.repo, name.config, split=name.split)
    except Exception as error:  # whatever the hub's client, the file system or a parser may raise
        raise _explained(source, name, error) from error
    labels = {
        column: feature
        for column, feature in dataset.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    for column, feature in labels.items():
        names = [feature.int2str(number) if number >= 0 else "" for number in dataset[column]]
        dataset = dataset.remove_columns(column).add_column(column, names)
    return dataset


def hub_values(source: str) -> Iterator[Any]:
    """The records of a data set; raises as ``load_hub`` does, also for one that cannot be decoded."""
    records = iter(load_hub(source))
    while True:
        try:
            record = next(records)
        except StopIteration:
            return
        except Exception as error:  # whatever a decoder of ``datasets`` may raise
            raise _explained(source, parse_hub_name(source), error) from error
        yield json_value(record)


def hub_hash(dataset: Any) -> str:
    """SHA-256 of the records, whatever files or cache they came from."""
    digest = hashlib.sha256()
    for value in dataset:
        text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
        digest.update(text.encode("ascii") + b"\n")
    return digest.hexdigest()


def _explained(source: str, name: HubName, error: Exception) -> DataError | MachineError:
    """The error for one of ``datasets``, recognised by the name of its class: the classes move about."""
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
