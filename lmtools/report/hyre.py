"""HyRe's part of a page: an ensemble in training, adapted to a user, or measured; and single reward models.

It reads `training.jsonl`, `weights.json`, `pairs.jsonl`, `steps.jsonl` and `measured/*.npz`; what an older
run does not have is left out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from lmtools.core.results import Results
from lmtools.core.tracking import TRAINING_FILE
from lmtools.report import hyre_labels
from lmtools.report.charts import by_part, curve
from lmtools.report.elements import Bars, Dots, Grid, Line, Lines, Part, Prose, Section
from lmtools.report.hyre_labels import disagreement_charts
from lmtools.report.hyre_pairs import (
    LABELLED,
    TESTED,
    Pair,
    adapted_browser,
    correctness,
    evaluation_outcomes,
    examples,
    left_out,
    margin_correctness,
    read_pairs,
    scored_browser,
)
from lmtools.report.hyre_weights import (
    Weights,
    heaviest_bars,
    read_steps,
    read_weights,
    weight_bars,
    weight_parts,
)
from lmtools.report.run_files import Source, records
from lmtools.report.sentences import unit

WEIGHTS, KEPT = "weights.json", "hyre-weights"
MOST_USERS, MOST_ROWS = 24, 60
"""Charts of single users, and lines of a chart."""
FITTED = {
    "train-accuracy": "Training pairs that the heads' mean orders right",
    "heads-train-accuracy": "Training pairs that a single head orders right",
    "disagreement": "How often two heads disagree on a training pair",
}
"""Metrics of trained ensembles, and what a page calls them."""
SCORED = "pairs/accuracy"
"""The metric that only a measured reward model has."""


def sections(run: Source) -> list[Section]:
    """The sections of a training, an adaptation, an evaluation, or what a quickstart keeps of users."""
    titled = {
        "Training of heads": _training(run),
        "Each user's weights": _users(run),
        "Accuracy by distribution": _scored(run.results) if run.results else [],
    }
    sections = [Section(title, parts) for title, parts in titled.items() if parts]
    # What kind of run it is, its files say: weights of one user, margins of draws, or pairs alone.
    if run.path(WEIGHTS).is_file():
        return sections + _adapted(run)
    if run.results and run.path("measured").is_dir():
        return sections + hyre_labels.sections(run, run.results)
    if run.results and _is_scored(run.results) and (pairs := read_pairs(run.path("pairs.jsonl"))):
        return [*sections, Section("The pairs", [*left_out(pairs), scored_browser(pairs)])]
    return sections


def outcomes(run: Source) -> dict[str, dict[str, dict[str, float]]]:
    """Row -> metric -> pair -> whether it is in the right order; of an evaluation the share of draws."""
    if run.results is None:
        return {}
    if run.path("measured").is_dir():
        return evaluation_outcomes(run)
    pairs = read_pairs(run.path("pairs.jsonl"))
    names = examples(pairs)
    if _is_scored(run.results):
        return {run.results.rows[0].name: _of_margins(pairs, names)} if pairs else {}
    if not run.path(WEIGHTS).is_file():
        return {}
    # An adaptation: only the pairs that were not labelled test it.
    tested = [(name, pair) for name, pair in zip(names, pairs, strict=True) if pair.role == TESTED]
    labels = sum(pair.role == LABELLED for pair in pairs)
    sides = {"before @0": "before", f"hyre @{labels}": "after"}
    rows = {
        row: {name: value for name, pair in tested if (value := correctness(getattr(pair, side))) is not None}
        for row, side in sides.items()
    }
    return {row: {"accuracy": values} for row, values in rows.items() if values}


def _of_margins(pairs: Sequence[Pair], names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Metric -> pair -> whether a reward model orders it right: over all pairs, and target by target."""
    metrics: dict[str, dict[str, float]] = {SCORED: {}}
    for name, pair in zip(names, pairs, strict=True):
        if pair.margin is not None:
            value = margin_correctness(pair.margin)
            metrics[SCORED][name] = value
            metrics.setdefault(f"{pair.target}/accuracy", {})[name] = value
    return metrics if metrics[SCORED] else {}


def _training(run: Source) -> list[Part]:
    """The loss of every ensemble's heads, and how the ensembles fit the pairs they were trained on."""
    if run.settings.get("system") != "hyre":
        return []
    parts = by_part(records(run.path(TRAINING_FILE), dict))
    charts: list[Lines | Dots] = []
    for name, log in list(parts.items())[:MOST_USERS]:
        drawn = {"loss": "training", "validation_loss": "validation"}
        lines = [Line(words, points) for key, words in drawn.items() if len(points := curve(log, key)) > 1]
        if lines:
            charts.append(Lines(f"Loss of {name}", lines, "step", "nats, summed over heads"))
    rows = [row for row in run.results.rows if "train-accuracy" in row.metrics] if run.results else []
    for metric, words in FITTED.items():
        dots = [(row.name, row.metrics[metric]) for row in rows if metric in row.metrics]
        if dots:
            charts.append(Dots(words, dots[:MOST_ROWS], unit(metric)))
    return [Grid(charts)] if charts else []


