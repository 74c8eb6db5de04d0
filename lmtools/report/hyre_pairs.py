"""The pairs of a HyRe run, as lists to browse: of an adaptation, an evaluation, or a reward model.

`pairs.jsonl` has their texts and what one ensemble makes of each. Of an evaluation, which draws labels many
times, `measured/TARGET.npz` says for every row and draw whether a pair is in the user's order.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lmtools.core.arrays import Floats
from lmtools.core.errors import DataError
from lmtools.core.files import file_name
from lmtools.core.strings import cut
from lmtools.report.charts import format_value
from lmtools.report.elements import Block, Browser, Entry, Item, Prose
from lmtools.report.run_files import FIX, Source, number, records, text

MOST_ENTRIES = 20_000
"""Entries of a list: more than a page holds; all pairs are in the file."""
BRIEF = 90
"""Characters of a text in a cell."""
AGREES, DISAGREES, UNDECIDED = "right", "wrong", "undecided"
WORDS = {1.0: AGREES, 0.0: DISAGREES, 0.5: UNDECIDED}
LABELLED, TESTED = "labelled", "tested"
BEFORE = "Without labels"


@dataclass(frozen=True, slots=True)
class Pair:
    """A line of the file; ``before`` and ``after`` are probabilities of the user's order."""

    target: str
    pair: str
    prompt: str
    chosen: str
    rejected: str
    role: str = ""
    label: int = 0
    before: float | None = None
    after: float | None = None
    disagreement: float | None = None
    disagreement_after: float | None = None
    margin: float | None = None


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file, in its order; none where it is absent.

    Raises:
        DataError: a line is damaged.
    """
    return list(records(path, _pair))


def _pair(line: dict[str, Any]) -> Pair:
    def figure(name: str) -> float | None:
        return None if line.get(name) is None else number(line[name])

    return Pair(
        target=text(line["target"]),
        pair=text(line["pair"]),
        prompt=text(line["prompt"]),
        chosen=text(line["chosen"]),
        rejected=text(line["rejected"]),
        role=text(line.get("role", "")),
        label=int(number(line.get("label", 0))),
        before=figure("before"),
        after=figure("after"),
        disagreement=figure("disagreement"),
        disagreement_after=figure("disagreement_after"),
        margin=figure("margin"),
    )


def examples(pairs: Sequence[Pair]) -> list[str]:
    """A name for each pair that no other has, the same in every run of the same pairs."""
    names, seen = [], dict[str, int]()
    for pair in pairs:
        name = f"{pair.target}/{pair.pair}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return names


def correctness(probability: float | None) -> float | None:
    """1 where the user's order is the more probable one, 0 where the other is, 1/2 at a tie."""
    return None if probability is None else margin_correctness(probability - 0.5)


def margin_correctness(margin: float) -> float:
    return 0.5 + 0.5 * ((margin > 0) - (margin < 0))


def adapted_browser(pairs: Sequence[Pair], title: str, labels: str) -> Browser:
    """The labelled pairs, then those whose order the labels changed, then the others.

    Args:
        labels: how many there are, in words: ``5 labels``.
    """
    after = f"With {labels}"
    targets = _targets(pairs)
    sides = {BEFORE: [pair.before for pair in pairs], after: [pair.after for pair in pairs]}
    names = {name: _correctness_names(probabilities) for name, probabilities in sides.items()}
    choices = {"Pair": [LABELLED, TESTED], **names}
    filters = {**targets, **{name: options for name, options in choices.items() if len(options) > 1}}
    entries = [_adapted(pair, targets, after) for pair in sorted(pairs, key=_adapted_rank)[:MOST_ENTRIES]]
    who = ["Target"] if targets else []
    columns = ["Prompt", "The user prefers", "To", *who, "Pair", "Probability", "Heads disagree"]
    return Browser("pairs", title, columns, filters, entries)


def left_out(pairs: Sequence[Pair]) -> Iterator[Prose]:
    """A note where a list has only the first of the pairs."""
    if len(pairs) > MOST_ENTRIES:
        total = f"{len(pairs):,} pairs; all are in the run's pairs.jsonl"
        yield Prose(f"The list below is of the {MOST_ENTRIES:,} most telling of {total}.", "note")


def _correctness_names(probabilities: Sequence[float | None]) -> list[str]:
    """Which of right, wrong and undecided these pairs are."""
    orders = {correctness(probability) for probability in probabilities}
    return [word for value, word in WORDS.items() if value in orders]


def _adapted_rank(pair: Pair) -> tuple[bool, int, bool, float]:
    """Labelled pairs in the order of their labels, then changed ones, by how far the probability moved."""
    before, after = pair.before if pair.before is not None else 0.5, pair.after or 0.0
    return pair.role != LABELLED, pair.label, correctness(before) == correctness(after), -abs(after - before)


