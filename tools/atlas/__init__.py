"""The bundled data set *atlas*: passages and two-hop questions made from small tables of true facts."""

from pathlib import Path

from lmtools.core.files import bundled


def path(name: str) -> Path:
    """A shipped file of the atlas: ``path("corpus.jsonl")``, ``path("questions.train.jsonl")``."""
    return bundled("data", "atlas", name)
