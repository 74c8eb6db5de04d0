"""What every run's page has: its headline in words and as a plot, what was run, and how long it took."""

import math
import shlex
from typing import Any

from lmtools.core.progress import duration
from lmtools.report.chart_data import cell
from lmtools.report.parts import Bars, Code, Dots, Facts, Part, Prose, Section, Table
from lmtools.report.source import Source
from lmtools.report.words import (
    compared,
    headline_metrics,
    headline_rows,
    main_differences,
    main_row,
    measured,
    unit,
)  # fmt: skip

MOST_CHARTS = 6


def sections(run: Source) -> list[Section]:
    """Headline and origin of a run, finished or not."""
    return [Section("What came out", _headline(run)), Section("What was run", _origin(run))]


def _headline(run: Source) -> list[Part]:
    if run.results is None or not run.results.rows:
        state = "has measured nothing" if run.results else "is not finished: nothing has been measured yet"
        return [Prose(f"This run {state}.", "warning")]
    metrics = headline_metrics(run.results)[:MOST_CHARTS]
    told = {metric: main_row(run.results, metric, run.head) for metric in metrics}
    parts: list[Part] = [
        Prose(measured(name, metric, run.results.row(name).metrics[metric]), "lead")
        for metric, name in told.items()
    ]
    differences, others = main_differences(run.results, told)
    parts += [Prose(compared(one)) for one in differences]
    if others:
        parts.append(Prose(f"{others} more comparisons of these rows are in metrics.json.", "note"))
    for metric, name in told.items():
        rows = headline_rows(run.results, metric)
        dots = [(row.name, row.metrics[metric]) for row in rows]
        parts.append(Dots(f"{metric}, with 95 % intervals", dots, unit(metric), strong=name))
    return [*parts, _all_figures(run)]


def _all_figures(run: Source) -> Part:
    """Every metric without a task or target before its name; they have their own sections."""
    rows = run.results.rows if run.results else ()
    names = list(dict.fromkeys(name for row in rows for name in row.metrics if "/" not in name))
    cells = [(row.name, *(cell(row.metrics.get(name), unit(name)) for name in names)) for row in rows]
    return Table(["", *names], cells if names else [], "All figures", folded=True)


def facts(run: Source) -> dict[str, str]:
    """What was run, when and where; without what the run does not know."""
    manifest = run.manifest
    found = {
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
    return {name: value for name, value in found.items() if value}


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
    said = [machine.get("platform"), machine.get("cpu")]
    said += [f"{machine['cores']} cores"] if "cores" in machine else []
    said += [f"{machine['memory_gb']} GB"] if "memory_gb" in machine else []
    return ", ".join(str(part) for part in said if part)
