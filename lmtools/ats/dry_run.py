"""What a fit takes: `--dry-run`, which loads no weights, and the work of each stage for its forecast."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from lmtools.ats.baselines import VECTOR
from lmtools.ats.cache import SequenceRows, shapes
from lmtools.ats.inputs import (
    AtsInputs,
    check_model,
    make_sequences,
    model_config,
    read_instructions,
    split,
)
from lmtools.ats.recipe import AtsRecipe, BaseShape, HeadConfig, base_shape
from lmtools.core.dry_run import Attempts, say_model, say_unchecked
from lmtools.core.progress import Work, say
from lmtools.models.files import resolve_without_weights, weights_gib
from lmtools.models.load import load_tokenizer
from lmtools.models.precision import describe_precision

COPIES = 6
"""Of a head in training: weights, gradients, two moments, the best ones, and those of the state file."""


@dataclass(frozen=True)
class Token:
    """A token of the example; ``response``: whether the heads learn from it."""

    text: str
    response: bool


@dataclass(frozen=True)
class Plan:
    """What a fit would do; what cannot be told is empty or None."""

    instructions: int
    example: tuple[Token, ...]
    """The first sequence that the model reads."""
    sequences: int
    cut: int
    """Sequences that lose their end to `data.max_tokens`."""
    tokens: int
    response_tokens: int
    cache_gib: float | None
    head_parameters: int | None
    training_gib: float | None
    weights_gib: float | None
    precision: str | None
    """Of the model, and why."""
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why, a sentence each."""


def dry_run(recipe: AtsRecipe) -> Plan:
    """Everything that can be known before any weight is loaded.

    Raises:
        DataError: something is wrong with the instructions.
        ModelError: something is wrong with the model's files.
    """
    check_model(recipe)
    attempt = Attempts()
    instructions = attempt("the instructions", lambda: read_instructions(recipe))
    files = attempt("the tokenizer", lambda: resolve_without_weights(recipe.model))
    weights = attempt("the model's size", lambda: weights_gib(recipe.model))
    tokenizer = load_tokenizer(recipe.model, files) if files else None
    shape = base_shape(model_config(recipe, files)) if files else None
    texts = make_sequences(recipe, instructions, tokenizer) if instructions and tokenizer else None
    rows = SequenceRows.of(texts.marked) if texts else None
    if rows:
        split(len(rows.marked), recipe.data.validation, recipe.seed)
    layout = rows.layout() if rows else None
    heads = [head_parameters(head, shape) for head in recipe.heads] if shape else []
    return Plan(
        instructions=len(instructions or ()),
        example=_tokens(tokenizer, texts.marked[0]) if texts else (),
        sequences=len(texts.marked) if texts else 0,
        cut=texts.cut if texts else 0,
        tokens=int(layout["rows"][-1]) if layout else 0,
        response_tokens=int(layout["tokens"][-1]) if layout else 0,
        cache_gib=_gib(_cache_bytes(recipe, layout, shape)) if layout and shape else None,
        head_parameters=heads[0] if heads else None,
        training_gib=_gib(4 * COPIES * max(heads)) if heads else None,
        weights_gib=round(weights, 3) if weights is not None else None,
        precision=describe_precision(recipe.model),
        unchecked=tuple(attempt.unchecked),
    )


def head_parameters(config: HeadConfig, shape: BaseShape) -> int:
    """The number of a head's weights."""
    import torch

    from lmtools.ats.heads import build_head

    with torch.device("meta"):
        return sum(weight.numel() for weight in build_head(config, shape).parameters())


def _cache_bytes(recipe: AtsRecipe, layout: Any, shape: BaseShape) -> int:
    from_logits = any(head.needs_logits for head in recipe.heads)
    arrays = shapes(layout, shape.hidden, recipe.data.cache_dtype, from_logits).values()
    return sum(prod(size) * np.dtype(dtype).itemsize for size, dtype in arrays)


def _gib(count: float) -> float:
    return round(count / 2**30, 3)


def _tokens(tokenizer: Any, marked: Any) -> tuple[Token, ...]:
    texts = [tokenizer.decode([id]) for id in marked.ids]
    return tuple(Token(text, mark) for text, mark in zip(texts, marked.response, strict=True))


def bracketed(example: tuple[Token, ...]) -> str:
    """The example as text, what is learnt in brackets.

    >>> bracketed((Token("Q?", False), Token(" Yes", True), Token(".", True), Token("\\n", False)))
    'Q?[[ Yes.]]\\n'
    """
    parts, inside = [], False
    for token in example:
        if token.response != inside:
            parts.append("[[" if token.response else "]]")
            inside = token.response
        parts.append(token.text)
    return "".join(parts) + ("]]" if inside else "")


def print_dry_run(plan: Plan) -> None:
    """The plan for a person, on stderr."""
    if plan.example:
        learnt = sum(token.response for token in plan.example)
        say(f"--- a sequence of {len(plan.example)} tokens; heads learn from the {learnt} in [[ ]] ---")
        say(f"{bracketed(plan.example)}\n")
        lost = f", {plan.cut} of them cut" if plan.cut else ""
        say(f"{plan.instructions} instructions make {plan.sequences} sequences{lost}")
        say(f"the model reads {plan.tokens:,} tokens once; {plan.response_tokens:,} are learnt from")
    if plan.cache_gib is not None:
        say(f"disk: {plan.cache_gib} GiB of cache")
    if plan.head_parameters is not None:
        say(f"the head has {plan.head_parameters:,} weights; training takes {plan.training_gib} GiB")
    say_model(plan.precision, plan.weights_gib)
    say_unchecked(plan.unchecked)


# The work of a fit's stages, from which a forecast of their time is made.


def reading_work(inputs: AtsInputs) -> Work:
    """The language model's one pass."""
    return Work(read=int(inputs.rows.layout()["rows"][-1]))


def fitting_work(inputs: AtsInputs, config: HeadConfig, tokens: int) -> Work:
    """Passes of a head over cached features, as if the model were trained on its share of the weights."""
    share = head_parameters(config, inputs.shape) / inputs.shape.decoder_weights
    return Work(trained=tokens * inputs.recipe.train.epochs * share)


def vector_work(inputs: AtsInputs, tokens: int) -> Work:
    """The same of vector scaling, which works on whole logits; the other baselines take next to nothing."""
    settings = inputs.recipe.vector
    if VECTOR not in inputs.recipe.compare:
        return Work()
    share = inputs.shape.hidden * inputs.shape.vocabulary / inputs.shape.decoder_weights
    return Work(trained=min(tokens, settings.tokens or tokens) * settings.epochs * share)
