"""`prompts.json`: the few-shot prompts that a run found, for measuring and for reading."""

import json
from dataclasses import asdict
from pathlib import Path

from lmtools.core.files import write_json
from lmtools.leret.prompts import ZERO_SHOT, Demonstration, Prompt, Shown


def write_prompts(path: Path, prompts: dict[str, tuple[Prompt, ...]]) -> None:
    """`prompts.json`: the few-shot prompts that a run uses."""
    write_json(path, {stage: [asdict(prompt) for prompt in group] for stage, group in prompts.items()})


def read_prompts(path: Path) -> tuple[Prompt, Prompt] | None:
    """The best few-shot prompts (first hop, later hops) of a run; None where it has none."""
    if not path.is_file():
        return None
    data = json.loads(path.read_text(encoding="utf-8"))
    if not data.get("first"):
        return None
    return _prompt(data["first"][0]), _prompt(data["later"][0]) if data.get("later") else ZERO_SHOT


def _prompt(data: dict[str, list[dict[str, object]] | str]) -> Prompt:
    demonstrations = tuple(
        Demonstration(
            str(shown["question"]),
            tuple(Shown(**passage) for passage in shown["passages"]),  # type: ignore[attr-defined]
            str(shown["query"]),
        )
        for shown in data["demonstrations"]
        if isinstance(shown, dict)
    )
    return Prompt(str(data["id"]), demonstrations)
