"""What exploration tried, for a reader: reward by prompt and by iteration, and question by question."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lmtools.core.errors import DataError
from lmtools.core.statistics import Interval
from lmtools.report.chart_data import said
from lmtools.report.leret_questions import some_of_each
from lmtools.report.leret_samples import Group, Samples, Tried, read_questions, read_samples
from lmtools.report.leret_traces import Asked
from lmtools.report.leret_training import iterations
from lmtools.report.parts import Block, Browser, Dots, Entry, Grid, Item, Line, Lines, Part, Prose, Table
from lmtools.report.records import FIX, number
from lmtools.report.source import Source

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
