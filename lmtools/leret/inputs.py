"""From a recipe to what a run works with: questions, corpus, retriever, models; read, checked and hashed.

``prepare`` does it all before any work begins, and loads no weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from lmtools.core.errors import DataError, ModelError, RunError
from lmtools.core.files import absolute
from lmtools.core.journal import Journal
from lmtools.core.progress import say
from lmtools.core.run import Run
from lmtools.data.records import Passage, Question
from lmtools.data.rows import iter_records
from lmtools.data.sources import check_questions, corpus_file, load_questions, source_hash
from lmtools.generation.open import open_generator
from lmtools.generation.protocol import Generator
from lmtools.leret.policy import Policy
from lmtools.leret.prompts import encode
from lmtools.leret.recipe import DataSettings, LeretRecipe
from lmtools.models.chat import render
from lmtools.models.files import fingerprint, model_hashes, resolve_without_weights
from lmtools.models.load import load_tokenizer
from lmtools.models.spec import ModelSpec
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Hit, Retriever

# The questions and the corpus of a recipe, and whether they belong together.


@dataclass(frozen=True)
class Data:
    """Questions to learn from and to measure on; the corpus is None where only a search service has it."""

    train: tuple[Question, ...]
    test: tuple[Question, ...]
    corpus: Path | None


def read_data(recipe: LeretRecipe) -> Data:
    """The data of a recipe, checked.

    Raises:
        DataError: a question or passage breaks its contract, lacks what the recipe needs, or has a gold title
            that is not in the corpus; or no test question is left.
        MachineError: the hub cannot be reached.
    """
    data = Data(questions_to_learn(recipe.data), questions_to_measure(recipe.data), corpus(recipe.data))
    check_data(recipe, data)
    return data


def questions_to_learn(settings: DataSettings) -> tuple[Question, ...]:
    """The questions to learn from."""
    return tuple(load_questions(settings.train, limit=settings.train_limit))


def questions_to_measure(settings: DataSettings) -> tuple[Question, ...]:
    """The questions to measure on.

    Raises:
        DataError: none is left of them.
    """
    questions = load_questions(settings.test)
    if settings.test_skip >= len(questions):
        raise DataError(
            f"data.test_skip: {settings.test_skip} leaves none of the {len(questions)} questions in "
            f"{settings.test}",
            fix="lower it",
        )
    return tuple(questions[settings.test_skip :][: settings.test_limit])


def corpus(settings: DataSettings) -> Path | None:
    """The passages as a JSONL file; None where the recipe leaves them to the search service."""
    return None if settings.corpus is None else corpus_file(settings.corpus)


def check_data(recipe: LeretRecipe, data: Data) -> None:
    """Make sure that the questions have the gold titles and answers that the recipe needs.

    Raises:
        DataError: naming those that have not.
    """
    by_answer = recipe.explore.reward.startswith("answer-")
    check_gold(data.test if by_answer else (*data.train, *data.test), data.corpus)
    if by_answer:
        check_answers(data.train, f"explore.reward: {recipe.explore.reward}")
    if recipe.eval.answers:
        check_answers(data.test, "eval.answers: true")


def check_gold(questions: Sequence[Question], corpus: Path | None) -> None:
    """Make sure that every question has gold titles, and that the corpus has them where it is at hand."""
    gold = {title for question in questions for title in question.supporting}
    if corpus is None:
        say("data.corpus: null: whether the service knows the gold titles cannot be checked")
        check_questions(questions, gold or {""})
        return
    check_questions(questions, {passage.title for passage in iter_records(corpus, Passage)})


def check_answers(questions: Sequence[Question], setting: str) -> None:
    """Make sure that every question has an answer to compare with.

    Raises:
        DataError: naming the first questions that have none.
    """
    bare = [question.id for question in questions if not question.answer]
    if bare:
        names = ", ".join(repr(id) for id in bare[:5]) + (" ..." if len(bare) > 5 else "")
        raise DataError(
            f"{setting} needs answers, and {len(bare)} questions have no answer: {names}",
            fix="add `answer` to them, or change the setting",
        )


# Where the corpus is with a search service, the run keeps the text of every passage that was retrieved: a
# resumed run shows it to the policy again.


class KeptPassages:
    """``retriever`` with every passage it found in a journal, before what was found is made use of."""

    def __init__(self, retriever: Retriever, journal: Journal) -> None:
        self._retriever, self._journal = retriever, journal

    @property
    def identity(self) -> str:
        """That of the retriever behind."""
        return self._retriever.identity

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The hits of the retriever behind."""
        rankings = self._retriever.search(queries, k)
        for id in dict.fromkeys(hit.id for hits in rankings for hit in hits):
            if id not in self._journal:
                passage = self._retriever.passage(id)
                self._journal.append(id, {"title": passage.title, "text": passage.text})
        return rankings

    def passage(self, id: str) -> Passage:
        """A passage that this run or the one it resumes has found."""
        kept = self._journal.get(id)
        if kept is None:
            return self._retriever.passage(id)
        return Passage(id=id, title=kept["title"], text=kept["text"])


@dataclass(frozen=True)
class LeretInputs:
    """What a run works with; ``hashes`` are the SHA-256 of everything that was read."""

    recipe: LeretRecipe
    train: tuple[Question, ...]
    test: tuple[Question, ...]
    retriever: Retriever
    hashes: dict[str, str]


def prepare(recipe: LeretRecipe, *, weights: bool = True) -> LeretInputs:
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
    hashes = {source: source_hash(source) for source in sources if source is not None}
    hashes |= {**models, "retriever": retriever.identity}
    return LeretInputs(recipe, data.train, data.test, retriever, hashes)


def keeping_passages(inputs: LeretInputs, run: Run) -> LeretInputs:
    """The inputs for a run: where there is no corpus at hand, what the service finds is kept in the run."""
    if inputs.recipe.data.corpus is not None:
        return inputs
    return replace(inputs, retriever=KeptPassages(inputs.retriever, run.journal("passages.jsonl")))


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
    return {absolute(f"{trained}/policy"): fingerprint(trained / "policy")}


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
    tokenizer = load_tokenizer(spec, resolve_without_weights(spec) if spec.backend == "server" else None)
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
