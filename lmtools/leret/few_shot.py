"""Few-shot prompts by bootstrap and random search: demonstrations are queries that found something, and the
best of several random draws of them are kept (LeReT, prompt-diverse exploration)."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lmtools.core.journal import Journal
from lmtools.core.progress import progress, say
from lmtools.core.seeds import derive
from lmtools.data.records import Question
from lmtools.leret.context import search_hop
from lmtools.leret.explore import Explorers, Group
from lmtools.leret.pairs import best_query
from lmtools.leret.policy import QueryRequest, show
from lmtools.leret.prompts import Demonstration, Prompt

STAGES = ("first", "later")
BOOTSTRAP = 0
"""The iteration number under which the journal keeps the bootstrap's exploration."""


def few_shot_prompts(
    explorers: Explorers, questions: Sequence[Question], journal: Journal
) -> dict[str, tuple[Prompt, ...]]:
    """The best few-shot prompts of the first and of the later hops.

    The first `bootstrap_questions` give demonstrations: of each prompt, the query with the highest reward, if
    it improved on the context, by any explorer of the recipe but few-shot itself. The next
    `selection_questions` score the candidates by mean reward. Ties go to the earlier candidate.

    Returns:
        Up to `few_shot_prompts` prompts per stage; fewer, or none, where nothing was found to demonstrate.
    """
    settings = explorers.settings
    count = settings.bootstrap_questions + settings.selection_questions
    used = {question.id: question for question in questions[:count]}
    bootstrap = {question.id for question in questions[: settings.bootstrap_questions]}
    with progress(len(used), "bootstrapping demonstrations") as bar:
        groups = list(_without_few_shot(explorers).explore(list(used.values()), BOOTSTRAP, journal, bar))
    chosen: dict[str, tuple[Prompt, ...]] = {}
    for stage in STAGES:
        here = [group for group in groups if (group.hop == 1) == (stage == "first")]
        demonstrations = [
            demonstration
            for group in here
            if group.question_id in bootstrap
            and (demonstration := _demonstration(explorers, group, used[group.question_id], stage))
            is not None
        ]
        selection = [group for group in here if group.question_id not in bootstrap]
        chosen[stage] = _search(explorers, stage, demonstrations, selection, used, journal)
    return chosen


def _without_few_shot(explorers: Explorers) -> Explorers:
    def rest(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name != "few-shot") or ("zero-shot",)

    settings = explorers.settings
    return replace(
        explorers,
        settings=settings.model_copy(update={"first": rest(settings.first), "later": rest(settings.later)}),
    )


def _demonstration(
    explorers: Explorers, group: Group, question: Question, stage: str
) -> Demonstration | None:
    precedence = explorers.settings.first if stage == "first" else explorers.settings.later
    best = best_query(group.tried(), group.before, precedence)
    if best is None:
        return None
    return Demonstration(
        question.question, show(explorers.retriever, group.context, explorers.hop), best.query
    )


def _search(
    explorers: Explorers,
    stage: str,
    demonstrations: Sequence[Demonstration],
    selection: Sequence[Group],
    questions: Mapping[str, Question],
    journal: Journal,
) -> tuple[Prompt, ...]:
    settings = explorers.settings
    if not demonstrations or not selection:
        question_count = settings.bootstrap_questions
        reason = (
            f"no query of the {stage} hop found anything to demonstrate; raise explore.bootstrap_questions"
            if not demonstrations
            else f"no question is left to choose with, since explore.bootstrap_questions is {question_count}"
        )
        say(f"few-shot: none for the {stage} hop: {reason}")
        return ()
    scored: list[tuple[float, int, Prompt]] = []
    with progress(settings.few_shot_candidates, f"few-shot prompts, {stage} hop") as bar:
        for number in range(settings.few_shot_candidates):
            rng = random.Random(derive(explorers.seed, "few-shot", stage, number))
            draw = tuple(rng.sample(demonstrations, min(settings.demonstrations, len(demonstrations))))
            candidate = Prompt(f"candidate-{number}", draw)
            key = f"few-shot/{stage}/{number}"
            if key not in journal:
                journal.append(key, {"reward": _mean_reward(explorers, candidate, selection, questions)})
            reward = journal.read(key, lambda record: float(record["reward"]))
            scored.append((-reward, number, candidate))
            bar.advance()
    best = sorted(scored, key=lambda entry: entry[:2])[: settings.few_shot_prompts]
    return tuple(
        Prompt(f"few-shot-{rank}", prompt.demonstrations) for rank, (_, _, prompt) in enumerate(best, 1)
    )


def _mean_reward(
    explorers: Explorers, prompt: Prompt, groups: Sequence[Group], questions: Mapping[str, Question]
) -> float:
    group_questions = [questions[group.question_id] for group in groups]
    contexts = [group.context for group in groups]
    asks = [
        QueryRequest(prompt, question.question, show(explorers.retriever, context, explorers.hop))
        for question, context in zip(group_questions, contexts, strict=True)
    ]
    hits = search_hop(explorers.retriever, explorers.policy.write(asks), contexts, explorers.hop)
    after = [
        context.extend(new_hits, explorers.hop.order)
        for context, new_hits in zip(contexts, hits, strict=True)
    ]
    rewards = explorers.reward(group_questions, after)
    return sum(rewards) / len(rewards)
