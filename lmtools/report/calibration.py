"""The figures of a calibration run: of each task reliability diagrams, and risk over coverage."""

from pathlib import Path

from lmtools.calibration.predictions import columns, grouped, read_predictions
from lmtools.core.files import write_text
from lmtools.core.results import Results
from lmtools.metrics.calibration import bins
from lmtools.report.reliability import Panel, reliability_svg
from lmtools.report.risk_coverage import Curve, risk_coverage_svg


def write_plots(predictions: Path, results: Results, folder: Path) -> list[Path]:
    """`TASK-reliability.svg` and `TASK-risk.svg` in ``folder``, from a run's `predictions.jsonl`.

    Raises:
        DataError: the file is no predictions file.
        MachineError: the folder cannot be written to.
    """
    rows = {row.name: row.metrics for row in results.rows}
    written = []
    for task, methods in grouped(read_predictions(predictions)).items():
        panels, curves = [], []
        for method, own in methods.items():
            confidence, correct, _ = columns(own)
            ece = rows.get(method, {}).get(f"{task}/ece")
            panels.append(Panel(method, bins(confidence, correct), ece))
            curves.append(Curve.of(method, confidence, correct))
        figures = {"reliability": reliability_svg(panels, task), "risk": risk_coverage_svg(curves, task)}
        for name, svg in figures.items():
            path = folder / f"{task}-{name}.svg"
            write_text(path, svg)
            written.append(path)
    return written
