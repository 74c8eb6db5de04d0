"""The answers of a calibration measurement in the form of lm-evaluation-harness's samples.

One record for every answer and method. ``arguments`` hold the prompt, ``resps`` the answer as it was chosen
or written; ``confidence`` stands beside ``acc``. The log-likelihoods of the options that were not chosen,
which the harness lists, are not kept by lmtools.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lmtools.calibration.prompt import Rendering
from lmtools.calibration.tasks import AnswerItem, ChoiceItem, Task
from lmtools.core.files import sha256_text
from lmtools.core.lm_eval import filter_name, plain_json
from lmtools.data.predictions import Prediction, grouped


def lm_eval_samples(
    tasks: Iterable[Task], rendering: Rendering, predictions: Iterable[Prediction]
) -> dict[str, list[dict[str, Any]]]:
    """The samples of every task by its name."""
    by_name: dict[str, Task] = {task.name: task for task in tasks}
    found: dict[str, list[dict[str, Any]]] = {}
    for name, methods in grouped(predictions).items():
        asked: Sequence[ChoiceItem | AnswerItem] = by_name[name].items
        items = {item.id: (number, item) for number, item in enumerate(asked)}
        prompts = {item.id: rendering.text(item.prompt) for item in asked}
        only = len(methods) == 1
        found[name] = [
            _sample(*items[one.id], prompts[one.id], one, filter_name(method, only))
            for method, own in methods.items()
            for one in own
        ]
    return found


def shots(tasks: Iterable[Task]) -> dict[str, int]:
    """How many demonstrations each task's questions have."""
    return {task.name: len(task.items[0].prompt.shots) if task.items else 0 for task in tasks}


def _sample(
    number: int, item: ChoiceItem | AnswerItem, prompt: str, prediction: Prediction, chosen: str
) -> dict[str, Any]:
    target = _target(item)
    doc: Mapping[str, Any] = {"id": item.id, "question": item.prompt.asked, "target": target}
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
