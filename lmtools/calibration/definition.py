"""What a task is: the schema of `evals/*.yaml`, and how a task's name becomes one.

    name, definition = load_definition("mmlu")              # evals/mmlu.yaml
    name, definition = load_definition("my/questions.jsonl")

Prompts are plain text: header, demonstrations and question, with an empty line between them. A demonstration
is the question's text, one space, the answer; the question's text ends without a space, and the model goes on
with `` A`` or `` Paris``.
"""

from difflib import get_close_matches
from pathlib import Path
from string import Formatter
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from lmtools.core.config import Config
from lmtools.core.errors import DataError, RecipeError
from lmtools.core.near import near_path
from lmtools.core.paths import bundled
from lmtools.core.recipe import SUFFIXES, load_recipe, parse_yaml
from lmtools.data.jsonl import jsonl_lines


class Demonstration(Config):
    """A question with its answer, shown before the one that is asked."""

    question: str = Field(min_length=1, description="The question.")
    answer: str = Field(min_length=1, description="Its answer.")


class ChoicesTask(Config):
    """Multiple choice: the letter of an option is the next token, confidence its share among the letters."""

    kind: Literal["choices"] = Field(default="choices", description="Multiple choice.")
    source: str = Field(description="The questions: a path, `atlas:choices`, `data:...` or `hf:...`.")
    format: str = Field(default="auto", description="The source's format, where its fields do not tell.")
    shots: int = Field(default=0, ge=0, description="Demonstrations before each question.")
    demonstrations: str | None = Field(
        default=None,
        description="A source of demonstrations, the first of each subject; null: the first questions of the "
        "task's own source, which are then not asked.",
    )
    header: str = Field(default="", description="What a prompt opens with; {subject} is the subject's name.")
    template: str = Field(
        default="{question}\n{choices}\nAnswer:",
        description="A question's text; {choices} are lines such as `A. Paris`.",
    )
    limit: int | None = Field(default=None, gt=0, description="At most this many questions.")

    @model_validator(mode="after")
    def _fields(self) -> Self:
        _check_fields("header", self.header, {"subject"}, set())
        _check_fields("template", self.template, {"question", "choices"}, {"question", "choices"})
        return self


class AnswersTask(Config):
    """Short answers: the model writes one, and it is held against the accepted ones."""

    kind: Literal["answers"] = Field(default="answers", description="Short answers.")
    source: str = Field(description="The questions: a path, `atlas:test`, `data:...` or `hf:...`.")
    format: str = Field(default="auto", description="The source's format, where its fields do not tell.")
    shots: int = Field(
        default=0,
        ge=0,
        description="Demonstrations before each question: the first questions of the source, which are then "
        "not asked.",
    )
    demonstrations: tuple[Demonstration, ...] = Field(
        default=(), description="Demonstrations as they stand, in place of the source's first questions."
    )
    header: str = Field(default="", description="What a prompt opens with.")
    template: str = Field(default="Question: {question}\nAnswer:", description="A question's text.")
    max_tokens: int = Field(default=32, gt=0, description="The longest answer, in tokens.")
    stop: tuple[str, ...] = Field(default=("\n",), description="Strings that end an answer.")
    matcher: Literal["exact", "closest"] = Field(
        default="exact",
        description="`exact`: right if equal to an accepted answer after SQuAD's normalisation. `closest`: "
        "right if its token F1 with an accepted answer is higher than with any rejected one.",
    )
    limit: int | None = Field(default=None, gt=0, description="At most this many questions.")

    @model_validator(mode="after")
    def _fields(self) -> Self:
        _check_fields("header", self.header, set(), set())
        _check_fields("template", self.template, {"question"}, {"question"})
        if self.shots and self.demonstrations:
            raise ValueError("shots and demonstrations exclude each other: give one of them")
        return self


Definition = ChoicesTask | AnswersTask
KINDS: dict[str, type[ChoicesTask] | type[AnswersTask]] = {"choices": ChoicesTask, "answers": AnswersTask}


def packaged_tasks() -> list[str]:
    """The names of the tasks that ship with lmtools."""
    return sorted(path.stem for path in bundled("evals").glob("*.yaml"))


def load_definition(name: str) -> tuple[str, Definition]:
    """The short name of a task, as metrics carry it, and its definition.

    Raises:
        RecipeError: there is no such task, or its file does not fit the schema.
        DataError: a JSONL file's first line shows that it holds no questions.
    """
    if name in packaged_tasks():
        return name, _read(bundled("evals", f"{name}.yaml"))
    path = Path(name).expanduser()
    if path.suffix in SUFFIXES and path.is_file():
        return path.stem, _read(path)
    if path.is_file():
        return path.name.split(".")[0], KINDS[_kind_of(path)](source=name)
    near = get_close_matches(name, packaged_tasks(), n=3, cutoff=0.5)
    if not near and (file := near_path(path)):
        near = [str(file)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise RecipeError(
        f"unknown task {name!r}, and no such file{hint}",
        fix=f"name a JSONL file, a YAML definition, or one of {', '.join(packaged_tasks())}",
    )


def _read(path: Path) -> Definition:
    kind = parse_yaml(path.read_text(encoding="utf-8"), str(path)).get("kind")
    if kind not in KINDS:
        raise RecipeError(
            f"{path}: kind: {kind!r} is none of {', '.join(KINDS)}", fix="write `kind: choices`"
        )
    return load_recipe(KINDS[kind], str(path), default="")


def _kind_of(path: Path) -> str:
    """Which of the two contracts a JSONL file follows, by its first line."""
    import json

    line = next((line for _, line in jsonl_lines(path)), b"")
    try:
        record: Any = json.loads(line)
    except ValueError:
        record = None
    fields = record.keys() if isinstance(record, dict) else set()
    if "question" not in fields:
        raise DataError(
            f"{path}: its first line has no `question`",
            fix='write {"id", "question", "choices", "answer": INDEX} or {"id", "question", "answer"} a line',
        )
    return "choices" if "choices" in fields else "answers"


def _check_fields(setting: str, text: str, known: set[str], needed: set[str]) -> None:
    try:
        found = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ValueError(f"{setting}: {error}; write {{{{ for a brace") from error
    if found - known or needed - found:
        allowed = ", ".join(f"{{{name}}}" for name in sorted(known)) or "no field at all"
        raise ValueError(f"{setting}: must have {allowed} and no other field in braces")
