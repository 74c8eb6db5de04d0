"""Every setting of a calibration measurement; its description says what it does and what it costs."""

import os
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from lmtools.core.config import SYSTEM, Config, Location, Seed
from lmtools.core.files import bundled
from lmtools.models.spec import ModelSpec

ConfidenceName = Literal["mean", "product", "length-normalised"]


def task_file(name: str) -> tuple[str, str, str]:
    """The name of a task as ``Location.split`` gives it: a path where it is a file, and no packaged task."""
    packaged = bundled("evals", f"{name}.yaml").is_file()
    file = not packaged and os.path.isfile(os.path.expanduser(name))
    return ("", name, "") if file else (name, "", "")


class TaskSettings(Config):
    """One task of the measurement; in a recipe its bare name will do."""

    name: Annotated[str, Location(task_file)] = Field(
        min_length=1,
        description="A packaged task (`evals/*.yaml`), a YAML file that defines one, or a JSONL file of "
        "multiple-choice or short-answer questions.",
    )
    limit: int | None = Field(
        default=None,
        gt=0,
        description="At most this many questions, evenly over the subjects where there are several; null: "
        "the recipe's `limit`. Time grows with it.",
    )


class AnswerSettings(Config):
    """Where short answers come from: written by the model, greedily or sampled, or read from a file."""

    temperature: float = Field(
        default=0.0,
        ge=0,
        description="0 takes the most probable token; above 0 answers are drawn, and the higher the more "
        "they differ. No cost.",
    )
    samples: int = Field(
        default=1, ge=1, description="Answers per question, each measured; time grows with it."
    )
    file: Annotated[str | None, Location()] = Field(
        default=None,
        description="JSONL of `id` and `answer`: these are scored, and nothing is generated. A question may "
        "have several; those without any are left out. Needs exactly one short-answer task.",
    )

    @model_validator(mode="after")
    def _drawn(self) -> Self:
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(f"{self.samples} greedy answers are one and the same: set a temperature above 0")
        if self.file is not None and (self.samples > 1 or self.temperature > 0):
            raise ValueError("answers.file takes the place of sampling: leave temperature and samples alone")
        return self


class CalibrationRecipe(Config):
    """A calibration measurement: which model and head, on which tasks, with which confidence."""

    system: Literal["calibration"] = Field(default="calibration", description=SYSTEM)
    seed: Seed = 0
    model: ModelSpec = Field(
        default=ModelSpec(),
        description="The language model that is measured: which one, at which precision, run by what.",
    )
    head: Annotated[str | None, Location()] = Field(
        default=None,
        description="A run of `lmtools ats fit`, whose head and baselines are measured beside the "
        "uncalibrated model; needs the hf backend. null: the model alone. The model runs once for all of "
        "them.",
    )
    method: str = Field(
        default="uncalibrated",
        min_length=1,
        description="Without a head: the row's name. Another than `uncalibrated` suits a model that "
        "calibrates by itself, such as one that `lmtools ats export` wrote.",
    )
    methods: tuple[str, ...] = Field(
        default=(),
        description="Rows to measure of those that the run holds, such as `transformer` or `scalar`; "
        "empty: all of them.",
    )
    compare: tuple[str, ...] = Field(
        default=("uncalibrated",),
        description="Every other method is compared with each of these, paired by question. Costs seconds.",
    )
    tasks: tuple[TaskSettings, ...] = Field(
        min_length=1,
        description="What is asked: of each task a block, or its bare name. Time grows with the questions "
        "of all.",
    )
    limit: int | None = Field(
        default=None,
        gt=0,
        description="At most this many questions of a task that sets no limit itself; null: all. Fewer are "
        "faster and make intervals wider.",
    )
    chat: bool = Field(
        default=False,
        description="Put the questions through the model's chat template, demonstrations as earlier turns; "
        "false: plain few-shot text, as the papers do.",
    )
    answers: AnswerSettings = Field(
        default=AnswerSettings(),
        description="Where short answers come from.",
    )
    confidence: ConfidenceName = Field(
        default="mean",
        description="Of a short answer's token probabilities: their `mean`, their `product`, or, `length- "
        "normalised`, the product's n-th root. Multiple choice: always the answer's share among the "
        "letters. No cost.",
    )
    chunk: int = Field(
        default=128,
        ge=1,
        description="Questions worked on together; the most that a killed run repeats. No other cost.",
    )
    resamples: int = Field(
        default=2000,
        ge=100,
        description="Bootstrap resamples of each interval; more makes its ends steadier and takes seconds.",
    )

    @field_validator(
        "tasks",
        mode="before",
        json_schema_input_type=Annotated[tuple[TaskSettings | str, ...], Field(min_length=1)],
    )
    @classmethod
    def _names(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return tuple({"name": item} if isinstance(item, str) else item for item in value)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.head is not None and self.model.backend != "hf":
            raise ValueError(
                f"head needs model.backend: hf, not {self.model.backend}; for vLLM, export the calibrated "
                "model (lmtools ats export) and measure that without head"
            )
        return self
