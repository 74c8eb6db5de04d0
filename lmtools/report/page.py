"""`report.html`: one run, with those inside it, or several side by side.

The page of one run says what came out, then what each view of ``VIEWS`` reads from its files, then what was
run; that of several compares their figures and, on the examples that they share, their differences. Raises
what reading a run raises: a damaged file is a DataError that names it.
"""

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from lmtools.core.errors import RunError
from lmtools.core.files import write_jsonl, write_text
from lmtools.core.intervals import paired_difference, rate_bounds
from lmtools.core.progress import duration
from lmtools.core.results import Difference, Interval
from lmtools.report import headline
from lmtools.report.budget import ByteBudget
from lmtools.report.charts import format_interval
from lmtools.report.elements import Bars, Code, Dots, Facts, Part, Prose, Section, Table
from lmtools.report.html import Chapter, page_html
from lmtools.report.run_files import Source, read_source
from lmtools.report.sentences import (  # fmt: skip
    difference_unit,
    distance,
    headline_metrics,
    headline_rows,
    unit,
)
from lmtools.report.verdict import verdicts

VIEWS = ("leret", "hyre", "ats", "calibration")
"""Modules of this package with the functions ``sections`` and ``outcomes``; each knows its own runs."""
REPORT, LEFT_OUT = "report.html", "report-left-out.jsonl"
Outcomes = dict[str, dict[str, dict[str, float]]]
"""Row -> metric -> example -> its value."""


def write_report(directories: Sequence[Path], page: Path | None = None) -> Path:
    """Write the page of one run, or of several side by side; returns its path.

    Args:
        page: the file; without it `report.html` in the run, or of several runs in the working directory.
            Entries that do not fit go into `report-left-out.jsonl` beside it.

    Raises:
        RunError: a directory holds no run, or ``page`` is a file that is no page.
        DataError: a file of a run is damaged.
        MachineError: the page cannot be written.
    """
    if page is not None and page.exists() and page.suffix not in (".html", ".htm"):
        raise RunError(f"{page}: is there already, and no page", fix="name a file that ends in .html")
    runs = _with_distinct_names([read_source(directory) for directory in directories])
    page = page or (runs[0].path(REPORT) if len(runs) == 1 else Path(REPORT))
    beside = page.with_name(LEFT_OUT if page.name == REPORT else f"{page.stem}-left-out.jsonl")
    budget = ByteBudget(beside.name)
    if len(runs) == 1:
        inside = list(_with_inner_runs(runs[0]))
        title, about, top = headline.title(runs[0]), f"Run {runs[0].name}", headline.top(inside)
        chapters = [Chapter(run.name, _sections(run)) for run in inside]
    else:
        title = " and ".join(run.name for run in runs) if len(runs) == 2 else f"{len(runs)} runs"
        title, about = f"{title} compared", "; ".join(headline.title(run) for run in runs)
        pairs = paired_differences(runs, outcomes)
        top = headline.comparison_top(runs, pairs[-1])
        chapters = [Chapter(title, comparison_sections(runs, pairs))]
    write_text(page, page_html(title, chapters, budget, about=about, top=top))
    # What lists leave out goes beside the page; such a file of an earlier page belongs to nothing now.
    if budget.left_out:
        write_jsonl(beside, budget.left_out)
    else:
        beside.unlink(missing_ok=True)
    return page


def outcomes(run: Source) -> Outcomes:
    """What a run, or one inside it, measured example by example."""
    merged: Outcomes = {}
    for source in _with_inner_runs(run):
        for view in _views("outcomes"):
            merged |= view(source)
    return merged


def _with_inner_runs(run: Source) -> Iterator[Source]:
    yield run
    yield from run.inner_runs()


def _sections(run: Source) -> list[Section]:
    first, origin = run_sections(run)
    return [first, *(section for view in _views("sections") for section in view(run)), origin]


def _views(name: str) -> list[Callable[[Source], Any]]:
    return [getattr(import_module(f"lmtools.report.{view}"), name) for view in VIEWS]


def _with_distinct_names(runs: Sequence[Source]) -> list[Source]:
    """Runs whose folders have the same name get their path as a name."""
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else replace(run, name=str(run.directory)) for run in runs]


# What every run's page has: its headline in words and as a plot, what was run, and how long it took.

MOST_HEADLINES = 6


def run_sections(run: Source) -> list[Section]:
    """Headline and origin of a run, finished or not."""
    return [Section("What came out", _headline(run)), Section("What was run", _origin(run))]


def _headline(run: Source) -> list[Part]:
    """Each verdict's comparisons as a table, each headline metric as a plot, all figures."""
    if run.results is None:
        return []
    parts: list[Part] = []
    for verdict in verdicts(run.results, run.head)[:MOST_HEADLINES]:
        rows = [(row.name, row.metrics[verdict.metric]) for row in headline_rows(run.results, verdict.metric)]
        parts.append(
            Dots(f"{verdict.metric}, with 95 % intervals", rows, unit(verdict.metric), strong=verdict.row)
        )
        if verdict.differences:
            by_name = {d.b: d for d in verdict.differences}
            parts.append(_differences_table(verdict.row, verdict.metric, by_name))
    return [*parts, _all_figures(run)]


