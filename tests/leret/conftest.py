"""A small world of people and the towns they were born in; scripted policies; recipes for a tiny model."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from lmtools.data.records import Passage, Question
from lmtools.generation.scripted import Scripted
from lmtools.leret.policy import Policy
from lmtools.models.chat import render_plain
from lmtools.retrieval.config import Bm25Config
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Retriever

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


@dataclass(frozen=True)
class World:
    """Passages about people (ids p0 ...) and towns (ids t0 ...), and a two-hop question about each person."""

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    retriever: Retriever


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


@pytest.fixture
def world(own_cache) -> World:
    passages = make_passages()
    return World(passages, make_questions(), open_retriever(Bm25Config(), passages))


@dataclass(frozen=True)
class Asked:
    """A plain prompt taken apart: the last question, the passages above it, the demonstrations before."""

    question: str
    found: str
    before: str
    sample: int


def take_apart(prompt: str, sample: int) -> Asked:
    before, _, last = prompt.rpartition("User: ")
    found, _, question = last.removesuffix("\nAssistant:").rpartition("Question: ")
    return Asked(question, found, before, sample)


@pytest.fixture
def scripted() -> Callable[[Callable[[Asked], str]], Policy]:
    """``scripted(lambda asked: query)``: a policy on plain prompts."""
    return lambda answer: Policy(
        Scripted(lambda prompt, sample: answer(take_apart(prompt, sample))), render_plain, 32
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


@pytest.fixture
def tiny_recipe(tmp_path, tiny_llama) -> Callable[..., Path]:
    """``tiny_recipe({"train.full": True})``: a recipe file for the tiny model on the small world."""

    def make(changes: dict | None = None, folder: Path | None = None) -> Path:
        folder = folder or tmp_path / "world"
        write_world(folder)
        recipe = {
            "system": "leret",
            "model": {"name": str(tiny_llama), "device": "cpu"},
            "data": {name: str(folder / f"{name}.jsonl") for name in ("train", "test", "corpus")},
            "hop": {"k": 1, "max_query_tokens": 6},
            "explore": {
                "first": ["question", "zero-shot", "temperature"],
                "later": ["phrase", "question", "zero-shot", "temperature"],
                "samples": 2,
                "chunk": 2,
            },
            "train": {
                "lora": {"r": 4, "alpha": 8},
                "sft": {"batch_size": 2, "learning_rate": 1.0e-2, "warmup_steps": 0},
                "preference": {"batch_size": 4, "learning_rate": 1.0e-3, "warmup_steps": 0, "max_pairs": 4},
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

    return make
