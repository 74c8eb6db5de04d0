"""From a recipe to what a run works with: questions, corpus, retriever, models. Checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lmtools.core.errors import ModelError
from lmtools.data.jsonl import read_passages
from lmtools.data.records import Question
from lmtools.data.sources import check_questions, corpus_file, load_questions, source_hash
from lmtools.generation.open import open_generator
from lmtools.generation.protocol import Generator
from lmtools.leret.policy import Policy
from lmtools.leret.recipe import LeretRecipe
from lmtools.models.chat import render
from lmtools.models.load import load_tokenizer
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Retriever


@dataclass(frozen=True)
class Setup:
    """What a run works with; ``inputs`` are the SHA-256 of everything that was read."""

    recipe: LeretRecipe
    train: tuple[Question, ...]
    test: tuple[Question, ...]
    retriever: Retriever
    inputs: dict[str, str]


def prepare(recipe: LeretRecipe) -> Setup:
    """Read and check the data, and open the retriever (its index is built now if it is not cached).

    Raises:
        DataError: a question or passage breaks its contract, or a gold title is not in the corpus.
        MachineError: the retriever or the cache failed.
    """
    data = recipe.data
    train = load_questions(data.train, limit=data.train_limit)
    test = load_questions(data.test, limit=data.test_limit)
    corpus = corpus_file(data.corpus)
    titles = {passage.title for passage in read_passages(corpus)}
    for questions in (train, test):
        check_questions(questions, titles)
    retriever = open_retriever(recipe.retriever, corpus)
    inputs = {source: source_hash(source) for source in (data.train, data.test, data.corpus)}
    return Setup(recipe, tuple(train), tuple(test), retriever, {**inputs, "retriever": retriever.identity})


def policy_spec(recipe: LeretRecipe, directory: Path | None) -> ModelSpec:
    """The model of a policy directory (an adapter, or a full model); None means the base model."""
    if directory is None:
        return recipe.model
    if (directory / "adapter_config.json").is_file():
        return recipe.model.model_copy(update={"adapter": str(directory)})
    if (directory / "config.json").is_file():
        return recipe.model.model_copy(update={"name": str(directory), "adapter": None})
    raise ModelError(
        f"{directory}: holds no policy (neither adapter_config.json nor config.json)",
        fix="finish the run that makes it: lmtools leret train --resume --out RUN",
    )


def open_policy(spec: ModelSpec, recipe: LeretRecipe) -> Policy:
    """A policy on the recipe's backend, ready to write queries."""
    tokenizer = load_tokenizer(spec)
    generator: Generator = open_generator(spec, cache=False)
    return Policy(generator, lambda messages: render(tokenizer, messages), recipe.hop.max_query_tokens)


def slices(questions: Sequence[Question], parts: int) -> list[list[Question]]:
    """The questions in ``parts`` runs of nearly equal length, in order: one for each iteration."""
    bounds = [round(len(questions) * part / parts) for part in range(parts + 1)]
    return [list(questions[low:high]) for low, high in pairwise(bounds)]
