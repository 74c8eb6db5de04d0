"""What exploration tried, for a reader: reward by prompt and by iteration, and question by question."""

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lmtools.core.errors import DataError
from lmtools.core.progress import duration
from lmtools.core.results import Interval, bootstrap_mean
from lmtools.report.charts import Record, curve, finite, said
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
    Unit,
)
from lmtools.report.leret_questions import Asked, read_asked, some_of_each
from lmtools.report.run_files import FIX, Source, number, records, text, texts

# The training curves of a LeReT run, from what its trainers logged in `iterations/N/STAGE.log.jsonl`.

STAGES = {"sft": "SFT", "policy": "preference"}
CURVES = {
    "loss": "loss",
    "learning_rate": "learning rate",
    "rewards/margins": "reward margin, chosen less rejected",
    "rewards/accuracies": "pairs whose chosen query is ahead",
}
"""What is drawn of a trainer's figures; the last two are those of preference optimisation."""

Log = Sequence[Record]


def training(run: Source) -> list[Part]:
    """A chart for each figure of each stage, with a line for each iteration, and a table of the stages."""
    logs = _logs(run)
    charts = []
    for stage, name in STAGES.items():
        own = {number: log for (kind, number), log in logs.items() if kind == stage}
        for figure, words in CURVES.items():
            lines = [
                Line(f"iteration {number}", points)
                for number, log in own.items()
                if len(points := curve(log, figure)) > 1
            ]
            if lines:
                unit: Unit = "rate" if figure == "rewards/accuracies" else "number"
                charts.append(Lines(f"{name}: {words}", lines, "step", words.partition(",")[0], unit))
    parts: list[Part] = [Grid(charts)] if charts else []
    rows = [_row(f"{STAGES[stage]}, iteration {number}", log) for (stage, number), log in logs.items()]
    columns = ["Stage", "steps", "epochs", "mean loss", "time"]
    return [*parts, Table(columns, rows, "Training stages")] if rows else parts


def _logs(run: Source) -> dict[tuple[str, int], Log]:
    """(stage, iteration) -> the trainer's records, in the order of training."""
    found: dict[tuple[str, int], Log] = {}
    for iteration, folder in iterations(run):
        for stage in STAGES:
            log = list(records(folder / f"{stage}.log.jsonl", lambda line: line))
            if log:
                found[stage, iteration] = log
    return found


def iterations(run: Source) -> Iterator[tuple[int, Path]]:
    """The folders of a run's iterations, from the first."""
    folders = [path for path in run.directory.glob("iterations/*") if path.name.isdecimal()]
    yield from sorted((int(path.name), path) for path in folders)


def _row(name: str, log: Log) -> tuple[str, ...]:
    last = log[-1]
    loss, seconds = finite(last.get("train_loss")), finite(last.get("train_runtime"))
    return (
        name,
        said(finite(last.get("step")), "number"),
        said(finite(last.get("epoch")), "number"),
        said(loss, "number"),
        "–" if seconds is None else duration(seconds),
    )


# What LeReT's exploration tried: the lines of `samples.jsonl` as columns of figures, in one pass.
#
# Of what was asked and found itself, only the first ``MOST`` queries are kept, and only where they are
# wanted.

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
    table = _earned(run)
    parts += [table] if table else []
    return [*parts, *_browser(run, samples)] if browse else parts


def by_prompt(samples: Samples) -> Iterator[Dots]:
    """A chart for each hop, the best prompt on top."""
    for hop in samples.values("hop"):
        found = [(name, samples.mean(hop=hop, prompt=place)) for name, place in samples.prompts.items()]
        rows = [(name, mean) for name, mean in found if mean is not None]
        rows.sort(key=lambda row: -row[1].value)
        yield Dots(f"Mean reward by prompt, hop {hop}", rows[:MOST_PROMPTS])


def by_iteration(samples: Samples) -> Lines:
    """Of the prompts that were asked most, and of all together."""
    numbers = samples.values("iteration")
    common = sorted(samples.prompts.values(), key=lambda place: -samples.prompt.count(place))[:MOST_PROMPTS]
    names = {place: name for name, place in samples.prompts.items()}
    every = [(n, samples.mean(iteration=n)) for n in numbers]
    lines = [Line("all prompts", _points(every))]
    for place in common if len(common) > 1 else ():
        lines.append(
            Line(names[place], _points([(n, samples.mean(iteration=n, prompt=place)) for n in numbers]))
        )
    title = "Mean reward by iteration"
    return Lines(title, lines, "iteration", "reward", "rate", even=True, strong="all prompts")


def _points(means: Sequence[tuple[int, Interval | None]]) -> list[tuple[float, ...]]:
    return [(n, mean.value, mean.low, mean.high) for n, mean in means if mean is not None]


