"""What LeReT's exploration tried: the lines of `samples.jsonl` as columns of figures, in one pass.

Of what was asked and found itself, only the first ``MOST`` queries are kept, and only where they are wanted.
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.statistics import Interval, bootstrap_mean
from lmtools.report.leret_traces import Asked, read_asked
from lmtools.report.leret_training import iterations
from lmtools.report.records import number, records, text, texts
from lmtools.report.source import Source

MOST = 300_000
DRAWS = 2_000_000
"""Of a bootstrap: fewer resamples where there are very many questions."""


@dataclass(slots=True)
class Tried:
    """One query in one group, whoever proposed it."""

    reward: float
    prompts: list[str]
    titles: tuple[str, ...]


Group = tuple[int, int, tuple[str, ...]]
"""Iteration, hop, and the ids of the context in which queries were tried."""


@dataclass
class Samples:
    """Columns with one place for each sample; names stand in ``prompts`` and ``questions`` by number.

    Args:
        tried: question id -> group -> query -> what it earned.
        titles: passage id -> title, of what is in ``tried``.
    """

    iteration: "array[int]" = field(default_factory=lambda: array("i"))
    hop: "array[int]" = field(default_factory=lambda: array("i"))
    prompt: "array[int]" = field(default_factory=lambda: array("i"))
    question: "array[int]" = field(default_factory=lambda: array("i"))
    reward: "array[float]" = field(default_factory=lambda: array("d"))
    prompts: dict[str, int] = field(default_factory=dict)
    questions: dict[str, int] = field(default_factory=dict)
    tried: dict[str, dict[Group, dict[str, Tried]]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reward)

    def add(self, line: dict[str, Any], keep: bool) -> None:
        """Take in a line of the file.

        Raises:
            KeyError, TypeError, ValueError, OverflowError: it is none.
        """
        reward, question = number(line["reward"]), text(line["question_id"])
        iteration, hop = int(number(line["iteration"])), int(number(line["hop"]))
        prompt = re.sub(r"^temperature-\d+$", "temperature", text(line["prompt_id"]))
        self.iteration.append(iteration)
        self.hop.append(hop)
        self.prompt.append(self.prompts.setdefault(prompt, len(self.prompts)))
        self.question.append(self.questions.setdefault(question, len(self.questions)))
        self.reward.append(reward)
        if keep and len(self) <= MOST:
            group = (iteration, hop, texts(line["context"]))
            hits = [(text(hit["id"]), text(hit["title"])) for hit in line["hits"]]
            found = tuple(self.titles.setdefault(id, title) for id, title in hits)
            queries = self.tried.setdefault(question, {}).setdefault(group, {})
            own = queries.setdefault(text(line["query"]), Tried(reward, [], found))
            if prompt not in own.prompts:
                own.prompts.append(prompt)

    def mean(self, **where: int) -> Interval | None:
        """The mean reward, with its interval over questions, of the samples with these values in columns."""
        chosen: NDArray[np.bool_] = np.ones(len(self), dtype=bool)
        for column, value in where.items():
            chosen &= np.asarray(getattr(self, column)) == value
        if not chosen.any():
            return None
        clusters = np.asarray(self.question)[chosen]
        resamples = min(1000, max(100, DRAWS // len(np.unique(clusters))))
        return bootstrap_mean(np.asarray(self.reward)[chosen], clusters.tolist(), resamples)

    def values(self, column: str) -> list[int]:
        """The different values of a column, rising."""
        return [int(value) for value in np.unique(np.asarray(getattr(self, column)))]


def read_samples(run: Source, keep: bool) -> Samples:
    """The samples of a run, finished or not; none where it explored nothing.

    Args:
        keep: whether to keep what was asked and found.

    Raises:
        DataError: a line is damaged.
    """
    samples = Samples()
    for folder in _folders(run):
        for _ in records(folder / "samples.jsonl", lambda line: samples.add(line, keep)):
            pass
    return samples


def read_questions(run: Source) -> dict[str, Asked]:
    """The questions that queries were tried for, by id; none of a run from before they were kept."""
    found: dict[str, Asked] = {}
    for folder in (run.directory, *(folder for _, folder in iterations(run))):
        found |= read_asked(folder / "samples.questions.jsonl")
    return found


def _folders(run: Source) -> Iterator[Path]:
    """Where `samples.jsonl` is: in the run, or while it goes on in each iteration."""
    if run.path("samples.jsonl").is_file():
        yield run.directory
    else:
        yield from (folder for _, folder in iterations(run))
