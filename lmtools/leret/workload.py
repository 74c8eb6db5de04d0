"""How much a run gives the language model to do, stage by stage: for plans, and for how long it will take."""

from collections.abc import Sequence

from lmtools.core.progress import Work, tokens_in
from lmtools.data.records import Question
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.rules import RULES

WORD = 1.5
"""Tokens of a word, about; names have more."""
MARKUP = 12
"""Tokens of a request beside question and passages that no other request shares, about."""


def generations(recipe: LeretRecipe, train: Sequence[Question], test: Sequence[Question]) -> dict[str, int]:
    """Queries that a model writes, by stage."""
    explore, later = recipe.explore, recipe.hop.hops - 1
    per_question = _per_branch(recipe, explore.first) + later * explore.contexts * _per_branch(
        recipe, explore.later
    )
    measured = sum(kind != "question" for kind in recipe.eval.policies)
    counts = {"exploring": len(train) * per_question}
    if "few-shot" in (*explore.first, *explore.later):
        counts["few-shot prompts"] = explore.few_shot_candidates * explore.selection_questions * (1 + later)
    counts["measuring"] = len(test) * recipe.hop.hops * measured
    return counts


def exploring(recipe: LeretRecipe, questions: Sequence[Question]) -> Work:
    """Trying queries for the questions of an iteration."""
    explore, later = recipe.explore, recipe.hop.hops - 1
    first = _requests(recipe, questions, first=True) * _per_branch(recipe, explore.first)
    later_hops = _requests(recipe, questions, first=False) * (
        later * explore.contexts * _per_branch(recipe, explore.later)
    )
    return first + later_hops


def measuring(recipe: LeretRecipe, questions: Sequence[Question]) -> Work:
    """One query a hop and question of every policy that is a model."""
    policies = sum(kind != "question" for kind in recipe.eval.policies)
    later = _requests(recipe, questions, first=False) * (recipe.hop.hops - 1)
    return (_requests(recipe, questions, first=True) + later) * policies


def learning(recipe: LeretRecipe, stage: str, rows: Sequence[dict[str, str]]) -> Work:
    """A training stage on its rows; of preference pairs each side is also read once by the reference."""
    if stage == "sft":
        examples = tokens_in([row["prompt"] + row["completion"] for row in rows])
        return Work(trained=examples * recipe.train.sft.epochs)
    sides = tokens_in([row["prompt"] + row[side] for row in rows for side in ("chosen", "rejected")])
    return Work(read=sides, trained=sides * recipe.train.preference.epochs)


def _requests(recipe: LeretRecipe, questions: Sequence[Question], *, first: bool) -> Work:
    """A request for each question; the longest query of a batch decides, so three quarters of the limit."""
    hop = recipe.hop
    passages = 0 if first else hop.k * hop.passage_words * WORD
    question_tokens = tokens_in([question.question for question in questions])
    return Work(
        question_tokens + len(questions) * (MARKUP + passages), len(questions) * hop.max_query_tokens * 3 / 4
    )


def _per_branch(recipe: LeretRecipe, explorers: tuple[str, ...]) -> int:
    sizes = {"few-shot": recipe.explore.few_shot_prompts, "temperature": recipe.explore.samples}
    return sum(sizes.get(name, 1) for name in explorers if name not in RULES)
