"""A source's name, and what it stands for: a file, a folder, a data set of the hub.

atlas                         the bundled corpus; atlas:train, atlas:dev, atlas:test its questions;
                              atlas:instructions, atlas:choices and, to show, atlas:choices.dev;
                              atlas:preferences, and atlas:preferences.targets of one user each
hf:repo[:config][:split]      a data set of the Hugging Face hub, or a folder that ``datasets`` can load
data:hotpotqa/dev.json        a file of the data folder: $LMTOOLS_DATA, or ../shared/data beside the checkout
data:mmlu/test                a folder of tables in MMLU's form
data:preferences/targets      a folder of JSONL files of pairs, one for each distribution
anything else                 a file: JSONL in the contract, or a known original format, gzipped or not
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lmtools.core.errors import DataError
from lmtools.core.files import sha256_file, sha256_text
from lmtools.core.near import did_you_mean
from lmtools.core.paths import PACKAGE, bundled
from lmtools.data import hub
from lmtools.data.mmlu import is_mmlu, mmlu_rows, tables
from lmtools.data.raw import open_data
from lmtools.data.rows import Row, Rows, read_rows

DATA_PREFIX = "data:"
PAIR_SUFFIXES = (".jsonl", ".jsonl.gz")
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
    if source.startswith(hub.PREFIX):
        return Rows(source, hub.rows(hub.load(source)), unit="record ")
    path = source_path(source)
    if pair_files(path):
        return Rows(source, _rows_of_pairs(path))
    return mmlu_rows(path) if is_mmlu(path) else read_rows(path)


def pair_files(folder: Path) -> list[Path]:
    """The JSONL files of a folder, by name; none of what is no folder."""
    return sorted(path for path in folder.glob("*.jsonl*") if path.name.endswith(PAIR_SUFFIXES))


def _rows_of_pairs(folder: Path) -> Iterator[Row]:
    """The rows of all files of a folder; the name of each file is its distribution."""
    for path in pair_files(folder):
        name = path.name.removesuffix(".gz").removesuffix(".jsonl")
        for row in read_rows(path).rows:
            faults = tuple(replace(fault, file=str(path)) for fault in row.faults)
            yield Row(row.number, _named(row.value, name), faults, str(path))


def _named(value: Any, distribution: str) -> Any:
    """A record of that distribution; its id, if it is a text, stays apart from those of other files."""
    if not isinstance(value, dict):
        return value
    id = value.get("id")
    own = {"id": f"{distribution}/{id}"} if id and isinstance(id, str) else {}
    return {**value, **own, "distribution": distribution}


def source_hash(source: str) -> str:
    """SHA-256 of a source's content: of a file its bytes, of a folder those of its files, of a hub data set
    its records.

    Raises as ``load_questions`` does.
    """
    if source.startswith(hub.PREFIX):
        return hub.content_hash(hub.load(source))
    path = source_path(source)
    if path.is_dir():
        files = tables(path) or pair_files(path) or sorted(path.glob("*.txt"))
        if files:
            return sha256_text("".join(f"{file.name} {sha256_file(file)}\n" for file in files))
    with open_data(path):  # for its messages
        return sha256_file(path)


def source_path(source: str) -> Path:
    """The file behind a source that is no hub data set.

    Raises:
        DataError: the bundled data set has no such split.
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
    return Path(source).expanduser()


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
