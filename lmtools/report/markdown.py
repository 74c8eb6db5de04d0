"""Tables of result files: in Markdown, on the terminal, and those of the README, kept equal to their files.

    python -m lmtools.report.markdown README.md           write the tables
    python -m lmtools.report.markdown --check README.md   exit 1 if one is out of date

Exit code 2, and nothing written, where a result file is absent or lacks a metric.

A table stands between ``<!-- table: evals/results/NAME.json METRIC METRIC ... -->`` and
``<!-- end of table -->``; the path is relative to the document. Paired differences of the last metric stand
below it; with ``against=ROW`` among the metrics, those of every other row from that one, in all the metrics.
With ``labels=0,5,16`` rows ``METHOD @N`` become one of a METHOD with a column for each of these N, of the one
metric that is named; ``against=METHOD`` then compares rows of as many labels. ``rows=hyre/*,logistic``
selects those that match one of these patterns.
"""

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from lmtools.core.errors import DataError
from lmtools.core.files import write_text
from lmtools.core.results import Difference, Interval, Results, Row, read_results
from lmtools.core.strings import printable
from lmtools.report.charts import format_interval
from lmtools.report.sentences import unit

TABLE = re.compile(
    r"(<!-- table: (?P<path>\S+)(?P<metrics>[^>]*?) -->\n).*?(<!-- end of table -->)", re.DOTALL
)


