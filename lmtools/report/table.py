"""A run's table for the terminal."""

from collections.abc import Sequence

from lmtools.core.results import Results


def print_table(results: Results, metrics: Sequence[str] = ()) -> None:
    """The rows on stderr, with intervals; without ``metrics`` all those that have no prefix."""
    from rich.console import Console
    from rich.table import Table

    if not results.rows:
        return
    names = list(metrics) or [name for name in results.rows[0].metrics if "/" not in name]
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in results.rows:
        cells = []
        for name in names:
            interval = row.metrics.get(name)
            cells.append(
                f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]" if interval else "-"
            )
        table.add_row(row.name, *cells)
    Console(stderr=True).print(table)
