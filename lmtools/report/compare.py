"""Several runs side by side: figures, and paired differences where they measured the same examples."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from lmtools.core.results import Difference
from lmtools.core.statistics import Interval, paired_difference
from lmtools.report.chart_data import cell
from lmtools.report.general import facts
from lmtools.report.parts import Dots, Part, Prose, Section, Table
from lmtools.report.source import Source
from lmtools.report.words import compared, headline_metrics, unit

Outcomes = dict[str, dict[str, dict[str, float]]]
"""Row -> metric -> example -> its value."""
MOST_PAIRS, MOST_CHARTS = 60, 6
RESAMPLES, DRAWS = (200, 2000), 50_000_000
"""The fewest and most resamples of a difference, and how many draws it may take, for a page in seconds."""


def sections(runs: Sequence[Source], outcomes: Callable[[Source], Outcomes]) -> list[Section]:
    """The comparison of two or more runs, whose ``name`` tells them apart.

    Args:
        outcomes: what a run measured, example by example.
    """
    return [
        Section("Side by side", [*_warnings(runs), *_figures(runs)]),
        Section("Paired differences", _paired(runs, outcomes)),
        Section("What was run", _origins(runs)),
    ]


def differing_inputs(runs: Sequence[Source]) -> dict[str, list[str]]:
    """Inputs that are not the same file in every run: name -> hash in each run, empty where it has none."""
    names = dict.fromkeys(name for run in runs for name in run.manifest.inputs)
    hashes = {name: [run.manifest.inputs.get(name, "") for run in runs] for name in names}
    return {name: own for name, own in hashes.items() if len(set(own)) > 1}


def _warnings(runs: Sequence[Source]) -> list[Part]:
    parts: list[Part] = [
        Prose(f"{run.name} is not finished: what it has is left out.", "warning")
        for run in runs
        if run.results is None
    ]
    differing = differing_inputs(runs)
    if differing:
        changed = [name for name, own in differing.items() if len(set(filter(None, own))) > 1]
        text = "These runs were not made from the same inputs"
        text += f": {', '.join(changed)} had other content. " if changed else ". "
        parts.append(Prose(text + "Where a figure differs, this may be the reason.", "warning"))
        rows = [(name, *(digest[:12] or "absent" for digest in own)) for name, own in differing.items()]
        parts.append(Table(["input", *(run.name for run in runs)], rows, "Inputs that differ"))
    return parts


def _figures(runs: Sequence[Source]) -> list[Part]:
    metrics = dict.fromkeys(m for run in runs if run.results for m in headline_metrics(run.results))
    parts: list[Part] = []
    for metric in islice(metrics, MOST_CHARTS):
        found = [
            (f"{row.name} · {run.name}", row.metrics[metric])
            for name in dict.fromkeys(row.name for run in runs if run.results for row in run.results.rows)
            for run in runs
            if run.results
            for row in run.results.rows
            if row.name == name and metric in row.metrics
        ]
        parts.append(Dots(f"{metric}, with 95 % intervals", found[:MOST_PAIRS], unit(metric)))
    return [*parts, _all(runs)]


def _all(runs: Sequence[Source]) -> Part:
    """Every row and metric that two or more runs have."""
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for place, run in enumerate(runs):
        for row in run.results.rows if run.results else ():
            for metric, i in row.metrics.items():
                cells.setdefault((row.name, metric), {})[place] = cell(i, unit(metric))
    rows = [
        (f"{name}: {metric}", *(own.get(place, "–") for place in range(len(runs))))
        for (name, metric), own in cells.items()
        if len(own) > 1
    ]
    return Table(["", *(run.name for run in runs)], rows, "All figures that the runs share", folded=True)


def _paired(runs: Sequence[Source], outcomes: Callable[[Source], Outcomes]) -> list[Part]:
    first, *others = runs
    base = outcomes(first)
    parts: list[Part] = []
    for other in others:
        found = list(islice(_differences(first, base, other, outcomes(other)), MOST_PAIRS))
        if not found:
            parts.append(Prose(f"{other.name} and {first.name} share no measured example.", "note"))
            continue
        parts += [Prose(compared(one)) for one in found[:MOST_CHARTS]]
        for metric in islice(dict.fromkeys(one.metric for one in found), MOST_CHARTS):
            own = [
                (one.a.removesuffix(f" · {other.name}"), Interval(one.value, one.low, one.high, one.n))
                for one in found
                if one.metric == metric
            ]
            title = f"{metric}: {other.name} less {first.name}, paired"
            parts.append(Dots(title, own, unit(metric), zero=True))
    return parts


def _differences(first: Source, base: Outcomes, other: Source, own: Outcomes) -> Iterator[Difference]:
    """Each row and metric of both runs, on the examples that both measured."""
    for row, metrics in own.items():
        for metric, values in metrics.items():
            before = base.get(row, {}).get(metric, {})
            shared = [name for name in values if name in before]
            if shared:
                resamples = min(max(DRAWS // len(shared), RESAMPLES[0]), RESAMPLES[1])
                interval = paired_difference(
                    [values[name] for name in shared], [before[name] for name in shared], shared, resamples
                )
                yield Difference.of(f"{row} · {other.name}", f"{row} · {first.name}", metric, interval)


def _origins(runs: Sequence[Source]) -> list[Part]:
    own = [facts(run) for run in runs]
    names = dict.fromkeys(name for one in own for name in one)
    rows = [(name, *(one.get(name, "–") for one in own)) for name in names]
    versions = dict.fromkeys(name for run in runs for name in run.manifest.versions)
    differing = [
        (name, *(run.manifest.versions.get(name, "absent") for run in runs))
        for name in versions
        if len({run.manifest.versions.get(name) for run in runs}) > 1
    ]
    columns = ["", *(run.name for run in runs)]
    parts: list[Part] = [Table(columns, rows)]
    return [*parts, Table(columns, differing, "Versions that differ")] if differing else parts
