"""What simple queries reach on the atlas: ``PYTHONPATH=tools python -m atlas.ceiling [train|dev|test]``.

BM25 (bm25s, Lucene's form, k1 = 1.5, b = 0.75) over title and text, English stop words, Snowball stems.
Recall of gold titles for the question itself as query, and for an oracle that knows the titles.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atlas import path
from lmtools.data.records import Passage, Question
from lmtools.data.rows import read_passages, read_questions

Search = Callable[[Sequence[str], int], list[list[str]]]
"""Queries and k in, titles of the k best passages out."""


def searcher(passages: Sequence[Passage]) -> Search:
    """A BM25 search over the passages, equal scores in the order of the corpus."""
    import bm25s
    import numpy as np
    import Stemmer

    stemmer = Stemmer.Stemmer("english")
    texts = [f"{p.title} {p.text}" for p in passages]
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    index.index(
        bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False
    )

    def search(queries: Sequence[str], k: int) -> list[list[str]]:
        tokens = bm25s.tokenize(
            list(queries), stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
        )
        scores = (index.get_scores(words) if words else np.zeros(len(texts)) for words in tokens)
        return [[passages[i].title for i in np.argsort(-s, kind="stable")[:k] if s[i] > 0] for s in scores]

    return search


@dataclass(frozen=True)
class Ceiling:
    """Recall in [0, 1] of ``n`` questions: of both gold passages, of the first and of the second one."""

    n: int
    overall: float
    first: float
    second: float


def recall(questions: Sequence[Question], retrieved: Sequence[Sequence[str]]) -> Ceiling:
    """The share of gold titles found, all and per hop (first and second of ``supporting``)."""
    n = len(questions)
    hops = [
        sum(q.supporting[hop] in titles for q, titles in zip(questions, retrieved, strict=True)) / n
        for hop in (0, 1)
    ]
    return Ceiling(n, sum(hops) / 2, *hops)


def ceilings(questions: Sequence[Question], search: Search) -> dict[str, Ceiling]:
    """Question as query at 3 and 6; gold titles as queries at 3; question, then the missing titles, 3 + 3."""
    texts = [q.question for q in questions]
    first = search(texts, 3)
    titles = [search(list(q.supporting), 3) for q in questions]
    missing = [[t for t in q.supporting if t not in hits] for q, hits in zip(questions, first, strict=True)]
    second = search([m[-1] if m else "" for m in missing], 3)
    return {
        "question@3": recall(questions, first),
        "question@6": recall(questions, search(texts, 6)),
        "own title@3": recall(questions, [hits[0] + hits[1] for hits in titles]),
        "question@3 + title@3": recall(questions, [a + b for a, b in zip(first, second, strict=True)]),
    }


def table(questions: Sequence[Question], search: Search) -> list[str]:
    """The ceilings of all questions and of each kind, one line each."""
    lines = []
    for kind in ("all", "bridge", "comparison"):
        chosen = [q for q in questions if kind in ("all", q.kind)]
        for name, c in ceilings(chosen, search).items():
            figures = f"both {c.overall:.3f}  hop 1 {c.first:.3f}  hop 2 {c.second:.3f}"
            lines.append(f"{kind:11} n={c.n:4} {name:22} {figures}")
    return lines


if __name__ == "__main__":
    split = sys.argv[1] if len(sys.argv) > 1 else "test"
    bm25 = searcher(read_passages(path("corpus.jsonl")))
    print("\n".join(table(read_questions(path(f"questions.{split}.jsonl")), bm25)))
