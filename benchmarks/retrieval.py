"""BM25 of lmtools against bare bm25s and rank-bm25: time per query, time to index, peak memory.

    python benchmarks/retrieval.py --corpus corpus.jsonl --questions dev.json --synthetic 1000000

All peers get the same passages, queries, stop words, stemmer and number of threads, and their times include
the tokenisation of queries. lmtools reads ids and titles of the hits besides; its peers stop at positions.
Times per query are taken in one process, the peers by turns, a round each; memory in a process of its own
for each peer. Writes benchmarks/results/retrieval.json.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from figures import once
from zipf_corpus import draw_queries, write_corpus

from lmtools.core.environment import machine, versions
from lmtools.core.intervals import mean_interval
from lmtools.core.results import Interval, Results, Row
from lmtools.retrieval.config import Bm25Config
from lmtools.retrieval.open import open_retriever

RESULTS = Path(__file__).parent / "results" / "retrieval.json"
K = 3
SLOW_WORK = 2_500_000
Search = Callable[[list[str]], Any]


def read_texts(corpus: Path) -> list[str]:
    """Title and text of every passage."""
    with corpus.open(encoding="utf-8") as stream:
        rows = map(json.loads, stream)
        return [f"{row['title']} {row['text']}" for row in rows]


def tokenize(texts: list[str], **options: Any) -> Any:
    """What bare bm25s and rank-bm25 search with: the settings of lmtools."""
    import bm25s
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False, **options)


def open_lmtools(corpus: Path, folder: Path, threads: int) -> Search:
    """lmtools, from its cache in ``folder`` where there is one."""
    os.environ["LMTOOLS_CACHE"] = str(folder)
    retriever = open_retriever(Bm25Config(threads=threads), corpus)
    return lambda queries: retriever.search(queries, K)


def open_bm25s(corpus: Path, folder: Path, threads: int) -> Search:
    """Bare bm25s as its README shows it, saved to ``folder`` and mapped."""
    import bm25s

    saved = folder / "bm25s"
    if not saved.exists():
        index = bm25s.BM25()
        index.index(tokenize(read_texts(corpus)), show_progress=False)
        index.save(saved)
    index = bm25s.BM25.load(saved, mmap=True)
    jobs = 0 if threads == 1 else threads
    return lambda queries: index.retrieve(tokenize(queries), k=K, n_threads=jobs, show_progress=False)


def open_rank_bm25(corpus: Path, folder: Path, threads: int) -> Search:
    """rank-bm25, which keeps nothing on disk and has no threads."""
    from rank_bm25 import BM25Okapi

    index = BM25Okapi(tokenize(read_texts(corpus), return_ids=False))

    def search(queries: list[str]) -> list[Any]:
        scores = (index.get_scores(terms) for terms in tokenize(queries, return_ids=False))
        return [np.argsort(row)[::-1][:K] for row in scores]

    return search


OPENERS = {"lmtools": open_lmtools, "bm25s": open_bm25s, "rank-bm25": open_rank_bm25}


def measure_process(peer: str, corpus: Path, folder: Path, queries: list[str]) -> dict[str, float]:
    """Seconds to open (and index, where nothing is saved yet) and peak memory in MB, in a fresh process."""
    command = [sys.executable, __file__, "--child", peer, "--corpus", str(corpus), "--folder", str(folder)]
    process = subprocess.run(command, input=json.dumps(queries), capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(process.stdout.splitlines()[-1])
    return figures


def child(peer: str, corpus: Path, folder: Path) -> None:
    """The other side of ``measure_process``."""
    queries = json.load(sys.stdin)
    start = time.perf_counter()
    search = OPENERS[peer](corpus, folder, 1)
    seconds = time.perf_counter() - start
    if queries:
        search(queries)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux
    print(json.dumps({"seconds": seconds, "peak_mb": peak * 1024 / 1e6}))


def rounds(searches: dict[str, Search], queries: list[str], count: int) -> dict[str, list[float]]:
    """Milliseconds per query of each peer, ``count`` rounds, by turns; one warm-up before."""
    for search in searches.values():
        search(queries[:5])
    times: dict[str, list[float]] = {peer: [] for peer in searches}
    for _ in range(count):
        for peer, search in searches.items():
            start = time.perf_counter()
            search(queries)
            times[peer].append((time.perf_counter() - start) / len(queries) * 1e3)
    return times


def compare(name: str, corpus: Path, queries: list[str], threads: int, folder: Path) -> list[Row]:
    """Every figure for one corpus; rank-bm25 gets the first queries only, 50 of them at 50,000 passages."""
    with corpus.open("rb") as stream:
        slow = max(5, SLOW_WORK // sum(1 for _ in stream))
    figures: dict[str, dict[str, Interval]] = {peer: {} for peer in OPENERS}
    for peer in OPENERS:
        if peer != "rank-bm25":
            built = measure_process(peer, corpus, folder, [])
            figures[peer] |= {
                "index_seconds": once(built["seconds"]),
                "index_peak_mb": once(built["peak_mb"]),
            }
        searched = measure_process(peer, corpus, folder, queries[:slow])
        figures[peer] |= {
            "open_seconds": once(searched["seconds"]),
            "search_peak_mb": once(searched["peak_mb"]),
        }
        print(f"{name}: {peer} measured for memory", file=sys.stderr)
    searches = {peer: OPENERS[peer](corpus, folder, threads) for peer in OPENERS}
    fast = rounds({peer: searches[peer] for peer in ("lmtools", "bm25s")}, queries, 15)
    short = rounds({peer: searches[peer] for peer in ("lmtools", "rank-bm25")}, queries[:slow], 3)
    for peer, times in (*fast.items(), ("rank-bm25", short["rank-bm25"])):
        figures[peer]["ms_per_query"] = mean_interval(times)
    figures["lmtools"]["time_over_bm25s"] = ratio(fast["lmtools"], fast["bm25s"])
    figures["lmtools"]["speedup_over_rank_bm25"] = ratio(short["rank-bm25"], short["lmtools"])
    return [Row(f"{name}/{peer}", metrics) for peer, metrics in figures.items()]


def ratio(above: list[float], below: list[float]) -> Interval:
    """The mean of the rounds' ratios."""
    return mean_interval(np.array(above) / np.array(below))


def table(rows: Sequence[Row]) -> str:
    """The figures as Markdown, a line per row."""
    names = list(dict.fromkeys(metric for row in rows for metric in row.metrics))
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for row in rows:
        cells = [f"{row.metrics[name].value:.4g}" if name in row.metrics else "" for name in names]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--corpus", type=Path, help="a JSONL corpus")
    parser.add_argument("--questions", type=Path, help="a HotpotQA file, whose questions are the queries")
    parser.add_argument("--synthetic", type=int, metavar="N", help="a Zipf corpus of N passages as well")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.corpus, options.folder)
        return
    rows: list[Row] = []
    if options.corpus:
        queries = [row["question"] for row in json.loads(options.questions.read_text())]
        with tempfile.TemporaryDirectory() as folder:
            rows += compare(
                options.corpus.parent.name, options.corpus, queries, options.threads, Path(folder)
            )
    if options.synthetic:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus.jsonl"
            write_corpus(corpus, options.synthetic)
            queries = draw_queries(corpus, options.synthetic, 200)
            rows += compare(f"zipf-{options.synthetic}", corpus, queries, options.threads, Path(folder))
    command = "python " + " ".join(["benchmarks/retrieval.py", *sys.argv[1:]])
    Results("benchmarks/retrieval", command, 0, versions(), machine(), tuple(rows)).write(RESULTS)
    print(table(rows))


if __name__ == "__main__":
    main()
