"""Parquet: the records of a file, read batch by batch, and the shards of a folder.

What JSON has no type for becomes one that it has: times, decimals and the like their text, class labels
(as ``datasets`` keeps them) their names.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lmtools.core.errors import DataError
from lmtools.data.stream import open_data

BATCH = 256
"""Records held in memory at a time."""
SHARD = re.compile(r"(.+?)-\d+(-of-\d+)?(-[0-9a-f]+)?\.parquet")
"""A name as ``datasets`` and the hub write it: ``train-00000-of-00002.parquet``."""


def parquet_files(folder: Path) -> list[Path]:
    """The shards in a folder, by name; none of what is no folder.

    Raises:
        DataError: they are of several splits.
    """
    files = sorted(folder.glob("*.parquet"))
    splits = sorted({shard[1] if (shard := SHARD.fullmatch(file.name)) else file.stem for file in files})
    if len(splits) > 1 and any(name.startswith(("train", "test", "dev", "val")) for name in splits):
        raise DataError(
            f"{folder}: Parquet files of several splits: {', '.join(splits)}",
            fix=f"name one file, or hf:{folder}::{splits[0]}",
        )
    return files


def parquet_values(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, in order.

    Raises:
        DataError: it is damaged, encrypted or no Parquet at all.
    """
    import pyarrow.parquet as pq

    with open_data(path):  # for its messages
        pass
    try:
        table = pq.ParquetFile(path)
        names = _class_names(table.schema_arrow.metadata or {})
        batches = table.iter_batches(batch_size=BATCH)
    except Exception as error:  # whatever the parser raises of damaged files
        raise _damaged(path, error) from error
    while True:
        try:
            batch = next(batches, None)
            values = None if batch is None else batch.to_pylist()
        except Exception as error:  # the same
            raise _damaged(path, error) from error
        if values is None:
            return
        yield from (json_value({**value, **_labels(value, names)}) for value in values)


def _damaged(path: Path, error: Exception) -> DataError:
    first = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return DataError(f"{path}: a Parquet file that cannot be read: {first}", fix="fetch or write it again")


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of each column's classes, from what ``datasets`` writes beside the schema."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: list(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _labels(value: Mapping[str, Any], names: Mapping[str, list[str]]) -> dict[str, str]:
    """The names of a record's class labels; -1, which stands for none, is empty."""
    indices = {column: value[column] for column in names if isinstance(value.get(column), int)}
    return {
        column: names[column][index] if index >= 0 else ""
        for column, index in indices.items()
        if index < len(names[column])
    }


def json_value(value: Any) -> Any:
    """A value of a typed table as JSON has it; bytes that are text become that text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case dict():
            return {str(name): json_value(item) for name, item in value.items()}
        case list() | tuple():
            return [json_value(item) for item in value]
        case bytes():
            return value.decode("utf-8", "surrogateescape")
        case _:
            return str(value)
