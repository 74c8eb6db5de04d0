"""`--dry-run`: check everything, show one real pair with its tokens, count what is read. Loads no weights.

`Plan` is that of training and of an evaluation, `AdaptationPlan` of an adaptation, `RewardPlan` of
`lmtools eval reward`; each has a function that checks and one that prints.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmtools.core.dry_run import Attempts, say_model, say_unchecked
from lmtools.core.progress import say
from lmtools.data.records import Preference
from lmtools.data.sources import source_hash
from lmtools.hyre.lora import check_lora
from lmtools.hyre.pairs import answers, read_targets, read_training
from lmtools.hyre.personal import User
from lmtools.hyre.recipe import HyreRecipe, RewardRecipe, check_reward
from lmtools.hyre.reward import measured_name, read_reward_pairs, trained_recipe
from lmtools.hyre.settings import AdaptSettings
from lmtools.hyre.train import compared
from lmtools.models.chat import EncodedAnswer, encode_answers
from lmtools.models.files import resolve_without_weights, weights_gib
from lmtools.models.load import load_tokenizer
from lmtools.models.precision import describe_precision


@dataclass(frozen=True)
class Plan:
    """What a run would do; what cannot be told is empty or None."""

    task: str
    pairs: int
    targets: dict[str, int]
    """Target -> its pairs; of tables, table -> rows above the shift."""
    ensembles: tuple[str, ...]
    heads: int
    example: dict[str, Any]
    """The first pair as the model reads it: `prompt`, `chosen`, `rejected`, and the tokens of each."""
    tokens: int
    """What the model reads if nothing is in the cache and no prompt is shared."""
    cut: int
    weights_gib: float | None
    precision: str | None
    """Of the model, and why."""
    unchecked: tuple[str, ...] = ()


def dry_run(recipe: HyreRecipe, *, targets: bool, train: bool = True) -> Plan:
    """Everything that can be known before any weight is loaded.

    Raises:
        RecipeError: the backbone cannot be fine-tuned, since it has an adapter.
        DataError: something is wrong with the pairs or tables.
        ModelError: something is wrong with the model's files.
    """
    names = (recipe.name, *compared(recipe))
    if recipe.task != "preference":
        return _of_tables(recipe, names)
    if train:
        check_lora(recipe)
    # What cannot be read here and now, such as a model on the hub, is told as unchecked.
    attempt = Attempts()
    pairs = (
        (attempt("the training pairs", lambda: read_training(recipe.data, recipe.seed)) or [])
        if train
        else []
    )
    users = (attempt("the targets", lambda: read_targets(recipe.data, recipe.seed)) or {}) if targets else {}
    files = attempt("the tokenizer", lambda: resolve_without_weights(recipe.model))
    weights = attempt("the model's size", lambda: weights_gib(recipe.model))
    # With a tokenizer: what the model would read, token by token.
    read = [*pairs, *(pair for members in users.values() for pair in members)]
    tokenizer = load_tokenizer(recipe.model, files) if files else None
    tokens = (
        encode_answers(tokenizer, answers(read), recipe.features.max_tokens) if tokenizer and read else None
    )
    return Plan(
        task=recipe.task,
        pairs=len(pairs),
        targets={name: len(members) for name, members in users.items()},
        ensembles=names,
        heads=recipe.heads_count,
        example=_example(read[0], tokenizer, tokens.texts) if tokens else {},
        tokens=sum(map(len, tokens.texts)) if tokens else 0,
        cut=tokens.cut if tokens else 0,
        weights_gib=round(weights, 3) if weights is not None else None,
        precision=describe_precision(recipe.model),
        unchecked=tuple(attempt.unchecked),
    )


def _of_tables(recipe: HyreRecipe, names: tuple[str, ...]) -> Plan:
    from lmtools.hyre.tabular import read_tables

    data = read_tables(recipe)
    for source in recipe.data.tables:
        source_hash(source)
    first = {"table": data[0].name, "shifted feature": data[0].feature, "row": data[0].train.x[0].tolist()}
    return Plan(
        task=recipe.task,
        pairs=sum(len(table.train.x) for table in data),
        targets={table.name: len(table.target_x) for table in data},
        ensembles=names,
        heads=recipe.heads_count,
        example=first,
        tokens=0,
        cut=0,
        weights_gib=None,
        precision=None,
    )


def _example(pair: Preference, tokenizer: Any, texts: Sequence[EncodedAnswer]) -> dict[str, Any]:
    chosen, rejected = texts[:2]
    parts = {"prompt": chosen.prompt, "chosen": chosen.answer, "rejected": rejected.answer}
    return {
        "id": pair.key,
        **{name: tokenizer.decode(list(ids)) for name, ids in parts.items()},
        "tokens": {name: len(ids) for name, ids in parts.items()},
    }


def print_dry_run(plan: Plan) -> None:
    """The plan for a person, on stderr."""
    if plan.task == "preference" and plan.example:
        for name in ("prompt", "chosen", "rejected"):
            say(f"--- {name}, {plan.example['tokens'][name]} tokens ---\n{plan.example[name]}")
        lost = f", {plan.cut} of them cut" if plan.cut else ""
        say(f"\n{plan.tokens:,} tokens in {2 * (plan.pairs + sum(plan.targets.values()))} texts{lost}")
    learnt = "pairs" if plan.task == "preference" else "rows"
    say(f"{plan.pairs} {learnt} to learn from; {plan.heads} heads; ensembles: {', '.join(plan.ensembles)}")
    if plan.targets:
        say(f"{len(plan.targets)} targets: {', '.join(f'{name} {n}' for name, n in plan.targets.items())}")
    say_model(plan.precision, plan.weights_gib)
    say_unchecked(plan.unchecked)


@dataclass(frozen=True)
class AdaptationPlan:
    """What an adaptation would do: ``examples`` labelled pairs of ``user``, ``others`` to test on."""

    run: Path | None
    """The trained run; None: one is trained first."""
    user: str
    examples: int
    others: int
    first: Preference | None
    """The first labelled pair."""
    adapt: AdaptSettings


def adaptation_plan(run: Path | None, user: User, settings: AdaptSettings) -> AdaptationPlan:
    """The plan of adapting a run to a user."""
    first = user.examples[0] if user.examples else None
    return AdaptationPlan(run, user.name, len(user.examples), len(user.tested), first, settings)


def print_adaptation_plan(plan: AdaptationPlan, default: str) -> None:
    """The plan for a person, on stderr; ``default`` is the recipe of the ensemble that is trained first."""
    ensemble = f"the ensemble of {plan.run}" if plan.run else f"an ensemble that is trained first ({default})"
    say(f"{ensemble} is adapted to {plan.user}: {plan.examples} labelled pairs, {plan.others} to test on")


@dataclass(frozen=True)
class RewardPlan:
    """What a measurement of a reward model would do: ``pairs`` by distribution."""

    model: str
    """The name of its row."""
    run: Path | None
    pairs: dict[str, int]
    precision: str | None
    """Of the model; None where a run would be trained first."""


def reward_plan(recipe: RewardRecipe, run: Path | None) -> RewardPlan:
    """What is measured on how many pairs; loads no weights.

    Args:
        run: the trained run where the recipe names no model; None: there is none yet.

    Raises:
        RecipeError: the recipe names two things to measure.
        DataError: something is wrong with the pairs.
    """
    check_reward(recipe)
    pairs = {name: len(group) for name, group in read_reward_pairs(recipe).items()}
    model = recipe.model or (trained_recipe(run).model if run is not None else None)
    precision = None if model is None else describe_precision(model)
    return RewardPlan(measured_name(recipe), run, pairs, precision)


def print_reward_plan(plan: RewardPlan) -> None:
    """The plan for a person, on stderr."""
    counts = ", ".join(f"{name} {count}" for name, count in plan.pairs.items())
    say(
        f"{plan.model} is measured on {sum(plan.pairs.values())} pairs of {len(plan.pairs)} distributions: "
        f"{counts}"
    )
    say_model(plan.precision, None)
    if plan.precision is None:
        say("no trained ensemble under runs/: one would be trained first")
