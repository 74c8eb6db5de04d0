"""The small world as records, policies that are scripts, and recipes for a tiny model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from small_world import make_passages, make_questions, write_recipe

from lmtools.data.records import Passage, Question
from lmtools.generation.scripted import Scripted
from lmtools.leret.policy import Policy
from lmtools.models.chat import render_plain
from lmtools.retrieval.config import Bm25Config
from lmtools.retrieval.open import open_retriever
from lmtools.retrieval.protocol import Retriever


@dataclass(frozen=True)
class World:
    """Passages about people (ids p0 ...) and towns (ids t0 ...), and a two-hop question about each person."""

    passages: tuple[Passage, ...]
    questions: tuple[Question, ...]
    retriever: Retriever


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


@pytest.fixture
def tiny_recipe(tmp_path, tiny_llama) -> Callable[..., Path]:
    """``tiny_recipe({"train.full": True})``: a recipe file for the tiny model on the small world."""
    return lambda changes=None, folder=None: write_recipe(folder or tmp_path / "world", tiny_llama, changes)
