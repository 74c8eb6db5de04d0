"""`--dry-run`: check everything, render one real example, estimate work and memory. Loads no weights."""

from dataclasses import dataclass
from typing import Any

from lmtools.leret.context import Context, search_hop
from lmtools.leret.policy import Ask, show
from lmtools.leret.prompts import ZERO_SHOT, encode, query_messages
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.rules import RULES
from lmtools.leret.setup import Setup, prepare
from lmtools.models.chat import render
from lmtools.models.load import load_tokenizer
from lmtools.models.size import parameters

BYTES = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    questions: dict[str, int]
    prompts: tuple[str, ...]
    """The zero-shot prompt of the first training question, at the first and at a later hop."""
    tokens: tuple[int, ...]
    generations: dict[str, int]
    generated_tokens: int
    prompt_tokens: int
    weights_gib: float
    training_gib: float


def dry_run(recipe: LeretRecipe) -> Plan:
    """Everything that can be known before any weight is loaded.

    Raises as ``prepare`` does, and ModelError where the model's files are not there.
    """
    setup = prepare(recipe, weights=False)
    tokenizer = load_tokenizer(recipe.model)
    prompts = tuple(
        render(tokenizer, query_messages(ask.prompt, ask.question, ask.passages)) for ask in _examples(setup)
    )
    tokens = tuple(len(encode(tokenizer, prompt)) for prompt in prompts)
    generations = _generations(setup)
    hops = recipe.hop.hops
    mean = (tokens[0] + tokens[-1] * (hops - 1)) / hops
    total = sum(generations.values())
    size = parameters(recipe.model) * BYTES[recipe.model.dtype] / 2**30
    return Plan(
        questions={"train": len(setup.train), "test": len(setup.test)},
        prompts=prompts,
        tokens=tokens,
        generations=generations,
        generated_tokens=total * recipe.hop.max_query_tokens,
        prompt_tokens=round(total * mean),
        weights_gib=round(size, 2),
        # weights, gradients and two optimiser moments in float32, or an adapter beside frozen weights
        training_gib=round(size * (16 / BYTES[recipe.model.dtype] if recipe.train.full else 1.3), 2),
    )


def _examples(setup: Setup) -> list[Ask]:
    question, hop = setup.train[0], setup.recipe.hop
    hits = search_hop(setup.retriever, [question.question], [Context()], hop)
    later = show(setup.retriever, Context(hits[0]), hop)
    return [Ask(ZERO_SHOT, question.question, ()), Ask(ZERO_SHOT, question.question, later)]


def _generations(setup: Setup) -> dict[str, int]:
    """Queries that a model writes, by stage."""
    recipe = setup.recipe
    explore, later = recipe.explore, recipe.hop.hops - 1
    per_question = _per_branch(recipe, explore.first) + later * explore.contexts * _per_branch(
        recipe, explore.later
    )
    measured = sum(kind != "question" for kind in recipe.eval.policies)
    counts = {"exploring": len(setup.train) * per_question}
    if "few-shot" in (*explore.first, *explore.later):
        counts["few-shot prompts"] = explore.few_shot_candidates * explore.selection_questions * (1 + later)
    counts["measuring"] = len(setup.test) * recipe.hop.hops * measured
    return counts


def _per_branch(recipe: LeretRecipe, explorers: tuple[str, ...]) -> int:
    sizes = {"few-shot": recipe.explore.few_shot_prompts, "temperature": recipe.explore.samples}
    return sum(sizes.get(name, 1) for name in explorers if name not in RULES)


def print_dry_run(plan: Plan) -> None:
    """The plan for a person, on stderr."""
    from lmtools.core.progress import say

    for place, (prompt, tokens) in zip(
        ("first", "second"), zip(plan.prompts, plan.tokens, strict=True), strict=True
    ):
        say(f"--- prompt of the {place} hop, {tokens} tokens ---\n{prompt}\n")
    say("questions: " + ", ".join(f"{count} {split}" for split, count in plan.questions.items()))
    say("queries that a model writes: " + ", ".join(f"{n} {stage}" for stage, n in plan.generations.items()))
    say(f"tokens: {plan.prompt_tokens:,} read, at most {plan.generated_tokens:,} written, besides training")
    say(f"memory: {plan.weights_gib} GiB of weights; training {plan.training_gib} GiB and activations")
    say("everything checks out; run it without --dry-run")


def as_json(plan: Plan) -> dict[str, Any]:
    """The plan as a JSON object."""
    from dataclasses import asdict

    return asdict(plan)
