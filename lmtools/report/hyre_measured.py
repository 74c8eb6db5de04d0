"""What an evaluation of few labels got right, pair by pair, from its `measured/TARGET.npz`."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lmtools.core.errors import DataError
from lmtools.core.files import file_name
from lmtools.metrics.preference import Floats
from lmtools.report.hyre_pairs import Pair, examples, read_pairs
from lmtools.report.records import FIX
from lmtools.report.source import Source

PREFIX = "correct/"
MOST_VALUES = 4_000_000
"""Values of pairs that are compared between runs; of more the first rows are, the main method's."""


@dataclass(frozen=True)
class MeasuredTarget:
    """A target: ``places`` of its pairs among those of the run, and the file that tells what was right."""

    name: str
    path: Path
    places: Sequence[int]

    @cached_property
    def rows(self) -> list[str]:
        """The rows that the file has, ``METHOD @N``."""
        with _opened(self.path) as arrays:
            return [name.removeprefix(PREFIX) for name in arrays.files if name.startswith(PREFIX)]

    def right(self, row: str) -> Floats:
        """The share of draws in which each pair was in the right order: (n,), NaN where none tested it.

        Raises:
            DataError: the file is damaged, or of other pairs.
        """
        try:
            with _opened(self.path) as arrays:
                correct = np.asarray(arrays[PREFIX + row], dtype=np.float64)
            if correct.ndim != 2 or correct.shape[1] != len(self.places):
                raise ValueError(f"{correct.shape} values for {len(self.places)} pairs")
        except (*BROKEN, KeyError) as error:
            raise _damaged(self.path, error) from error
        tested = np.isfinite(correct)
        times = tested.sum(axis=0)
        total = np.where(tested, correct, 0.0).sum(axis=0)
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)


BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def _opened(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        found = np.load(path, allow_pickle=False)
    except BROKEN as error:
        raise _damaged(path, error) from error
    if not isinstance(found, np.lib.npyio.NpzFile):
        raise _damaged(path, ValueError("no archive of arrays"))
    return found


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged: {error}", fix=FIX)


def measured(run: Source) -> tuple[list[Pair], list[MeasuredTarget]]:
    """The pairs of an evaluation and its targets; none where a run does not have them.

    Raises:
        DataError: a file is damaged.
    """
    if not run.path("measured").is_dir():
        return [], []
    pairs = read_pairs(run.path("pairs.jsonl"))
    places: dict[str, list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair.target, []).append(place)
    found = [
        MeasuredTarget(name, run.path("measured", f"{file_name(name)}.npz"), own)
        for name, own in places.items()
    ]
    return pairs, [target for target in found if target.path.is_file()]


def of_all(targets: Sequence[MeasuredTarget], row: str, count: int) -> Floats:
    """``right`` of a row for all ``count`` pairs of a run: (count,), NaN where it was not measured."""
    whole = np.full(count, np.nan)
    for target in targets:
        if row in target.rows:
            whole[list(target.places)] = target.right(row)
    return whole


def evaluated(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> ``TARGET/accuracy``, and ``accuracy`` -> pair -> share of draws in which its order was right.

    The accuracy of a run is a mean over targets. Where they have different numbers of pairs, that is not the
    mean over pairs, which is called ``pairs/accuracy``.
    """
    pairs, targets = measured(run)
    names = examples(pairs)
    whole = "accuracy" if len({len(target.places) for target in targets}) == 1 else "pairs/accuracy"
    found: dict[str, dict[str, dict[str, float]]] = {}
    for row in _rows(targets, len(pairs)):
        own: dict[str, dict[str, float]] = {whole: {}}
        for target in targets:
            if row in target.rows:
                values = zip(target.places, target.right(row).tolist(), strict=True)
                each = {names[place]: value for place, value in values if value == value}
                own[f"{target.name}/accuracy"] = each
                own[whole] |= each
        found[row] = own
    return found


def _rows(targets: Sequence[MeasuredTarget], pairs: int) -> Iterator[str]:
    rows = list(dict.fromkeys(row for target in targets for row in target.rows))
    yield from rows[: max(1, MOST_VALUES // max(1, pairs))]
