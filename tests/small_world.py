"""A small world of people and the towns they were born in, as files and as a recipe for a tiny model."""

import json
from pathlib import Path
from typing import Any

import yaml

from lmtools.data.records import Passage, Question

PEOPLE = {
    "Anna Berg": ("painter", "Lund", "Sweden"),
    "Carl Dahl": ("composer", "Oslo", "Norway"),
    "Eva Falk": ("novelist", "Turku", "Finland"),
    "Gunnar Holm": ("architect", "Ribe", "Denmark"),
    "Ida Juhl": ("chemist", "Selfoss", "Iceland"),
    "Karl Lind": ("sculptor", "Tartu", "Estonia"),
    "Mona Nord": ("botanist", "Cesis", "Latvia"),
    "Olga Palm": ("explorer", "Trakai", "Lithuania"),
}


def make_passages() -> tuple[Passage, ...]:
    people = [
        Passage(id=f"p{n}", title=name, text=f"{name} was a {craft} born in {town}.")
        for n, (name, (craft, town, _)) in enumerate(PEOPLE.items())
    ]
    towns = [
        Passage(id=f"t{n}", title=town, text=f"{town} lies in the country of {country}.")
        for n, (_, town, country) in enumerate(PEOPLE.values())
    ]
    return (*people, *towns)


def make_questions() -> tuple[Question, ...]:
    return tuple(
        Question(
            id=f"q{n}",
            question=f"The birthplace of {name}, a {craft}, belongs to which state?",
            answer=country,
            supporting=(name, town),
            kind="bridge",
        )
        for n, (name, (craft, town, country)) in enumerate(PEOPLE.items())
    )


def write_world(folder: Path, train: int = 5, test: int = 3) -> None:
    """`corpus.jsonl`, `train.jsonl` and `test.jsonl` of the small world."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = [question.model_dump(mode="json") for question in make_questions()]
    files = {
        "corpus.jsonl": [passage.model_dump(mode="json") for passage in make_passages()],
        "train.jsonl": questions[:train],
        "test.jsonl": questions[-test:],
    }
    for name, rows in files.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_recipe(folder: Path, model: Path, changes: dict[str, Any] | None = None) -> Path:
    """The small world and a recipe over it in ``folder``; ``changes`` are dotted keys."""
    write_world(folder)
    recipe = {
        "system": "leret",
        "model": {"name": str(model), "device": "cpu"},
        "data": {name: str(folder / f"{name}.jsonl") for name in ("train", "test", "corpus")},
        "hop": {"k": 1, "max_query_tokens": 64},
        "explore": {
            "first": ["question", "zero-shot", "temperature"],
            "later": ["phrase", "question", "zero-shot", "temperature"],
            "samples": 2,
            "chunk": 2,
        },
        "train": {
            "lora": {"r": 4, "alpha": 8},
            "sft": {"batch_size": 2, "learning_rate": 1.0e-2, "warmup_steps": 0},
            "preference": {"batch_size": 2, "learning_rate": 1.0e-3, "warmup_steps": 0, "max_pairs": 1},
        },
        "eval": {"resamples": 100},
    }
    for key, value in (changes or {}).items():
        *path, last = key.split(".")
        block = recipe
        for part in path:
            block = block.setdefault(part, {})
        block[last] = value
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return file
