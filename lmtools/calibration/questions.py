"""`questions.jsonl`: the text of what was asked, beside `predictions.jsonl`, whose lines name it by id.

    {"id", "task", "subject", "question", "choices", "accepted"}

``question`` is the source's own text; how a prompt shows it, the task's definition says. ``choices`` is empty
where answers are written; ``accepted`` holds every right answer, of a multiple choice the right option.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lmtools.calibration.predictions import records
from lmtools.calibration.tasks import AnswerItem, ChoiceItem, Task
from lmtools.core.files import write_jsonl
from lmtools.data.records import Record, Texts

FILE = "questions.jsonl"


class AskedQuestion(Record):
    """One line; ``id`` is unique within its task."""

    id: str
    task: str
    question: str
    accepted: Texts
    choices: Texts = ()
    subject: str = ""


def write_asked(path: Path, tasks: Iterable[Task]) -> None:
    """The questions of all tasks, one JSON object a line, in one step."""
    write_jsonl(path, (_asked(task.name, item).model_dump() for task in tasks for item in task.items))


def read_asked(path: Path) -> Iterator[AskedQuestion]:
    """The questions of a file, in order.

    Raises:
        DataError: the file is missing or a line is none; names the first.
    """
    return records(path, AskedQuestion)


def _asked(task: str, item: ChoiceItem | AnswerItem) -> AskedQuestion:
    choices = item.choices if isinstance(item, ChoiceItem) else ()
    accepted = (item.choices[item.answer],) if isinstance(item, ChoiceItem) else item.accepted
    return AskedQuestion(
        id=item.id,
        task=task,
        question=item.question,
        accepted=accepted,
        choices=choices,
        subject=item.subject,
    )
