"""`--dry-run`: check everything, render one real example, estimate work and memory. Loads no weights."""

from dataclasses import dataclass
from itertools import islice

from lmtools.core.dry_run import Attempts, say_model, say_unchecked
from lmtools.core.progress import say
from lmtools.data.records import Passage
from lmtools.data.rows import iter_records
from lmtools.leret.context import Context, search_hop
from lmtools.leret.inputs import Data, check_data, corpus, questions_to_learn, questions_to_measure
from lmtools.leret.policy import QueryRequest, show
from lmtools.leret.prompts import ZERO_SHOT, PassageText, encode, query_messages, shorten
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.workload import generations
from lmtools.models.chat import render
from lmtools.models.files import bytes_of, on_hub, resolve_without_weights, weights_gib
from lmtools.models.load import load_tokenizer
from lmtools.models.precision import describe_precision
from lmtools.retrieval.config import DenseConfig, HybridConfig, RetrieverConfig
from lmtools.retrieval.open import open_retriever


@dataclass(frozen=True)
class Plan:
    """What a run would do, as far as it can be told; what depends on something unchecked is empty or None."""

    questions: dict[str, int]
    prompts: tuple[str, ...]
    """The zero-shot prompt of the first training question, at the first and at a later hop."""
    tokens: tuple[int, ...]
    generations: dict[str, int]
    generated_tokens: int | None
    prompt_tokens: int | None
    weights_gib: float | None
    precision: str | None
    """Of the model, and why."""
    training_gib: float | None
    unchecked: tuple[str, ...] = ()
    """What could not be checked, and why, a sentence each."""


def dry_run(recipe: LeretRecipe) -> Plan:
    """Everything that can be known before any weight is loaded or a dense index built.

    Raises:
        DataError: something is wrong with the questions or the corpus.
        ModelError: something is wrong with the model's files.
    """
    attempt = Attempts()
    data = _data(recipe, attempt)
    tokenizer = attempt(
        "the tokenizer", lambda: load_tokenizer(recipe.model, resolve_without_weights(recipe.model))
    )
    weights = attempt("the model's size", lambda: weights_gib(recipe.model))
    if recipe.model.adapter and on_hub(recipe.model.name):
        attempt.unchecked.append(f"whether {recipe.model.adapter} fits the model: that needs its weights")
    counts = generations(recipe, data.train, data.test) if data else {}
    prompts: tuple[str, ...] = ()
    if data and tokenizer:
        asks = _examples(recipe, data, attempt)
        prompts = tuple(
            render(tokenizer, query_messages(ask.prompt, ask.question, ask.passages)) for ask in asks
        )
    tokens = tuple(len(encode(tokenizer, prompt)) for prompt in prompts)
    hops, total = recipe.hop.hops, sum(counts.values())
    # Weights, gradients and two optimiser moments in float32, or an adapter beside frozen weights.
    growth = 16 / bytes_of(recipe.model) if recipe.train.full else 1.3
    return Plan(
        questions={"train": len(data.train), "test": len(data.test)} if data else {},
        prompts=prompts,
        tokens=tokens,
        generations=counts,
        generated_tokens=total * recipe.hop.max_query_tokens if data else None,
        prompt_tokens=round(total * (tokens[0] + tokens[1] * (hops - 1)) / hops) if len(tokens) > 1 else None,
        weights_gib=round(weights, 2) if weights is not None else None,
        precision=describe_precision(recipe.model),
        training_gib=round(weights * growth, 2) if weights is not None else None,
        unchecked=tuple(attempt.unchecked),
    )


def _data(recipe: LeretRecipe, attempt: Attempts) -> Data | None:
    """The questions and the corpus, checked; None where one of them cannot be had."""
    train = attempt("the questions to learn from", lambda: questions_to_learn(recipe.data))
    test = attempt("the questions to measure on", lambda: questions_to_measure(recipe.data))
    passages = attempt("the corpus", lambda: corpus(recipe.data))
    if train is None or test is None or (passages is None and recipe.data.corpus is not None):
        return None
    data = Data(train, test, passages)
    check_data(recipe, data)
    if passages is None:
        attempt.unchecked.append("the gold titles: the passages are with the search service")
    return data


def _examples(recipe: LeretRecipe, data: Data, attempt: Attempts) -> list[QueryRequest]:
    """The zero-shot request of the first question at the first hop, and where it can be told, a later one."""
    question = data.train[0].question
    later = attempt("the search", lambda: _hop_passages(recipe, data, question, attempt))
    asks = [QueryRequest(ZERO_SHOT, question, ())]
    return asks if later is None else [*asks, QueryRequest(ZERO_SHOT, question, later)]


def _hop_passages(
    recipe: LeretRecipe, data: Data, question: str, attempt: Attempts
) -> tuple[PassageText, ...]:
    """What the question itself finds; in place of a dense index's hits the first passages of the corpus."""
    if data.corpus is not None and _is_dense(recipe.retriever):
        attempt.unchecked.append("the dense index: the second prompt shows the corpus's first passages")
        passages = list(islice(iter_records(data.corpus, Passage), recipe.hop.k))
        return tuple(shorten(passage.title, passage.text, recipe.hop.passage_words) for passage in passages)
    retriever = open_retriever(recipe.retriever, data.corpus)
    hits = search_hop(retriever, [question], [Context()], recipe.hop)
    return show(retriever, Context(hits[0]), recipe.hop)


def _is_dense(config: RetrieverConfig) -> bool:
    if isinstance(config, HybridConfig):
        return any(_is_dense(member) for member in config.members)
    return isinstance(config, DenseConfig)


def print_dry_run(plan: Plan) -> None:
    """The plan for a person, on stderr."""
    for ordinal, prompt, tokens in zip(("first", "second"), plan.prompts, plan.tokens, strict=False):
        say(f"--- prompt of the {ordinal} hop, {tokens} tokens ---\n{prompt}\n")
    if plan.questions:
        say("questions: " + ", ".join(f"{count} {split}" for split, count in plan.questions.items()))
        counts = ", ".join(f"{n} {stage}" for stage, n in plan.generations.items())
        say(f"queries that a model writes: {counts}")
    if plan.prompt_tokens is not None:
        read, written = f"{plan.prompt_tokens:,}", f"{plan.generated_tokens:,}"
        say(f"tokens: {read} read, at most {written} written, besides training")
    say_model(plan.precision, None)
    if plan.weights_gib is not None:
        say(f"memory: {plan.weights_gib} GiB of weights; training {plan.training_gib} GiB and activations")
    say_unchecked(plan.unchecked)
