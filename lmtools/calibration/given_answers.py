"""Answers that were written elsewhere: a JSONL file of `id` and `answer`, scored as they are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from lmtools.calibration.tasks import Answers, Task
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.near import near_miss
from lmtools.core.progress import say
from lmtools.data.jsonl import read_records
from lmtools.data.records import Record


class GivenAnswer(Record):
    """One answer to one question; a question may have several, so ids need not be unique."""

    question: str = Field(alias="id", min_length=1)
    answer: str = Field(min_length=1)


def read_given(path: Path, tasks: Sequence[Task]) -> dict[str, tuple[str, ...]]:
    """Question id -> its answers, in the order of the file.

    Raises:
        RecipeError: the recipe has other than one short-answer task.
        DataError: a line is no answer, an answer is empty, or an id belongs to none of the questions asked.
    """
    asked = [task for task in tasks if isinstance(task, Answers)]
    if len(asked) != 1 or len(tasks) != 1:
        raise RecipeError(
            "answers.file needs exactly one task, with short answers",
            fix="name it, such as --task triviaqa",
        )
    ids = {item.id for item in asked[0].items}
    found: dict[str, tuple[str, ...]] = {}
    for line in read_records(path, GivenAnswer):
        if line.question not in ids:
            near = near_miss(line.question, ids)
            raise DataError(
                f"{path}: {line.question!r} is no id of the questions asked in {asked[0].name}",
                fix=f"did you mean {near!r}?" if near else "check the ids; a limit leaves questions out",
            )
        found[line.question] = (*found.get(line.question, ()), line.answer)
    missing = len(ids) - len(found)
    if missing:
        say(f"note: {missing} of {len(ids)} questions have no answer in {path} and are left out")
    return found


def only_answered(tasks: Sequence[Task], given: Mapping[str, tuple[str, ...]]) -> tuple[Task, ...]:
    """The tasks with the questions that have an answer."""
    return tuple(
        Answers(task.name, task.definition, tuple(item for item in task.items if item.id in given))
        for task in tasks
        if isinstance(task, Answers)
    )
