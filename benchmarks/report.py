"""How large the page of 200,000 samples is, and how soon it opens: beside a plain table of the same samples.

    python benchmarks/report.py --samples 200000

Two runs are made up: an exploration of that many tried queries, a calibration run of that many answers.
`lmtools report` writes the page of each; a headless Chromium opens it, from the request until the lists can
be used. The peer is what one writes in an afternoon: every sample as a row of one HTML table, here of a
tenth of the samples, since Chromium opened none of all of them within five minutes. Seconds are the median
over rounds, low and high the fastest and slowest. Needs the test extra and a Chromium. Writes
benchmarks/results/report.json, and ends with 1 where a bar is missed.
"""

import argparse
import html
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from figures import once, spread
from zipf_corpus import VOCABULARY, word

from lmtools.core.environment import machine, versions
from lmtools.core.files import write_jsonl
from lmtools.core.intervals import mean_interval
from lmtools.core.manifest import Manifest, now
from lmtools.core.results import Results, Row
from lmtools.report.page import write_report

RESULTS = Path(__file__).parent / "results" / "report.json"
MEGABYTES, SECONDS = 10.0, 3.0
"""The most that a page may take, on disk and to open."""
QUERIES = 20
"""Tried queries of a question."""


def words(rng: np.random.Generator, count: int) -> str:
    return " ".join(word(int(number)) for number in rng.integers(0, VOCABULARY, count))


def tried(samples: int) -> Iterator[dict[str, Any]]:
    """Lines of `samples.jsonl`."""
    rng = np.random.default_rng(0)
    for number in range(samples):
        hits = [{"id": f"p{n}", "title": words(rng, 2), "score": 1.0} for n in rng.integers(0, 50_000, 3)]
        yield {
            "question_id": f"q{number // QUERIES}", "iteration": 1, "hop": 1, "context": [],
            "prompt_id": f"rule:{number % QUERIES}", "query": words(rng, 8), "hits": hits,
            "reward": float(rng.integers(0, 3)) / 2,
        }  # fmt: skip


def answered(samples: int) -> Iterator[dict[str, Any]]:
    """Lines of `predictions.jsonl`: four methods' confidence in each answer."""
    rng = np.random.default_rng(0)
    texts = [words(rng, 4) for _ in range(samples // 4)]
    for method in ("uncalibrated", "scalar", "linear", "transformer"):
        for number, text in enumerate(texts):
            sure = float(rng.random())
            yield {
                "id": f"q{number}", "task": "made up", "method": method, "answer": text,
                "confidence": sure, "correct": bool(rng.random() < sure * 0.8),
            }  # fmt: skip


def make_run(directory: Path, file: str, lines: Iterator[dict[str, Any]], row: Row) -> Path:
    """A run directory with one large file."""
    directory.mkdir()
    Manifest(
        command=["lmtools"], seed=0, inputs={}, versions=versions(), machine=machine(), started=now(),
        finished=now(), stages={"all": 1.0},
    ).write(directory / "manifest.json")  # fmt: skip
    system = "leret" if file == "samples.jsonl" else "calibration"
    (directory / "recipe.yaml").write_text(f"system: {system}\n", encoding="utf-8")
    write_jsonl(directory / file, lines)
    Results("made up", "lmtools", 0, versions(), machine(), (row,)).write(directory / "metrics.json")
    return directory


def plain_table(file: Path, page: Path, rows: int) -> Path:
    """The peer: the first samples in one table."""
    with file.open(encoding="utf-8") as lines, page.open("w", encoding="utf-8") as out:
        out.write("<!doctype html><meta charset=utf-8><title>samples</title><table>")
        for line in islice(lines, rows):
            cells = (html.escape(json.dumps(value)) for value in json.loads(line).values())
            out.write(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>\n")
        out.write("</table>")
    return page


def opening(browser: Any, page: Path, ready: str) -> float:
    """Seconds until the element ``ready`` is there and drawn."""
    tab = browser.new_page()
    start = time.perf_counter()
    tab.goto(page.resolve().as_uri(), timeout=300_000)
    tab.locator(ready).first.wait_for(timeout=300_000)
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    taken = time.perf_counter() - start
    tab.close()
    return taken


def timed(work: Callable[[], Path]) -> tuple[Path, float]:
    start = time.perf_counter()
    return work(), time.perf_counter() - start


def main() -> int:
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = Path(temporary)
        chromium = os.environ.get("LMTOOLS_CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        half = mean_interval([0.0, 1.0])
        cases = {
            "tried queries": ("samples.jsonl", tried, Row("all", {"reward": half})),
            "answers": ("predictions.jsonl", answered, Row("uncalibrated", {"made up/ece": half})),
        }
        for name, (file, lines, row) in cases.items():
            run = make_run(folder / name.replace(" ", "-"), file, lines(options.samples), row)
            tenth = options.samples // 10
            ours, written = timed(partial(write_report, [run]))
            theirs, theirs_written = timed(partial(plain_table, run / file, run / "plain.html", tenth))
            pages = {
                "lmtools report": (ours, "[data-count]", written),
                "plain table of a tenth": (theirs, "td", theirs_written),
            }
            taken: dict[str, list[float]] = {page: [] for page in pages}
            for _ in range(options.rounds):
                for page, (path, ready, _) in pages.items():
                    taken[page].append(opening(browser, path, ready))
            for page, (path, _, seconds) in pages.items():
                size = path.stat().st_size / 1e6
                rows.append(
                    Row(
                        f"{name}: {page}",
                        {
                            "opens_seconds": spread(taken[page]),
                            "megabytes": once(size),
                            "written_seconds": once(seconds),
                        },
                    )
                )
        browser.close()
    command = f"python benchmarks/report.py --samples {options.samples} --rounds {options.rounds}"
    Results("benchmarks/report", command, 0, versions(), machine(), tuple(rows)).write(RESULTS)
    for row in rows:
        print(f"{row.name:<32}", *(f"{metric} {value.value:.2f}" for metric, value in row.metrics.items()))
    ours_metrics = [row.metrics for row in rows if row.name.endswith("lmtools report")]
    met = all(m["megabytes"].value < MEGABYTES and m["opens_seconds"].value < SECONDS for m in ours_metrics)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