def _adapted(pair: Pair, targets: Mapping[str, object], after: str) -> Entry:
    sides = {BEFORE: pair.before, after: pair.after}
    options: dict[str, str] = {"Pair": LABELLED if pair.role == LABELLED else TESTED}
    items = []
    for name, probability in sides.items():
        if (value := correctness(probability)) is not None:
            options[name] = WORDS[value]
            mark = MARKS[value]
            share = format_value(probability, "rate")
            items.append(Item(f"{name}: {share} for the answer that the user prefers, {WORDS[value]}", mark))
    differ = _before_after(pair.disagreement, pair.disagreement_after)
    items.append(Item(f"Two heads disagree, without labels and with them, drawn by weight: {differ}"))
    role = f"label {pair.label}" if pair.label else pair.role
    who = [pair.target] if targets else []
    cells = (*_text_cells(pair), *who, role, _before_after(pair.before, pair.after), differ)
    return Entry(
        cells, options | dict.fromkeys(targets, pair.target), [*_text_blocks(pair), Block("", "", items)]
    )


def _before_after(before: float | None, after: float | None) -> str:
    return f"{format_value(before, 'rate')} → {format_value(after, 'rate')}"


MARKS: dict[float, Any] = {1.0: "good", 0.0: "bad", 0.5: ""}


def measured_browser(pairs: Sequence[Pair], before: Floats, after: Floats, names: tuple[str, str]) -> Browser:
    """The pairs of an evaluation, those first on which labels change most.

    Args:
        before, after: (n,), the share of draws in which a pair is in the user's order; NaN: never tested.
        names: of the two.
    """
    targets = _targets(pairs)
    change = "What labels change"
    ways = ["more often right", "more often wrong", "the same"]
    gain = after - before
    entries = []
    # By the size of the change; of equal ones, and of pairs that were never tested, target by target in turn.
    for index in np.lexsort([_numbers_in_target(pairs), -np.abs(np.nan_to_num(gain))])[:MOST_ENTRIES]:
        pair, values = pairs[index], (float(before[index]), float(after[index]))
        options = dict.fromkeys(targets, pair.target)
        if np.isfinite(gain[index]):
            options[change] = ways[0 if gain[index] > 0 else 1 if gain[index] < 0 else 2]
        shares = [format_value(value, "rate") for value in values]
        items = [
            Item(f"{name}: right in {share} of the draws that test it")
            for name, share in zip(names, shares, strict=True)
        ]
        who = [pair.target] if targets else []
        cells = [*_text_cells(pair), *who, *shares, format_value(pair.disagreement, "rate")]
        entries.append(Entry(cells, options, [*_text_blocks(pair), Block("", "", items)]))
    who = ["Target"] if targets else []
    columns = ["Prompt", "Preferred", "To", *who, *names, "Heads disagree"]
    return Browser("pairs", "Pair by pair", columns, {**targets, change: ways}, entries)


def scored_browser(pairs: Sequence[Pair]) -> Browser:
    """The pairs of one reward model, its worst mistakes first."""
    targets = _targets(pairs, "Distribution")
    entries = []
    for pair in sorted(pairs, key=lambda pair: pair.margin or 0.0)[:MOST_ENTRIES]:
        value = margin_correctness(pair.margin or 0.0)
        options = dict.fromkeys(targets, pair.target) | {"Order": WORDS[value]}
        margin = format_value(pair.margin, "number")
        item = Item(f"Reward of the preferred answer less that of the other: {margin}", MARKS[value])
        who = [pair.target] if targets else []
        cells = [*_text_cells(pair), *who, margin, WORDS[value]]
        entries.append(Entry(cells, options, [*_text_blocks(pair), Block("", "", [item])]))
    who = ["Distribution"] if targets else []
    columns = ["Prompt", "Preferred", "To", *who, "Margin", "Order"]
    filters = {**targets, "Order": [AGREES, DISAGREES, UNDECIDED]}
    return Browser("pairs", "Pair by pair, the worst mistakes first", columns, filters, entries)


def _numbers_in_target(pairs: Sequence[Pair]) -> Floats:
    """The number of each pair in its target, so that of equal pairs every target shows its first ones."""
    numbers, seen = [], dict[str, int]()
    for pair in pairs:
        seen[pair.target] = seen.get(pair.target, 0) + 1
        numbers.append(float(seen[pair.target]))
    return np.array(numbers)


def _targets(pairs: Sequence[Pair], name: str = "Target") -> dict[str, list[str]]:
    """A filter, where there is something to choose."""
    names = sorted({pair.target for pair in pairs})
    return {name: names} if len(names) > 1 else {}


