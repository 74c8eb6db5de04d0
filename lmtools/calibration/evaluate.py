"""`lmtools eval calibration`: tasks x methods -> `predictions.jsonl` -> metrics with intervals.

`questions.jsonl` beside it holds the texts that a reader of the predictions wants to see.

Every chunk of questions is an entry of the journal, so a killed run goes on where it was; the model is opened
when a chunk is missing, and not before.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from lmtools.calibration.answering import ask_answers, ask_choices
from lmtools.calibration.inputs import Setup
from lmtools.calibration.scoring import Reader
from lmtools.calibration.tasks import AnswerItem, ChoiceItem, Choices, Task
from lmtools.core.files import write_jsonl
from lmtools.core.journal import Journal
from lmtools.core.progress import Work, progress, tokens_after_prefix
from lmtools.core.results import Difference, Interval, Results, Row, read_results
from lmtools.core.run import Run
from lmtools.data.predictions import QUESTIONS_FILE as QUESTIONS
from lmtools.data.predictions import AskedQuestion, Prediction, columns, grouped, write_predictions
from lmtools.metrics.calibration_intervals import differences, measure

# From predictions to the table: a row for each method, metrics `TASK/ece`, paired differences.


class Table(NamedTuple):
    """What a result file holds."""

    rows: list[Row]
    differences: list[Difference]


def make_table(
    predictions: Iterable[Prediction], compare: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Table:
    """Every metric of every task and method with its interval, clustered by question.

    ``AUROC`` is left out where a method's answers are all right or all wrong.

    Args:
        predictions: the whole of a predictions file, or a part of it.
        compare: the methods from which every other one's difference is taken, as far as they occur.
    """
    tasks = grouped(predictions)
    metrics: dict[str, dict[str, Interval]] = {}
    found: list[Difference] = []
    pairs = [
        (task, method, other)
        for task, methods in tasks.items()
        for other in compare
        if other in methods
        for method in methods
        if method != other
    ]
    with progress(sum(map(len, tasks.values())) + len(pairs), "intervals") as bar:
        for task, methods in tasks.items():
            for method, own in methods.items():
                values = measure(*columns(own), resamples, seed)
                metrics.setdefault(method, {}).update(_prefixed(task, values))
                bar.advance()
        for task, a, b in pairs:
            a_values, b_values = tasks[task][a], tasks[task][b]
            drawn = differences(*columns(a_values)[:2], *columns(b_values), resamples, seed)
            found += [Difference.of(a, b, name, value) for name, value in _prefixed(task, drawn).items()]
            bar.advance()
    return Table([Row(method, values) for method, values in metrics.items()], found)


def _prefixed(task: str, values: dict[str, Interval]) -> dict[str, Interval]:
    return {f"{task}/{name}": value for name, value in values.items()}


OpenReader = Callable[[], Reader]
FIELDS = ("id", "method", "answer", "confidence", "correct")
"""What the journal keeps of a prediction; the task is in the key."""


def evaluate(setup: Setup, run: Run, open_reader: OpenReader, recipe_name: str) -> Results:
    """Ask everything, write it and the predictions, and measure them. A finished run is only read.

    Raises:
        LmtoolsError: the model, the head or the backend failed.
    """
    if not run.writes:
        return run.results(recipe_name, ())
    if run.path("metrics.json").exists():
        return read_results(run.path("metrics.json"))
    with run.stage("answer", partial(asking, setup)):
        asked = (asked_question(task.name, item) for task in setup.tasks for item in task.items)
        write_jsonl(run.path(QUESTIONS), (question.model_dump() for question in asked))
        predictions = predict(setup, run.journal(), open_reader)
        write_predictions(run.path("predictions.jsonl"), predictions)
    recipe = setup.recipe
    with run.stage("measure", Work):
        table = make_table(predictions, recipe.compare, recipe.resamples, recipe.seed)
    return run.results(recipe_name, table.rows, table.differences)


def asking(setup: Setup) -> Work:
    """What the questions take: prompts after their shared examples, and answers written and read again."""
    work = Work()
    for task in setup.tasks:
        prompts = [setup.rendering.text(item.prompt) for item in task.items]
        work += Work(read=tokens_after_prefix(prompts))
        if not isinstance(task, Choices):
            length = task.definition.max_tokens / 2
            written = 0 if setup.given else length * setup.recipe.answers.samples
            work += Work(len(prompts) * length, len(prompts) * written)
    return work


def predict(setup: Setup, journal: Journal, open_reader: OpenReader) -> list[Prediction]:
    """All predictions, task by task; what the journal has is not asked again."""
    found: list[Prediction] = []
    total = sum(len(task.items) for task in setup.tasks)
    with _when_needed(open_reader) as reader, progress(total, "answering") as bar:
        for task in setup.tasks:
            for start in range(0, len(task.items), setup.recipe.chunk):
                key = f"{task.name}/{start}"
                chunk = slice(start, start + setup.recipe.chunk)
                if key not in journal:
                    journal.append(key, _packed(_ask(task, chunk, reader(), setup)))
                found += _unpacked(task.name, journal.get(key) or {})
                bar.advance(len(task.items[chunk]))
    return found


def _ask(task: Task, chunk: slice, reader: Reader, setup: Setup) -> list[Prediction]:
    if isinstance(task, Choices):
        return ask_choices(task, task.items[chunk], reader, setup.rendering)
    return ask_answers(task, task.items[chunk], reader, setup.rendering, setup.recipe, setup.given)


@contextmanager
def _when_needed(open_reader: OpenReader) -> Iterator[OpenReader]:
    """A way to the reader, which is opened at the first call and closed at the end of the block."""
    made: list[Reader] = []

    def get() -> Reader:
        if not made:
            made.append(open_reader())
        return made[0]

    try:
        yield get
    finally:
        for reader in made:
            reader.close()


def _packed(predictions: Sequence[Prediction]) -> dict[str, Any]:
    return {"predictions": [[getattr(one, field) for field in FIELDS] for one in predictions]}


def _unpacked(task: str, entry: dict[str, Any]) -> list[Prediction]:
    return [
        Prediction(task=task, **dict(zip(FIELDS, row, strict=True))) for row in entry.get("predictions", ())
    ]


def asked_question(task: str, item: ChoiceItem | AnswerItem) -> AskedQuestion:
    """A line of `questions.jsonl`."""
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
