"""Training data of one iteration: `sft.jsonl` and `preferences.jsonl`, keyed by the zero-shot prompt.

Whichever prompt or rule produced a query, the policy is trained to write it from the plain zero-shot prompt
with the context of that hop (context distillation).
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby

from lmtools.core.seeds import derive
from lmtools.data.records import Question
from lmtools.leret.explore import Group
from lmtools.leret.pairs import best_query, draw, preference_pairs
from lmtools.leret.policy import Policy, QueryRequest, show
from lmtools.leret.prompts import ZERO_SHOT
from lmtools.leret.recipe import LeretRecipe
from lmtools.retrieval.protocol import Retriever


def prompt_text(
    group: Group, questions: Mapping[str, Question], policy: Policy, retriever: Retriever, recipe: LeretRecipe
) -> str:
    """The zero-shot prompt at a group's context: the text that inference uses, from the same function."""
    passages = show(retriever, group.context, recipe.hop)
    return policy.text(QueryRequest(ZERO_SHOT, questions[group.question_id].question, passages))


def sft_rows(
    groups: Iterable[Group],
    questions: Mapping[str, Question],
    policy: Policy,
    retriever: Retriever,
    recipe: LeretRecipe,
) -> Iterator[dict[str, str]]:
    """(prompt, completion): the best query of every group in which some query improved on the context."""
    for group in groups:
        precedence = recipe.explore.first if group.hop == 1 else recipe.explore.later
        best = best_query(group.tried(), group.before, precedence)
        if best is not None:
            yield {
                "prompt": prompt_text(group, questions, policy, retriever, recipe),
                "completion": best.query,
            }


def preference_rows(
    groups: Iterable[Group],
    questions: Mapping[str, Question],
    policy: Policy,
    retriever: Retriever,
    recipe: LeretRecipe,
) -> Iterator[dict[str, str]]:
    """(prompt, chosen, rejected): `max_pairs` of every group and `total_pairs` in all, at most."""
    settings = recipe.train.preference
    pairs: list[tuple[Group, str, str]] = []
    for group in groups:
        seed = derive(recipe.seed, "pairs", group.iteration, group.hop, group.question_id, group.trail)
        tried = [
            sample
            for sample in group.tried()
            if settings.explorers is None or sample.explorer in settings.explorers
        ]
        pairs += [(group, *pair) for pair in preference_pairs(tried, settings.max_pairs, seed)]
    drawn = draw(pairs, settings.total_pairs, derive(recipe.seed, "all pairs"))
    for _, members in groupby(drawn, key=lambda pair: id(pair[0])):
        prompt = ""
        for group, chosen, rejected in members:
            prompt = prompt or prompt_text(group, questions, policy, retriever, recipe)
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}