def short_interval(interval: Interval | None) -> str:
    """A figure with its interval: ``.745 [.712, .778]``; a dash where there is none."""
    if interval is None:
        return "–"
    value, low, high = map(_bare, (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _bare(figure: float, sign: Literal["-", "+"] = "-") -> str:
    """Three places, without a zero before the point: ``.745``, ``-.050``, ``10.349``; ``+`` signs all."""
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{figure:{sign}.3f}")


def markdown_table(
    results: Results, metrics: Sequence[str], against: str | None = None, metric: str = ""
) -> str:
    """Rows of a result file; without ``metrics`` all those of the first row that have no prefix.

    Args:
        metric: what the columns measure, where their names do not say it.

    Raises:
        DataError: no row has a metric that is asked for.
    """
    names = list(metrics) or [name for name in results.rows[0].metrics if "/" not in name]
    for name in names:
        if not any(name in row.metrics for row in results.rows):
            metric_names = ", ".join(results.rows[0].metrics)
            raise DataError(f"{results.recipe}: no row has {name!r}", fix=f"one of {metric_names}")
    lines = _heading(" ", names)
    for row in results.rows:
        lines.append(
            f"| {row.name} |" + "".join(f" {short_interval(row.metrics.get(name))} |" for name in names)
        )
    lines.append("")
    if against is None:
        rate = unit(metric or names[-1]) == "rate"
        lines += [_difference(d, rate) for d in results.differences if d.metric == names[-1]]
    else:
        lines += _differences_table(results, names, against)
    return "\n".join(lines) + "\n"


def _heading(first: str, names: Sequence[str]) -> list[str]:
    return [f"|{first}|" + "".join(f" {name} |" for name in names), "|---|" + "---|" * len(names)]


def _differences_table(results: Results, metrics: Sequence[str], against: str) -> list[str]:
    """Rows ``other − against``, a column for each metric."""
    by_row = {(d.a, d.metric): d for d in results.differences if d.b == against}
    names = list(dict.fromkeys(name for name, _metric in by_row))
    if not names:
        raise DataError(f"{results.recipe}: no difference from {against!r}", fix="name another row")
    lines = _heading(f" less {against}, paired ", metrics)
    for name in names:
        cells = (by_row.get((name, metric)) for metric in metrics)
        lines.append(f"| {name} |" + "".join(f" {_signed(d)} |" for d in cells))
    return lines


def _signed(d: Difference | None) -> str:
    if d is None:
        return "–"
    value, low, high = (_bare(figure, sign="+") for figure in (d.value, d.low, d.high))
    return f"{value} [{low}, {high}]"


def _difference(d: Difference, rate: bool) -> str:
    if rate:
        value, low, high = (100 * figure for figure in (d.value, d.low, d.high))
        return f"- {d.a} − {d.b}: {value:+.1f} points [{low:+.1f}, {high:+.1f}] (paired, n = {d.n})"
    return f"- {d.a} − {d.b}: {_signed(d)} (paired, n = {d.n})"


# The tables of a document.


def by_labels(results: Results, metric: str, labels: Sequence[str]) -> tuple[Results, list[str]]:
    """Rows ``METHOD @N`` as one row a method whose metrics are ``@N``, and the names of these metrics."""

    def split(name: str) -> tuple[str, str]:
        method, _, count = name.rpartition(" @")
        return method, f"@{count}"

    columns = [f"@{count}" for count in labels]
    rows: dict[str, dict[str, Interval]] = {}
    for row in results.rows:
        method, count = split(row.name)
        if count in columns and metric in row.metrics:
            rows.setdefault(method, {})[count] = row.metrics[metric]
    differences = []
    for d in results.differences:
        (a, count), (b, other) = split(d.a), split(d.b)
        if d.metric == metric and count in columns and other in (count, "@0"):
            differences.append(replace(d, a=a, b=b, metric=count))
    by_count = replace(
        results,
        rows=tuple(Row(name, metrics) for name, metrics in rows.items()),
        differences=tuple(differences),
    )
    return by_count, columns


def matching(results: Results, patterns: Sequence[str]) -> Results:
    """The rows whose names match a pattern, in the order of the patterns; the differences between them."""
    all_names = [row.name for row in results.rows]
    names = list(
        dict.fromkeys(name for pattern in patterns for name in all_names if fnmatchcase(name, pattern))
    )
    by_name = {row.name: row for row in results.rows}
    return replace(
        results,
        rows=tuple(by_name[name] for name in names),
        differences=tuple(d for d in results.differences if d.a in names and d.b in names),
    )


def fill(text: str, folder: Path) -> str:
    """The document, its tables written anew from result files relative to ``folder``."""

    def table(match: re.Match[str]) -> str:
        results = read_results(folder / match["path"])
        words = match["metrics"].split()
        options = dict(word.split("=", 1) for word in words if "=" in word)
        metrics = [word for word in words if "=" not in word]
        metric = ""
        if "labels" in options:
            metric = metrics[0]
            results, metrics = by_labels(results, metric, options["labels"].split(","))
        if "rows" in options:
            results = matching(results, options["rows"].split(","))
        return f"{match[1]}\n{markdown_table(results, metrics, options.get('against'), metric)}\n{match[4]}"

    return TABLE.sub(table, text)


def main(arguments: Sequence[str]) -> int:
    """Fill or check the tables of the named documents; returns the exit code."""
    check = "--check" in arguments
    paths = [Path(argument) for argument in arguments if argument != "--check"]
    try:
        filled = {path: fill(path.read_text(encoding="utf-8"), path.parent) for path in paths}
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    stale = [str(path) for path, text in filled.items() if path.read_text(encoding="utf-8") != text]
    if not check:
        for name in stale:
            write_text(Path(name), filled[Path(name)])
    if check and stale:
        mend = f"run python -m lmtools.report.markdown {' '.join(stale)}"
        print(f"tables out of date; {mend}", file=sys.stderr)
    return int(check and bool(stale))


# A run's table on the terminal.


def print_table(results: Results, metrics: Sequence[str] = ()) -> None:
    """The rows on stderr, with intervals; without ``metrics`` all those that have no prefix."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not results.rows:
        return
    names = list(metrics) or [name for name in results.rows[0].metrics if "/" not in name]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(Text(printable(name)), justify="right")
    for row in results.rows:
        cells = []
        for name in names:
            interval = row.metrics.get(name)
            cells.append(format_interval(interval, unit(name)))
        table.add_row(Text(printable(row.name)), *cells)
    console = Console(stderr=True)
    with console.capture() as lines:
        console.print(table)
    with suppress(OSError):  # nobody reads it, and the results are in the run
        sys.stderr.write(lines.get())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