def _differences_table(name: str, metric: str, differences: Mapping[str, Difference]) -> Table:
    """What is left of a row, or a run, after each of these is taken away."""
    columns = [f"{name} less", "points" if unit(metric) == "rate" else metric, "95 % interval", "n", "method"]
    rows = []
    for other, d in differences.items():
        value, low, high = (distance(end, metric, sign=True) for end in (d.value, d.low, d.high))
        rows.append((other, value, f"{low} to {high}", f"{d.n:,}", d.method))
    return Table(columns, rows, f"{metric}, paired", folded=True)


def _all_figures(run: Source) -> Part:
    """Every metric without a task or target before its name; those have sections of their own."""
    rows = run.results.rows if run.results else ()
    names = list(dict.fromkeys(name for row in rows for name in row.metrics if "/" not in name))
    cells = [
        (row.name, *(format_interval(row.metrics.get(name), unit(name)) for name in names)) for row in rows
    ]
    return Table(["", *names], cells if names else [], "All figures", folded=True)


def facts(run: Source) -> dict[str, str]:
    """What was run, when and where; without what the run does not know."""
    manifest = run.manifest
    rows = {
        "Command": shlex.join(manifest.command),
        "Recipe": run.results.recipe if run.results else "",
        "Seed": str(manifest.seed),
        "lmtools": manifest.versions.get("lmtools", ""),
        "Started": manifest.started,
        "Resumed": ", ".join(manifest.resumed),
        "Finished": manifest.finished or "not yet",
        "Machine": _machine(manifest.machine),
        **{f"Precision of {name}": why for name, why in manifest.precision.items()},
    }
    return {name: value for name, value in rows.items() if value}


def _origin(run: Source) -> list[Part]:
    manifest = run.manifest
    took = {name: seconds for name, seconds in manifest.stages.items() if math.isfinite(seconds)}
    stages = [(f"{name} ({duration(seconds)})", seconds) for name, seconds in took.items()]
    total = sum(took.values())
    timings: list[Part] = [Bars(f"Seconds of each stage, {duration(total)} in all", stages)] if stages else []
    return [
        Facts(facts(run)),
        *timings,
        Facts(manifest.versions, "Versions", folded=True),
        Table(["input", "SHA-256"], sorted(manifest.inputs.items()), "Inputs and their hashes", folded=True),
        *([Code(run.recipe, "The recipe, resolved")] if run.recipe else []),
    ]


def _machine(machine: dict[str, Any]) -> str:
    items = [machine.get("platform"), machine.get("cpu")]
    items += [f"{machine['cores']} cores"] if "cores" in machine else []
    items += [f"{machine['memory_gb']} GB"] if "memory_gb" in machine else []
    return ", ".join(str(item) for item in items if item)


# Several runs side by side: figures, and paired differences where they measured the same examples.

MOST_PAIRS, MOST_CHARTS = 60, 6
RESAMPLES, DRAWS = (200, 2000), 50_000_000
"""The fewest and most resamples of a difference, and how many draws it may take, for a page in seconds."""


def paired_differences(
    runs: Sequence[Source], outcomes: Callable[[Source], Outcomes]
) -> list[list[Difference]]:
    """Of every other run the differences from the first one.

    Args:
        outcomes: what a run measured, example by example.
    """
    first, *rest = runs
    base = outcomes(first)
    return [list(islice(_differences(first, base, run, outcomes(run)), MOST_PAIRS)) for run in rest]


def comparison_sections(runs: Sequence[Source], pairs: Sequence[Sequence[Difference]]) -> list[Section]:
    """The comparison of two or more runs, whose ``name`` tells them apart.

    Args:
        pairs: of ``paired_differences``.
    """
    return [
        Section("Side by side", [*_warnings(runs), *_figures(runs)]),
        Section("Paired differences", _paired(runs, pairs)),
        Section("What was run", _origins(runs)),
    ]


def differing_inputs(runs: Sequence[Source]) -> dict[str, list[str]]:
    """Inputs that are not the same content in every run: name -> hash in each run, empty where it has none.

    A file goes by its name without folders where that tells a run's inputs apart, and content that every run
    read is the same input, whatever it is called.
    """
    inputs = [_by_file_name(run.manifest.inputs) for run in runs]
    everywhere = set.intersection(*(set(hashes.values()) for hashes in inputs))
    differing = {}
    for name in dict.fromkeys(name for hashes in inputs for name in hashes):
        digests = [hashes.get(name, "") for hashes in inputs]
        contents = set(filter(None, digests))
        if len(contents) > 1 or ("" in digests and not contents <= everywhere):
            differing[name] = digests
    return differing


def _by_file_name(inputs: Mapping[str, str]) -> dict[str, str]:
    short = [PurePath(name).name for name in inputs]
    return {
        base if base and short.count(base) == 1 else name: digest
        for (name, digest), base in zip(inputs.items(), short, strict=True)
    }


