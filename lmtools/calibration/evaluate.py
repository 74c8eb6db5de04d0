"""A calibration measurement: tasks x methods -> `predictions.jsonl` -> metrics with intervals.

`questions.jsonl` beside it holds the questions' texts, for people and for the page. Every chunk of questions
is an entry of the journal, so a killed run goes on where it was; the model is opened when a chunk is missing,
and not before.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

from lmtools.calibration.answering import ask_answers, ask_choices
from lmtools.calibration.inputs import CalibrationInputs
from lmtools.calibration.prompt import Rendering
from lmtools.calibration.scoring import Scorer
from lmtools.calibration.tasks import AnswerItem, ChoiceItem, Choices, Task
from lmtools.core.files import sha256_text, write_jsonl
from lmtools.core.journal import Journal
from lmtools.core.lm_eval import filter_name, plain_json
from lmtools.core.progress import Work, progress, tokens_after_prefix
from lmtools.core.results import Difference, Interval, Results, Row, read_results
from lmtools.core.run import METRICS, Run
from lmtools.data.predictions import QUESTIONS_FILE as QUESTIONS
from lmtools.data.predictions import AskedQuestion, Prediction, columns, grouped, write_predictions
from lmtools.metrics.calibration_intervals import differences, measure
from lmtools.report.sentences import HEADS
from lmtools.report.verdict import ranked

PREDICTIONS = "predictions.jsonl"
FIELDS = ("id", "method", "answer", "confidence", "correct")
"""What the journal keeps of a prediction; the task is in the key."""

OpenScorer = Callable[[], Scorer]


def evaluate_calibration(
    inputs: CalibrationInputs, run: Run, open_scorer: OpenScorer, recipe_name: str
) -> Results:
    """Ask everything, write it and the predictions, and measure them. A finished run is only read.

    Raises:
        LmtoolsError: the model, the head or the backend failed.
    """
    if not run.writes:
        return run.results(recipe_name, ())
    if run.path(METRICS).exists():
        return read_results(run.path(METRICS))
    with run.stage("answer", partial(asking_work, inputs)):
        questions = (asked_question(task.name, item) for task in inputs.tasks for item in task.items)
        write_jsonl(run.path(QUESTIONS), (question.model_dump() for question in questions))
        predictions = predict(inputs, run.journal(), open_scorer)
        write_predictions(run.path(PREDICTIONS), predictions)
    recipe = inputs.recipe
    with run.stage("measure", Work):
        table = make_table(predictions, recipe.compare, recipe.resamples, recipe.seed)
    return run.results(recipe_name, table.rows, table.differences)


def asking_work(inputs: CalibrationInputs) -> Work:
    """What the questions take: prompts after their shared examples, and answers written and read again."""
    work = Work()
    for task in inputs.tasks:
        prompts = [inputs.rendering.text(item.prompt) for item in task.items]
        work += Work(read=tokens_after_prefix(prompts))
        if not isinstance(task, Choices):
            length = task.definition.max_tokens / 2
            written = 0 if inputs.answers else length * inputs.recipe.answers.samples
            work += Work(len(prompts) * length, len(prompts) * written)
    return work


def predict(inputs: CalibrationInputs, journal: Journal, open_scorer: OpenScorer) -> list[Prediction]:
    """All predictions, task by task; what the journal has is not asked again."""
    predictions: list[Prediction] = []
    total = sum(len(task.items) for task in inputs.tasks)
    with _when_needed(open_scorer) as scorer, progress(total, "answering") as bar:
        for task in inputs.tasks:
            for start in range(0, len(task.items), inputs.recipe.chunk):
                key = f"{task.name}/{start}"
                chunk = slice(start, start + inputs.recipe.chunk)
                if key not in journal:
                    journal.append(key, _packed(_ask(task, chunk, scorer(), inputs)))
                predictions += journal.read(key, partial(_unpacked, task.name))
                bar.advance(len(task.items[chunk]))
    return predictions


def _ask(task: Task, chunk: slice, scorer: Scorer, inputs: CalibrationInputs) -> list[Prediction]:
    if isinstance(task, Choices):
        return ask_choices(task, task.items[chunk], scorer, inputs.rendering)
    return ask_answers(task, task.items[chunk], scorer, inputs.rendering, inputs.recipe, inputs.answers)


@contextmanager
def _when_needed(open_scorer: OpenScorer) -> Iterator[OpenScorer]:
    """A way to the scorer, which is opened at the first call and closed at the end of the block."""
    opened: list[Scorer] = []

    def get() -> Scorer:
        if not opened:
            opened.append(open_scorer())
        return opened[0]

    try:
        yield get
    finally:
        for scorer in opened:
            scorer.close()


def _packed(predictions: Sequence[Prediction]) -> dict[str, Any]:
    return {"predictions": [[getattr(prediction, field) for field in FIELDS] for prediction in predictions]}


def _unpacked(task: str, entry: dict[str, Any]) -> list[Prediction]:
    return [Prediction(task=task, **dict(zip(FIELDS, row, strict=True))) for row in entry["predictions"]]


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
    paired: list[Difference] = []
    pairs = [
        (task, method, other)
        for task, methods in tasks.items()
        for other in compare
        if other in methods
        for method in methods
        if method != other
    ]
    with progress(sum(map(len, tasks.values())) + len(pairs) + len(tasks), "intervals") as bar:
        for task, methods in tasks.items():
            for method, answers in methods.items():
                values = measure(*columns(answers), resamples, seed)
                metrics.setdefault(method, {}).update(_prefixed(task, values))
                bar.advance()
        rows = [Row(method, values) for method, values in metrics.items()]
        for task, methods in tasks.items():
            # The verdict on a head is against the strongest of the others, whatever that turns out to be.
            head = next((name for name in HEADS if name in methods), "")
            strongest = ranked(rows, f"{task}/ece", head)[:1] if head else []
            pairs += [(task, head, b) for b in strongest if (task, head, b) not in pairs]
            bar.advance(not strongest)
        for task, a, b in pairs:
            a_values, b_values = tasks[task][a], tasks[task][b]
            drawn = differences(*columns(a_values)[:2], *columns(b_values), resamples, seed)
            paired += [Difference.of(a, b, name, value) for name, value in _prefixed(task, drawn).items()]
            bar.advance()
    return Table(rows, paired)


def _prefixed(task: str, values: dict[str, Interval]) -> dict[str, Interval]:
    return {f"{task}/{name}": value for name, value in values.items()}


# The answers in the form of lm-evaluation-harness's samples: a record for every answer and method.
#
# ``arguments`` hold the prompt, ``resps`` the answer as it was chosen or written; ``confidence`` stands
# beside ``acc``. The log-likelihoods of the options that were not chosen, which the harness lists, are not
# kept by lmtools.


def lm_eval_samples(
    tasks: Iterable[Task], rendering: Rendering, predictions: Iterable[Prediction]
) -> dict[str, list[dict[str, Any]]]:
    """The samples of every task by its name."""
    by_name: dict[str, Task] = {task.name: task for task in tasks}
    samples: dict[str, list[dict[str, Any]]] = {}
    for name, methods in grouped(predictions).items():
        questions: Sequence[ChoiceItem | AnswerItem] = by_name[name].items
        items = {item.id: (number, item) for number, item in enumerate(questions)}
        prompts = {item.id: rendering.text(item.prompt) for item in questions}
        only = len(methods) == 1
        samples[name] = [
            _sample(*items[row.id], prompts[row.id], row, filter_name(method, only))
            for method, rows in methods.items()
            for row in rows
        ]
    return samples


def shots(tasks: Iterable[Task]) -> dict[str, int]:
    """How many demonstrations each task's questions have."""
    return {task.name: len(task.items[0].prompt.shots) if task.items else 0 for task in tasks}


def _sample(
    number: int, item: ChoiceItem | AnswerItem, prompt: str, prediction: Prediction, chosen: str
) -> dict[str, Any]:
    target = _target(item)
    doc: Mapping[str, Any] = {"id": item.id, "question": item.prompt.question, "target": target}
    return {
        "doc_id": number,
        "doc": doc,
        "target": target,
        "arguments": {"gen_args_0": {"arg_0": prompt, "arg_1": "{}"}},
        "resps": [[prediction.answer]],
        "filtered_resps": [prediction.answer],
        "filter": chosen,
        "metrics": ["acc", "confidence"],
        "doc_hash": sha256_text(plain_json(doc)),
        "prompt_hash": sha256_text(prompt),
        "target_hash": sha256_text(target),
        "acc": float(prediction.correct),
        "confidence": prediction.confidence,
    }


def _target(item: ChoiceItem | AnswerItem) -> str:
    """The right answer's text."""
    return item.choices[item.answer] if isinstance(item, ChoiceItem) else item.accepted[0]