def _text_cells(pair: Pair) -> Iterator[str]:
    """The three texts as cells; an entry's detail has them uncut."""
    for column in (pair.prompt, pair.chosen, pair.rejected):
        yield cut(column, BRIEF)


def _text_blocks(pair: Pair) -> Iterator[Block]:
    yield Block("Prompt", pair.prompt)
    yield Block("The user prefers", "", [Item(pair.chosen)])
    yield Block("To", "", [Item(pair.rejected)])


# What an evaluation of few labels got right, pair by pair, from its `measured/TARGET.npz`.

PREFIX = "correct/"
MOST_VALUES = 4_000_000
"""Values of pairs that are compared between runs; of more the first rows are, the main method's."""


@dataclass(frozen=True)
class MeasuredTarget:
    """A target: the ``indices`` of its pairs among those of the run, and its file in `measured/`."""

    name: str
    path: Path
    indices: Sequence[int]

    @cached_property
    def rows(self) -> list[str]:
        """The rows that the file has, ``METHOD @N``."""
        with _open_arrays(self.path) as arrays:
            return [name.removeprefix(PREFIX) for name in arrays.files if name.startswith(PREFIX)]

    def right(self, row: str) -> Floats:
        """The share of draws in which each pair was in the right order: (n,), NaN where none tested it.

        Raises:
            DataError: the file is damaged, or of other pairs.
        """
        try:
            with _open_arrays(self.path) as arrays:
                correct = np.asarray(arrays[PREFIX + row], dtype=np.float64)
            if correct.ndim != 2 or correct.shape[1] != len(self.indices):
                raise ValueError(f"{correct.shape} values for {len(self.indices)} pairs")
        except (*BROKEN, KeyError) as error:
            raise _damage(self.path, error) from error
        # (draws, n), NaN where a draw does not test a pair.
        tested = np.isfinite(correct)
        times = tested.sum(axis=0)
        total = np.where(tested, correct, 0.0).sum(axis=0)
        return np.where(times > 0, total / np.maximum(times, 1), np.nan)


BROKEN = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


def _open_arrays(path: Path) -> "np.lib.npyio.NpzFile":
    try:
        arrays = np.load(path, allow_pickle=False)
    except BROKEN as error:
        raise _damage(path, error) from error
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise _damage(path, ValueError("no archive of arrays"))
    return arrays


def _damage(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: damaged: {error}", fix=FIX)


def read_measured(run: Source) -> tuple[list[Pair], list[MeasuredTarget]]:
    """The pairs of an evaluation and its targets; none where a run does not have them.

    Raises:
        DataError: a file is damaged.
    """
    if not run.path("measured").is_dir():
        return [], []
    pairs = read_pairs(run.path("pairs.jsonl"))
    indices: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        indices.setdefault(pair.target, []).append(index)
    targets = [
        MeasuredTarget(name, run.path("measured", f"{file_name(name)}.npz"), numbers)
        for name, numbers in indices.items()
    ]
    return pairs, [target for target in targets if target.path.is_file()]


def share_right(targets: Sequence[MeasuredTarget], row: str, count: int) -> Floats:
    """``MeasuredTarget.right`` of all ``count`` pairs of a run: (count,), NaN where none was measured."""
    shares = np.full(count, np.nan)
    for target in targets:
        if row in target.rows:
            shares[list(target.indices)] = target.right(row)
    return shares


def evaluation_outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> ``TARGET/accuracy``, and ``accuracy`` -> pair -> share of draws in which its order was right.

    The accuracy of a run is a mean over targets. Where they have different numbers of pairs, that is not the
    mean over pairs, which is called ``pairs/accuracy``.
    """
    pairs, targets = read_measured(run)
    names = examples(pairs)
    overall = "accuracy" if len({len(target.indices) for target in targets}) == 1 else "pairs/accuracy"
    outcomes: dict[str, dict[str, dict[str, float]]] = {}
    for row in _rows(targets, len(pairs)):
        metrics: dict[str, dict[str, float]] = {overall: {}}
        for target in targets:
            if row in target.rows:
                values = zip(target.indices, target.right(row).tolist(), strict=True)
                by_example = {names[index]: value for index, value in values if value == value}
                metrics[f"{target.name}/accuracy"] = by_example
                metrics[overall] |= by_example
        outcomes[row] = metrics
    return outcomes


def _rows(targets: Sequence[MeasuredTarget], pairs: int) -> Iterator[str]:
    rows = list(dict.fromkeys(row for target in targets for row in target.rows))
    yield from rows[: max(1, MOST_VALUES // max(1, pairs))]
