"""The questions and the corpus of a recipe, and whether they belong together."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lmtools.core.errors import DataError
from lmtools.core.progress import say
from lmtools.data.jsonl import iter_records
from lmtools.data.records import Passage, Question
from lmtools.data.sources import check_questions, corpus_file, load_questions
from lmtools.leret.recipe import DataSettings, LeretRecipe


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
        shown = ", ".join(repr(id) for id in bare[:5]) + (" ..." if len(bare) > 5 else "")
        raise DataError(
            f"{setting} needs answers, and {len(bare)} questions have no answer: {shown}",
            fix="add `answer` to them, or change the setting",
        )