def _adapted(run: Source) -> list[Section]:
    """`lmtools hyre adapt`: one user's weights, pairs and the heads' disagreement on them."""
    fit = read_weights(run.path(WEIGHTS))
    assert fit is not None
    steps = read_steps(run.path("steps.jsonl"), len(fit.weights))
    sections = [Section("Weights over heads", weight_parts(fit, steps))]
    pairs = read_pairs(run.path("pairs.jsonl"))
    title = "The pairs the user labelled"
    if not pairs:
        ids = ", ".join(fit.examples[:MOST_ROWS]) or "none"
        note = f"The texts of the pairs are not in this run. Labelled were: {ids}."
        return [*sections, Section(title, [Prose(note, "note")])]
    browser = adapted_browser(pairs, "Pair by pair", _in_words(fit))
    sections.append(Section(title, [*_changes(pairs), *left_out(pairs), browser]))
    if charts := _disagreement(pairs, _in_words(fit)):
        sections.append(Section("Disagreement between heads", charts))
    return sections


def _users(run: Source) -> list[Part]:
    """What a quickstart keeps of every user: weights, and their pairs before and after."""
    folder = run.path(KEPT)
    users = {path.stem: read_weights(path) for path in sorted(folder.glob("*.json"))}
    fits = {name: fit for name, fit in users.items() if fit is not None}
    if not fits:
        return []
    heads = [(name, fit.effective) for name, fit in fits.items()]
    parts: list[Part] = [Bars("Heads that are heard, of each user", heads[:MOST_ROWS])]
    charts = [
        heaviest_bars(weight_bars(fit.weights, fit.sources, name))
        for name, fit in list(fits.items())[:MOST_USERS]
    ]
    parts.append(Grid(charts, "Weight of each head, user by user"))
    pairs = read_pairs(folder / "pairs.jsonl")
    if not pairs:
        return [*parts, Prose("The pairs they labelled are not in this run: run quickstart anew.", "note")]
    labels = _in_words(next(iter(fits.values())))
    browser = adapted_browser(pairs, "The pairs the users labelled, and the others", labels)
    return [*parts, *_changes(pairs), *left_out(pairs), browser, *_disagreement(pairs, labels)]


def _in_words(fit: Weights) -> str:
    """How many labels a fit has, as ``5 labels``."""
    count = len(fit.examples)
    return "1 label" if count == 1 else f"{count} labels"


def _changes(pairs: Sequence[Pair]) -> Iterator[Part]:
    """What the labels changed on the pairs without one."""
    sides = [(correctness(pair.before), correctness(pair.after)) for pair in pairs if pair.role == TESTED]
    changes = [(before, after) for before, after in sides if before is not None and after is not None]
    if changes:
        better, worse = sum(b < a for b, a in changes), sum(b > a for b, a in changes)
        text = (
            f"Of {len(changes):,} pairs without a label the labels put {better:,} right and {worse:,} wrong."
        )
        yield Prose(text)
    elif not sides:
        yield Prose("All pairs here are labelled: none is left to test on.", "note")


def _disagreement(pairs: Sequence[Pair], labels: str) -> list[Part]:
    """How much the heads disagree on the tested pairs, without labels and with them."""
    tested = [pair for pair in pairs if pair.role == TESTED and pair.disagreement is not None]
    values = {
        "without labels": [pair.disagreement for pair in tested if pair.disagreement is not None],
        f"with {labels}, drawn by weight": [
            pair.disagreement_after for pair in tested if pair.disagreement_after is not None
        ],
    }
    sides = {
        "without labels": [correctness(pair.before) for pair in tested],
        f"with {labels}": [correctness(pair.after) for pair in tested],
    }
    right = {
        name: [np.nan if value is None else value for value in figures] for name, figures in sides.items()
    }
    return disagreement_charts(values, right)


def _is_scored(results: Results) -> bool:
    return len(results.rows) == 1 and SCORED in results.rows[0].metrics


def _scored(results: Results) -> list[Part]:
    """`lmtools eval reward`: sections and distributions, each with its interval."""
    if not _is_scored(results):
        return []
    metrics = results.rows[0].metrics
    rows = [
        (name.removesuffix("/accuracy"), interval)
        for name, interval in metrics.items()
        if name.endswith("/accuracy")
    ]
    return [Dots("Pairs in the right order", rows[:MOST_ROWS], strong="pairs")]
