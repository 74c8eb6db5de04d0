"""From a recipe to what a run works with: questions, corpus, retriever, models. Checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from lmtools.core.errors import ModelError, RunError
from lmtools.core.run import Run
from lmtools.data.records import Question
from lmtools.data.sources import source_hash
from lmtools.generation.open import open_generator
from lmtools.generation.protocol import Generator
from lmtools.leret.data import read_data
from lmtools.leret.kept_passages import KeptPassages
from lmtools.leret.policy import Policy
from lmtools.leret.prompts import encode
from lmtools.leret.recipe import LeretRecipe
from lmtools.models.chat import render
from lmtools.models.files import resolve_texts
from lmtools.models.fingerprint import fingerprint
from lmtools.models.hashes import model_hashes
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


def prepare(recipe: LeretRecipe, *, weights: bool = True) -> Setup:
    """Read and check the data, and open the retriever (its index is built now if it is not cached).

    Args:
        weights: also hash the model, which reads all of it the first time.

    Raises:
        DataError: as ``read_data`` raises it.
        ModelError: the model or its adapter cannot be used.
        MachineError: the retriever or the cache failed.
    """
    data = read_data(recipe)
    models = model_hashes(recipe.model) if weights else {}
    if weights and recipe.answerer and (recipe.eval.answers or recipe.explore.reward.startswith("answer-")):
        models |= {f"answerer {name}": digest for name, digest in model_hashes(recipe.answerer).items()}
    retriever = open_retriever(recipe.retriever, data.corpus)
    sources = (recipe.data.train, recipe.data.test, recipe.data.corpus)
    inputs = {source: source_hash(source) for source in sources if source is not None}
    inputs |= {**models, "retriever": retriever.identity}
    return Setup(recipe, data.train, data.test, retriever, inputs)


def keeping_passages(setup: Setup, run: Run) -> Setup:
    """The setup for a run: where there is no corpus at hand, what the service finds is kept in the run."""
    if setup.recipe.data.corpus is not None:
        return setup
    return replace(setup, retriever=KeptPassages(setup.retriever, run.journal("passages.jsonl")))


def check_trainable(recipe: LeretRecipe) -> None:
    """Make sure that what is trained can then explore and be measured: a server knows no checkpoint of a run.

    Raises:
        ModelError: the backend is ``server``.
    """
    if recipe.model.backend == "server":
        raise ModelError(
            f"model.backend: server: {recipe.model.server_url} cannot run what this training would make",
            fix="train with --backend hf or --backend vllm, or only explore: lmtools leret explore",
        )


def policy_hash(trained: Path) -> dict[str, str]:
    """The content of a training run's policy, as an input of another run.

    Raises:
        RunError: there is no policy.
    """
    if not (trained / "policy").is_dir():
        raise RunError(f"{trained}: holds no trained policy", fix=f"lmtools leret train --out {trained}")
    return {f"{trained}/policy": fingerprint(trained / "policy")}


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


def answerer_spec(recipe: LeretRecipe) -> ModelSpec:
    """The model that answers questions: the base model where the recipe names no other."""
    return recipe.answerer or recipe.model


def open_policy(spec: ModelSpec, recipe: LeretRecipe) -> Policy:
    """A policy on the recipe's backend, ready to write queries."""
    # A server has the weights: here only its tokenizer is needed.
    tokenizer = load_tokenizer(spec, resolve_texts(spec) if spec.backend == "server" else None)
    generator: Generator = open_generator(spec, cache=False)
    return Policy(
        generator,
        lambda messages: render(tokenizer, messages),
        recipe.hop.max_query_tokens,
        lambda text: len(encode(tokenizer, text)),
    )


def slices(questions: Sequence[Question], parts: int) -> list[list[Question]]:
    """The questions in ``parts`` runs of nearly equal length, in order: one for each iteration."""
    bounds = [round(len(questions) * part / parts) for part in range(parts + 1)]
    return [list(questions[low:high]) for low, high in pairwise(bounds)]
