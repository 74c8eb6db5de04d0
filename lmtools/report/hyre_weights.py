"""Weights over heads: what labels made of an ensemble, from `weights.json` and `steps.jsonl`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmtools.core.errors import DataError
from lmtools.metrics.preference import Floats
from lmtools.report.chart_data import said
from lmtools.report.head_shares import areas, groups, heard
from lmtools.report.parts import Bars, Facts, Grid, Line, Lines, Part, Prose
from lmtools.report.records import FIX, number, records, texts

MOST_HEADS = 1000
"""Bars of a chart: about as many as a screen has points."""
MOST_STEPS, FEW = 200, 12
"""Numbers of labels of a chart, and as many as can each stand under it."""
SETTINGS = ("rule", "loss", "reduction", "temperature", "standardise", "scale", "prior")


@dataclass(frozen=True)
class Weights:
    """The weights (K,) of heads, the sources (K,) they come from, the ids of the labelled pairs."""

    weights: Floats
    sources: tuple[str, ...]
    examples: tuple[str, ...]
    settings: Mapping[str, str]

    @property
    def effective(self) -> float:
        """How many heads speak."""
        return heard(self.weights)


@dataclass(frozen=True)
class Step:
    """What so many ``labels`` gave: weights (K,), and the accuracy on pairs that are not among them."""

    labels: int
    weights: Floats
    accuracy: float | None


def read_weights(path: Path) -> Weights | None:
    """The weights in a file; None where it is absent.

    Raises:
        DataError: it is damaged.
    """
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        weights = np.array([number(one) for one in value["weights"]])
        sources = texts(value["sources"])
        if not 0 < len(sources) == len(weights):
            raise ValueError("not a source of each weight")
        settings = {name: str(value[name]) for name in SETTINGS if name in value}
        return Weights(weights, sources, texts(value["examples"]), settings)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"{path}: no weights of `lmtools hyre adapt`: {error}", fix=FIX) from error


def read_steps(path: Path, count: int) -> list[Step]:
    """The weights of ``count`` heads label by label; none where the file is absent.

    Raises:
        DataError: it is damaged.
    """

    def step(line: dict[str, Any]) -> Step:
        weights = np.array([number(one) for one in line["weights"]])
        if weights.shape != (count,):
            raise ValueError(f"not a weight of each of {count} heads")
        accuracy = line.get("accuracy")
        return Step(int(number(line["labels"])), weights, None if accuracy is None else number(accuracy))

    return list(records(path, step))


def weight_parts(own: Weights, steps: Sequence[Step]) -> list[Part]:
    """One adaptation: the weights after all labels, how they came about, and the rule that made them."""
    heads = len(own.weights)
    told = f"After {len(own.examples)} labels {own.effective:.1f} of {heads} heads are heard."
    heavy = np.argsort(-np.abs(own.weights), kind="stable")[:3]
    most = ", ".join(f"{own.sources[k]}/{k} ({said(float(own.weights[k]), 'number')})" for k in heavy)
    parts: list[Part] = [Prose(f"{told} Most weight: {most}."), weight_bars(own, "Weight of each head")]
    if len(steps) > 1:
        parts.append(Grid(_moves(steps, own.sources)))
    else:
        parts.append(Prose("How the weights moved from label to label is not in this run.", "note"))
    return [*parts, Facts(own.settings, "How labels become weights", folded=True)]


def weight_bars(own: Weights, title: str) -> Bars:
    """A bar for each head, source by source; of very many the heaviest."""
    heads = len(own.weights)
    kept = set(np.argsort(-np.abs(own.weights), kind="stable")[:MOST_HEADS].tolist())
    order = [place for group in groups(own.sources) for place in group.places if place in kept]
    if len(order) < heads:
        title = f"{title}, the {MOST_HEADS} heaviest of {heads:,}"
    rows = [(f"{own.sources[place]}/{place}", float(own.weights[place])) for place in order]
    sources = [own.sources[place] for place in order]
    return Bars(title, rows, groups=sources, mark=(1 / heads, "equal weights"), upright=True, y="weight")


def _moves(steps: Sequence[Step], sources: Sequence[str]) -> list[Lines]:
    """Shares and effective heads over the number of labels, and the accuracy if it is known."""
    every = -(-len(steps) // MOST_STEPS)
    some = [*steps[:-1:every], steps[-1]]
    found = areas([step.weights for step in some], sources)
    labels = [float(step.labels) for step in some]
    shares = [_line(area.name, labels, area.share.tolist()) for area in found]
    effective = [_line("effective heads", labels, [heard(step.weights) for step in some])]
    known = [step for step in some if step.accuracy is not None]
    right = _line("accuracy", [step.labels for step in known], [step.accuracy or 0.0 for step in known])
    x, even = "number of labels", len(some) <= FEW
    worth = [Lines("Accuracy on the pairs without a label", [right], x, "accuracy", "rate", even)]
    return [
        *(worth if len(known) > 1 else []),
        Lines("Share of all weight", shares, x, "share", "rate", even),
        Lines("Heads that are heard", effective, x, "heads", even=even),
    ]


def _line(name: str, x: Sequence[float], y: Sequence[float]) -> Line:
    return Line(name, [(float(at), value) for at, value in zip(x, y, strict=True)])
