"""What LeReT's exploration tried, on the page: reward by prompt and by iteration, and question by question.

``Samples`` reads `samples.jsonl` in one pass: columns of figures, one value per sample, and of the first
``MOST`` queries their texts and what they retrieved, grouped by question. The charts are means of columns;
the list has an entry for each question.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError
from lmtools.core.intervals import mean_interval, rate_bounds
from lmtools.core.results import Interval
from lmtools.core.stored import MALFORMED, describe, read_json
from lmtools.report.charts import format_value
from lmtools.report.elements import (
    Block,
    Browser,
    Dots,
    Entry,
    Grid,
    Item,
    Line,
    Lines,
    Part,
    Prose,
    Table,
)
from lmtools.report.leret_questions import Question, read_questions, some_of_each_outcome
from lmtools.report.run_files import FIX, Source, number, records, text, texts

# The samples of a run.

MOST = 300_000
"""Queries that are kept as text."""
DRAWS = 2_000_000
"""Of a bootstrap: fewer resamples where there are very many questions."""


@dataclass(slots=True)
class TriedQuery:
    """One query in one group, the prompts that proposed it, and the titles it retrieved."""

    reward: float
    prompts: list[str]
    titles: tuple[str, ...]


Group = tuple[int, int, tuple[str, ...]]
"""Iteration, hop, and the ids of the context in which queries were tried."""


@dataclass
class Samples:
    """Columns with one value for each sample; ``prompts`` and ``questions`` number the names in them.

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
    tried: dict[str, dict[Group, dict[str, TriedQuery]]] = field(default_factory=dict)
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
            titles = tuple(self.titles.setdefault(id, title) for id, title in hits)
            queries = self.tried.setdefault(question, {}).setdefault(group, {})
            tried = queries.setdefault(text(line["query"]), TriedQuery(reward, [], titles))
            if prompt not in tried.prompts:
                tried.prompts.append(prompt)

    def mean(self, **where: int) -> Interval | None:
        """The mean reward, with its interval over questions, of the samples with these values in columns."""
        chosen: NDArray[np.bool_] = np.ones(len(self), dtype=bool)
        for column, value in where.items():
            chosen &= np.asarray(getattr(self, column)) == value
        if not chosen.any():
            return None
        clusters = np.asarray(self.question)[chosen]
        resamples = min(1000, max(100, DRAWS // len(np.unique(clusters))))
        rewards = np.asarray(self.reward)[chosen]
        return mean_interval(rewards, clusters.tolist(), resamples, bounds=rate_bounds(rewards))

    def values(self, column: str) -> list[int]:
        """The different values of a column, rising."""
        return [int(value) for value in np.unique(np.asarray(getattr(self, column)))]


def read_samples(run: Source, keep: bool) -> Samples:
    """The samples of a run, finished or not; none where it explored nothing.

    Args:
        keep: whether to keep queries and what they retrieved.

    Raises:
        DataError: a line is damaged.
    """
    samples = Samples()
    for folder in _folders(run):
        for _ in records(folder / "samples.jsonl", lambda line: samples.add(line, keep)):
            pass
    return samples


def explored_questions(run: Source) -> dict[str, Question]:
    """The questions that queries were tried for, by id; none of a run from before they were kept."""
    questions: dict[str, Question] = {}
    for folder in (run.directory, *(folder for _, folder in iterations(run))):
        questions |= read_questions(folder / "samples.questions.jsonl")
    return questions


def _folders(run: Source) -> Iterator[Path]:
    """Where `samples.jsonl` is: in the run, or while it goes on in each iteration."""
    if run.path("samples.jsonl").is_file():
        yield run.directory
    else:
        yield from (folder for _, folder in iterations(run))


def iterations(run: Source) -> Iterator[tuple[int, Path]]:
    """The folders of a run's iterations, from the first."""
    folders = [path for path in run.directory.glob("iterations/*") if path.name.isdecimal()]
    yield from sorted((int(path.name), path) for path in folders)


# What the page shows of them: rewards by prompt and by iteration, and every question.

NONE, SOME, ALL = "none of the gold", "some of the gold", "all of the gold"
REWARDED = ("reward 0", "reward between 0 and 1", "reward 1")
"""Outcomes where the run does not say what is gold."""
MOST_PROMPTS, MOST_QUERIES = 16, 24
"""Rows of a chart, and queries of a group that are shown, the best ones."""


def tried(run: Source, browse: bool) -> list[Part]:
    """All of it; nothing where the run explored nothing.

    Args:
        browse: also list the questions with their queries.
    """
    samples = read_samples(run, browse)
    if not len(samples):
        return []
    lead = f"{len(samples):,} queries were tried for {len(samples.questions):,} questions. "
    lead += "A reward says how much of what is sought a question's passages hold after the query, at most 1."
    parts: list[Part] = [Prose(lead), Grid(list(by_prompt(samples)))]
    if len(samples.values("iteration")) > 1:
        parts += [Prose("Every iteration explores questions of its own, some harder than others.", "note")]
        parts.append(by_iteration(samples))
    table = _explorer_table(run)
    parts += [table] if table else []
    return [*parts, *_browser(run, samples)] if browse else parts


def by_prompt(samples: Samples) -> Iterator[Dots]:
    """A chart for each hop, the best prompt on top."""
    for hop in samples.values("hop"):
        means = [(name, samples.mean(hop=hop, prompt=index)) for name, index in samples.prompts.items()]
        rows = [(name, mean) for name, mean in means if mean is not None]
        rows.sort(key=lambda row: -row[1].value)
        yield Dots(f"Mean reward by prompt, hop {hop}", rows[:MOST_PROMPTS])


def by_iteration(samples: Samples) -> Lines:
    """Of the prompts with the most samples, and of all together."""
    numbers = samples.values("iteration")
    common = sorted(samples.prompts.values(), key=lambda index: -samples.prompt.count(index))[:MOST_PROMPTS]
    names = {index: name for name, index in samples.prompts.items()}
    overall = [(n, samples.mean(iteration=n)) for n in numbers]
    lines = [Line("all prompts", _points(overall))]
    for index in common if len(common) > 1 else ():
        lines.append(
            Line(names[index], _points([(n, samples.mean(iteration=n, prompt=index)) for n in numbers]))
        )
    title = "Mean reward by iteration"
    return Lines(title, lines, "iteration", "reward", "rate", even=True, strong="all prompts")


def _points(means: Sequence[tuple[int, Interval | None]]) -> list[tuple[float, ...]]:
    return [(n, mean.value, mean.low, mean.high) for n, mean in means if mean is not None]


def _explorer_table(run: Source) -> Table | None:
    """What `explorers.json` says each prompt earned, over all iterations."""
    totals: dict[str, list[float]] = {}
    alone = run.path("explorers.json")
    for path in [alone] if alone.is_file() else [f / "explorers.json" for _, f in iterations(run)]:
        for name, (queries, reward, best) in _explorers(path):
            row = totals.setdefault(name, [0.0, 0.0, 0.0])
            row[0] += queries
            row[1] += queries * reward
            row[2] += queries * best
    rows = [
        (name, f"{n:,.0f}", format_value(reward / n, "rate"), format_value(best / n, "rate"))
        for name, (n, reward, best) in totals.items()
        if n
    ]
    columns = ["Prompt", "queries", "mean reward", "among the best of its group"]
    return Table(columns, rows, "What each prompt earned", folded=True) if rows else None


def _explorers(path: Path) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """(prompt, (queries, mean reward, share among the best of its group)); none where the file is absent."""
    if not path.is_file():
        return
    try:
        rows: dict[str, dict[str, Any]] = read_json(path)
        for name, row in rows.items():
            yield name, (number(row["queries"]), number(row["reward"]), number(row["best"]))
    except MALFORMED as error:
        raise DataError(f"{path}: damaged: {describe(error)}", fix=FIX) from error


def _browser(run: Source, samples: Samples) -> list[Part]:
    """The list of questions, with notes on what it lacks; those whose queries found least come first."""
    questions = explored_questions(run)
    parts: list[Part] = []
    if not questions:
        parts.append(
            Prose(
                "This run was made before the questions were kept beside the samples; they are told by their "
                "ids, without their gold. To see both, explore again: lmtools leret explore",
                "note",
            )
        )
    options = (NONE, SOME, ALL) if questions else REWARDED
    kept = sum(len(queries) for groups in samples.tried.values() for queries in groups.values())
    ranked = []
    for name, groups in samples.tried.items():
        entry, outcome = _entry(name, groups, questions.get(name), samples.titles, bool(questions))
        ranked.append((outcome, entry))
    ranked.sort(key=lambda pair: pair[0])
    entries = [entry for _, entry in some_of_each_outcome(ranked, lambda pair: str(pair[0]))]
    if len(samples.tried) < len(samples.questions):
        note = f"Listed are {len(entries):,} of {len(samples.questions):,} questions, with {kept:,} queries."
        parts.append(Prose(note, "note"))
    columns = ["Question", "Best query", "Reward", *(["Gold found"] if questions else []), "Queries"]
    filters = {"Best query found": options}
    return [*parts, Browser("leret-tried", "What was tried, question by question", columns, filters, entries)]


def _entry(
    name: str,
    groups: dict[Group, dict[str, TriedQuery]],
    question: Question | None,
    titles: dict[str, str],
    with_gold: bool,
) -> tuple[Entry, int]:
    """A question's entry, and the number of its outcome: questions whose queries found least come first."""
    gold = set(question.gold) if question else set()
    blocks, best, most_gold, count = [], ("", -1.0), 0, 0
    # Group by group the queries, best first; over all groups the best query and the most gold in a context.
    for group in sorted(groups):
        queries = sorted(groups[group].items(), key=lambda pair: -pair[1].reward)
        context = [titles[id] for id in group[2] if id in titles]
        blocks.append(_block(group, context, queries, gold))
        count += len(queries)
        best = max(best, (queries[0][0], queries[0][1].reward), key=lambda pair: pair[1])
        most_gold = max(
            most_gold,
            *(len(gold.intersection(context).union(gold.intersection(tried.titles))) for _, tried in queries),
        )
    # Without gold titles the reward of the best query says how much was found.
    if with_gold and gold:
        outcome = 0 if most_gold == 0 else 2 if most_gold == len(gold) else 1
    else:
        outcome = 0 if best[1] <= 0 else 2 if best[1] >= 1 else 1
    options = {"Best query found": ((NONE, SOME, ALL) if with_gold else REWARDED)[outcome]}
    of_gold = [f"{most_gold} of {len(gold)}" if gold else "–"] if with_gold else []
    text = question.text if question else name
    cells = [text, _query_text(best[0]), format_value(best[1], "rate"), *of_gold, f"{count:,}"]
    sought = [Item(title, "gold") for title in sorted(gold)]
    head = [
        Block("To be found", f"Answer: {question.answer}" if question and question.answer else "", sought)
    ]
    return Entry(cells, options, [*(head if gold else []), *blocks]), outcome


def _block(
    group: Group, context: Sequence[str], queries: Sequence[tuple[str, TriedQuery]], gold: set[str]
) -> Block:
    """The queries of one group, best first; marked are those that found gold which was not there before."""
    iteration, hop, _ = group
    heading = f"Hop {hop}" + (f", iteration {iteration}" if iteration > 1 else "")
    after = f"After: {'; '.join(_marked(context, gold))}" if context else ""
    new = gold.difference(context)
    items = [
        Item(
            " · ".join((format_value(tried.reward, "rate"), _query_text(query), ", ".join(tried.prompts))),
            "gold" if new.intersection(tried.titles) else "",
            "\n".join(_marked(tried.titles, gold)) or "nothing was found",
        )
        for query, tried in queries[:MOST_QUERIES]
    ]
    left = len(queries) - len(items)
    lines = [after] if after else []
    lines += [f"The best {len(items)} of {len(queries)} queries:"] if left else []
    return Block(heading, "\n".join(lines), items)


def _query_text(query: str) -> str:
    return query.strip() or "(an empty query)"


def _marked(titles: Sequence[str], gold: set[str]) -> list[str]:
    return [f"{title} (gold)" if title in gold else title for title in titles]
