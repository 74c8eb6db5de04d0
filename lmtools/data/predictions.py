"""The files of a measured run: `predictions.jsonl`, from which every figure is recomputed, `questions.jsonl`.

Each line of the first is one method's confidence in one answer; the second has the texts of the questions.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data.records import Record, Texts
from lmtools.data.rows import jsonl_lines

R = TypeVar("R", bound=Record)


class Prediction(Record):
    """One method's confidence in one answer.

    ``answer`` is the text: of the chosen option, or as it was written. Several answers to one question are
    several lines, in the same order for every method.
    """

    id: str
    task: str
    method: str
    answer: str
    confidence: float = Field(ge=0, le=1)
    correct: bool


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """One JSON object a line, in one step."""
    write_jsonl(path, (prediction.model_dump() for prediction in predictions))


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file, in order.

    Raises:
        DataError: the file is missing or a line is no prediction; names the first.
    """
    return list(records(path, Prediction))


def records(path: Path, kind: type[R]) -> Iterator[R]:
    """The records of a file that a measurement wrote, one by one.

    Raises:
        DataError: the file is missing or a line is none of that kind; names the first.
    """
    for number, line in jsonl_lines(path):
        try:
            yield kind.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise DataError(
                f"{path}:{number}: {field}: {first['msg']}", fix="make the file again with its recipe"
            ) from error


def grouped(predictions: Iterable[Prediction]) -> dict[str, dict[str, list[Prediction]]]:
    """Task -> method -> predictions, in order of appearance."""
    groups: dict[str, dict[str, list[Prediction]]] = {}
    for prediction in predictions:
        groups.setdefault(prediction.task, {}).setdefault(prediction.method, []).append(prediction)
    return groups


def columns(predictions: Sequence[Prediction]) -> tuple[list[float], list[bool], list[str]]:
    """Confidence, correctness and question id of each."""
    return (
        [prediction.confidence for prediction in predictions],
        [prediction.correct for prediction in predictions],
        [prediction.id for prediction in predictions],
    )


# `questions.jsonl`: the text of what was asked, beside `predictions.jsonl`, whose lines name it by id.
#
#     {"id", "task", "subject", "question", "choices", "accepted"}
#
# ``question`` is the source's own text; how a prompt shows it, the task's definition says. ``choices`` is
# empty where answers are written; ``accepted`` holds every right answer, of a multiple choice the right
# option.

QUESTIONS_FILE = "questions.jsonl"


class AskedQuestion(Record):
    """One line; ``id`` is unique within its task."""

    id: str
    task: str
    question: str
    accepted: Texts
    choices: Texts = ()
    subject: str = ""


def read_asked(path: Path) -> Iterator[AskedQuestion]:
    """The questions of a file, in order.

    Raises:
        DataError: the file is missing or a line is none; names the first.
    """
    return records(path, AskedQuestion)