def _earned(run: Source) -> Table | None:
    """What `explorers.json` says of each prompt, over all iterations."""
    totals: dict[str, list[float]] = {}
    alone = run.path("explorers.json")
    for path in [alone] if alone.is_file() else [f / "explorers.json" for _, f in iterations(run)]:
        for name, (queries, reward, best) in _explorers(path):
            row = totals.setdefault(name, [0.0, 0.0, 0.0])
            row[0] += queries
            row[1] += queries * reward
            row[2] += queries * best
    rows = [
        (name, f"{n:,.0f}", said(reward / n, "rate"), said(best / n, "rate"))
        for name, (n, reward, best) in totals.items()
        if n
    ]
    columns = ["Prompt", "queries", "mean reward", "among the best of its group"]
    return Table(columns, rows, "What each prompt earned", folded=True) if rows else None


def _explorers(path: Path) -> Iterator[tuple[str, tuple[float, float, float]]]:
    if not path.is_file():
        return
    try:
        found: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        for name, row in found.items():
            yield name, (number(row["queries"]), number(row["reward"]), number(row["best"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DataError(f"{path}: damaged: {error}", fix=FIX) from error


def _browser(run: Source, samples: Samples) -> list[Part]:
    asked = read_questions(run)
    parts: list[Part] = []
    if not asked:
        parts.append(
            Prose(
                "This run was made before the questions were kept beside the samples; they are told by their "
                "ids, without their gold. To see both, explore again: lmtools leret explore",
                "note",
            )
        )
    options = (NONE, SOME, ALL) if asked else REWARDED
    kept = sum(len(queries) for groups in samples.tried.values() for queries in groups.values())
    ranked = []
    for name, groups in samples.tried.items():
        entry, place = _entry(name, groups, asked.get(name), samples.titles, bool(asked))
        ranked.append((place, entry))
    ranked.sort(key=lambda pair: pair[0])
    entries = [entry for _, entry in some_of_each(ranked, lambda pair: str(pair[0]))]
    if len(samples.tried) < len(samples.questions):
        shown = f"Listed are {len(entries):,} of {len(samples.questions):,} questions, with {kept:,} queries."
        parts.append(Prose(shown, "note"))
    columns = ["Question", "Best query", "Reward", *(["Gold found"] if asked else []), "Queries"]
    filters = {"Best query found": options}
    return [*parts, Browser("leret-tried", "What was tried, question by question", columns, filters, entries)]


def _entry(
    name: str,
    groups: dict[Group, dict[str, Tried]],
    asked: Asked | None,
    titles: dict[str, str],
    with_gold: bool,
) -> tuple[Entry, int]:
    """A question's entry, and the place of its outcome: what found least comes first."""
    gold = set(asked.gold) if asked else set()
    blocks, best, found, count = [], ("", -1.0), 0, 0
    for group in sorted(groups):
        queries = sorted(groups[group].items(), key=lambda pair: -pair[1].reward)
        context = [titles[id] for id in group[2] if id in titles]
        blocks.append(_block(group, context, queries, gold))
        count += len(queries)
        best = max(best, (queries[0][0], queries[0][1].reward), key=lambda pair: pair[1])
        found = max(
            found,
            *(len(gold.intersection(context).union(gold.intersection(own.titles))) for _, own in queries),
        )
    if with_gold and gold:
        place = 0 if found == 0 else 2 if found == len(gold) else 1
    else:
        place = 0 if best[1] <= 0 else 2 if best[1] >= 1 else 1
    options = {"Best query found": ((NONE, SOME, ALL) if with_gold else REWARDED)[place]}
    of_gold = [f"{found} of {len(gold)}" if gold else "–"] if with_gold else []
    question = asked.question if asked else name
    cells = [question, best[0].strip() or "(an empty query)", said(best[1], "rate"), *of_gold, f"{count:,}"]
    sought = [Item(title, "gold") for title in sorted(gold)]
    head = [Block("To be found", f"Answer: {asked.answer}" if asked and asked.answer else "", sought)]
    return Entry(cells, options, [*(head if gold else []), *blocks]), place


def _block(
    group: Group, context: Sequence[str], queries: Sequence[tuple[str, Tried]], gold: set[str]
) -> Block:
    """The queries of one group, best first; marked are those that found gold which was not there before."""
    iteration, hop, _ = group
    heading = f"Hop {hop}" + (f", iteration {iteration}" if iteration > 1 else "")
    after = f"After: {'; '.join(_marked(context, gold))}" if context else ""
    new = gold.difference(context)
    items = [
        Item(
            f"{said(own.reward, 'rate')} · {query.strip() or '(an empty query)'} · {', '.join(own.prompts)}",
            "gold" if new.intersection(own.titles) else "",
            "\n".join(_marked(own.titles, gold)) or "nothing was found",
        )
        for query, own in queries[:MOST_QUERIES]
    ]
    left = len(queries) - len(items)
    lines = [after] if after else []
    lines += [f"The best {len(items)} of {len(queries)} queries:"] if left else []
    return Block(heading, "\n".join(lines), items)


def _marked(titles: Sequence[str], gold: set[str]) -> list[str]:
    return [f"{title} (gold)" if title in gold else title for title in titles]
