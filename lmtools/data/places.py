"""A source's name, and what it stands for: a file, a folder, a data set of the hub.

atlas                         the bundled corpus; atlas:train, atlas:dev, atlas:test its questions;
                              atlas:instructions, atlas:choices and, to show, atlas:choices.dev
hf:repo[:config][:split]      a data set of the Hugging Face hub, or a folder that ``datasets`` can load
data:hotpotqa/dev.json        a file of the data folder: $LMTOOLS_DATA, or ../shared/data beside the checkout
data:mmlu/test                a folder of tables in MMLU's form
anything else                 a file: JSONL in the contract, or a known original format, gzipped or not
"""

import os
from pathlib import Path

from lmtools.core.errors import DataError
from lmtools.core.files import sha256_file, sha256_text
from lmtools.core.paths import PACKAGE, bundled
from lmtools.data import hub
from lmtools.data.mmlu import is_mmlu, mmlu_rows, tables
from lmtools.data.raw import open_data
from lmtools.data.rows import Rows, read_rows

DATA_PREFIX = "data:"
ATLAS = {
    "atlas": "corpus.jsonl",
    **{f"atlas:{split}": f"questions.{split}.jsonl" for split in ("train", "dev", "test")},
    "atlas:instructions": "instructions.jsonl",
    "atlas:choices": "choices.test.jsonl",
    "atlas:choices.dev": "choices.dev.jsonl",
}


def read_source(source: str) -> Rows:
    """The rows of a source of any format; raises as ``open_source`` does."""
    if source.startswith(hub.PREFIX):
        return Rows(source, hub.rows(hub.load(source)), unit="record ")
    path = source_path(source)
    return mmlu_rows(path) if is_mmlu(path) else read_rows(path)


def source_hash(source: str) -> str:
    """SHA-256 of a source's content: of a file its bytes, of a folder those of its tables, of a hub data set
    its records.

    Raises as ``load_questions`` does.
    """
    if source.startswith(hub.PREFIX):
        return hub.content_hash(hub.load(source))
    path = source_path(source)
    if is_mmlu(path) and path.is_dir():
        return sha256_text("".join(f"{table.name} {sha256_file(table)}\n" for table in tables(path)))
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
        raise DataError(f"{source}: no such part of the bundled data set", fix=f"one of {', '.join(ATLAS)}")
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
