"""A synthetic corpus of any size, the same for the same seed: words drawn from a Zipf-Mandelbrot law.

The law's head is cut (``OFFSET``) as a stop-word list cuts that of a language: the most frequent word is then
in some 10 % of the passages.
"""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VOCABULARY = 300_000
OFFSET = 50
EXPONENT = 1.05
MEAN_LENGTH = 30
BLOCK = 20_000
SYLLABLES = ("ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "wu", "za")


def write_corpus(path: Path, passages: int, seed: int = 0) -> None:
    """Write ``passages`` JSONL records: a title of 2 words, a text of about 30."""
    rng = np.random.default_rng(seed)
    words = np.array([word(number) for number in range(VOCABULARY)])
    cumulative = _cumulative()
    with path.open("w", encoding="utf-8") as stream:
        for start in range(0, passages, BLOCK):
            count = min(BLOCK, passages - start)
            ends = np.cumsum(rng.poisson(MEAN_LENGTH, size=count) + 2)
            drawn = words[np.searchsorted(cumulative, rng.random(ends[-1]))]
            for number, text in enumerate(np.split(drawn, ends[:-1]), start=start):
                row = {"id": str(number), "title": " ".join(text[:2]), "text": " ".join(text[2:])}
                stream.write(json.dumps(row) + "\n")


def draw_queries(path: Path, passages: int, count: int, seed: int = 0) -> list[str]:
    """Queries of 3 to 10 words, each drawn from one passage of the corpus."""
    rng = np.random.default_rng([seed, 1])
    chosen = set(rng.choice(passages, size=count, replace=False).tolist())
    with path.open(encoding="utf-8") as stream:
        texts = [json.loads(line)["text"].split() for number, line in enumerate(stream) if number in chosen]
    return [" ".join(rng.choice(text, size=rng.integers(3, 11))) for text in texts if text]


def word(number: int) -> str:
    """A pronounceable word for each number, all different: the number in base 16, a syllable per digit."""
    return "".join(SYLLABLES[int(digit, 16)] for digit in f"{number:x}") + "x"


def _cumulative() -> NDArray[np.float64]:
    weights = 1.0 / (np.arange(VOCABULARY) + OFFSET) ** EXPONENT
    cumulative: NDArray[np.float64] = np.cumsum(weights)
    return cumulative / cumulative[-1]