def _warnings(runs: Sequence[Source]) -> list[Part]:
    parts: list[Part] = [
        Prose(f"{run.name} is not finished: what it has is left out.", "warning")
        for run in runs
        if run.results is None
    ]
    differing = differing_inputs(runs)
    if differing:
        changed = [name for name, digests in differing.items() if len(set(filter(None, digests))) > 1]
        text = "These runs were not made from the same inputs"
        text += f": {', '.join(changed)} had other content. " if changed else ". "
        parts.append(Prose(text + "Where a figure differs, this may be the reason.", "warning"))
        rows = [
            (name, *(digest[:12] or "absent" for digest in digests)) for name, digests in differing.items()
        ]
        parts.append(Table(["input", *(run.name for run in runs)], rows, "Inputs that differ"))
    return parts


def _figures(runs: Sequence[Source]) -> list[Part]:
    metrics = dict.fromkeys(m for run in runs if run.results for m in headline_metrics(run.results))
    parts: list[Part] = []
    for metric in islice(metrics, MOST_CHARTS):
        # Row by row, the runs under each other.
        dots = [
            (f"{row.name} · {run.name}", row.metrics[metric])
            for name in dict.fromkeys(row.name for run in runs if run.results for row in run.results.rows)
            for run in runs
            if run.results
            for row in run.results.rows
            if row.name == name and metric in row.metrics
        ]
        parts.append(Dots(f"{metric}, with 95 % intervals", dots[:MOST_PAIRS], unit(metric)))
    return [*parts, _all(runs)]


def _all(runs: Sequence[Source]) -> Part:
    """Every row and metric that two or more runs have."""
    cells: dict[tuple[str, str], dict[int, str]] = {}
    for index, run in enumerate(runs):
        for row in run.results.rows if run.results else ():
            for metric, i in row.metrics.items():
                cells.setdefault((row.name, metric), {})[index] = format_interval(i, unit(metric))
    rows = [
        (f"{name}: {metric}", *(figures.get(index, "–") for index in range(len(runs))))
        for (name, metric), figures in cells.items()
        if len(figures) > 1
    ]
    return Table(["", *(run.name for run in runs)], rows, "All figures that the runs share", folded=True)


def _paired(runs: Sequence[Source], pairs: Sequence[Sequence[Difference]]) -> list[Part]:
    """Every other run less the first one: a table and a chart for each metric."""
    first, *rest = runs
    parts: list[Part] = []
    for other, differences in zip(rest, pairs, strict=True):
        if not differences:
            parts.append(Prose(f"{other.name} and {first.name} share no measured example.", "note"))
        for metric in islice(dict.fromkeys(d.metric for d in differences), MOST_CHARTS):
            amount = difference_unit(metric)
            title = f"{metric}: {other.name} less {first.name}, paired{', in points' * (amount == 'points')}"
            named = {d.a.removesuffix(f" · {other.name}"): d for d in differences if d.metric == metric}
            dots = [
                (name, Interval(d.value, d.low, d.high, d.n, d.method, d.clusters))
                for name, d in named.items()
            ]
            parts.append(Dots(title, dots, amount, zero=True))
            parts.append(_differences_table(other.name, metric, named))
    return parts


def _differences(
    first: Source, first_outcomes: Outcomes, other: Source, other_outcomes: Outcomes
) -> Iterator[Difference]:
    """Each row and metric of both runs, on the examples that both measured."""
    for row, metrics in other_outcomes.items():
        for metric, values in metrics.items():
            before = first_outcomes.get(row, {}).get(metric, {})
            shared = [name for name in values if name in before]
            if shared:
                # The more examples, the fewer resamples: time is their product, and intervals are tighter.
                resamples = min(max(DRAWS // len(shared), RESAMPLES[0]), RESAMPLES[1])
                after, first_values = ([side[name] for name in shared] for side in (values, before))
                bounds = rate_bounds(after, first_values) if unit(metric) == "rate" else None
                interval = paired_difference(after, first_values, None, resamples, bounds=bounds)
                yield Difference.of(f"{row} · {other.name}", f"{row} · {first.name}", metric, interval)


def _origins(runs: Sequence[Source]) -> list[Part]:
    """What was run, a column for each run, and the versions of libraries that are not the same."""
    origins = [facts(run) for run in runs]
    names = dict.fromkeys(name for run_facts in origins for name in run_facts)
    rows = [(name, *(run_facts.get(name, "–") for run_facts in origins)) for name in names]
    versions = dict.fromkeys(name for run in runs for name in run.manifest.versions)
    differing = [
        (name, *(run.manifest.versions.get(name, "absent") for run in runs))
        for name in versions
        if len({run.manifest.versions.get(name) for run in runs}) > 1
    ]
    columns = ["", *(run.name for run in runs)]
    parts: list[Part] = [Table(columns, rows)]
    return [*parts, Table(columns, differing, "Versions that differ")] if differing else parts
