"""`lmtools leret search`: one question, hop by hop, as a person would want to read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lmtools.core.errors import DataError
from lmtools.core.strings import printable
from lmtools.data.records import Passage
from lmtools.leret.inputs import corpus, open_policy, policy_spec
from lmtools.leret.policy import search_with
from lmtools.leret.prompts import ZERO_SHOT
from lmtools.leret.recipe import LeretRecipe
from lmtools.retrieval.open import open_retriever


@dataclass(frozen=True)
class HopFound:
    """One hop: what was asked, and the passages it added.

    >>> HopFound("Anna Berg birthplace", (Passage(id="p0", title="Anna Berg", text="..."),)).query
    'Anna Berg birthplace'
    """

    query: str
    passages: tuple[Passage, ...]


class Searcher:
    """A trained policy and the retriever it was trained on, ready for questions. Made by ``load_searcher``.

    >>> from lmtools.leret import load_searcher
    >>> with load_searcher("runs/leret-train") as searcher:
    ...     hops = searcher.search("Where was Anna Berg born?")
    >>> [type(hop).__name__ for hop in hops]
    ['HopFound', 'HopFound']

    Raises:
        ModelError: the run holds no policy.
        DataError: the corpus of the run's recipe is gone.
    """

    def __init__(self, recipe: LeretRecipe, trained: Path) -> None:
        self._hop = recipe.hop
        self._retriever = open_retriever(recipe.retriever, corpus(recipe.data))
        self._policy = open_policy(policy_spec(recipe, trained / "policy"), recipe)

    def search(self, question: str) -> list[HopFound]:
        """What each hop asked and added, from the question to the end.

        Raises:
            DataError: the question is empty or not Unicode text.
        """
        check_question(question)
        prompts, retriever = (ZERO_SHOT, ZERO_SHOT), self._retriever
        [(queries, contexts)] = search_with(self._policy, prompts, [question], retriever, self._hop)
        seen: set[str] = set()
        hops = []
        for query, context in zip(queries, contexts, strict=True):
            new = [hit.id for hit in context.hits if hit.id not in seen]
            seen.update(new)
            hops.append(HopFound(query, tuple(retriever.passage(id) for id in new)))
        return hops

    def close(self) -> None:
        """Let go of the policy's model."""
        self._policy.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_question(question: str) -> None:
    """Whether a question can be searched for.

    Raises:
        DataError: it is empty or not Unicode text.
    """
    if not question.strip() or any("\ud800" <= letter <= "\udfff" for letter in question):
        raise DataError(
            f"the question {question!a} is " + ("not UTF-8 text" if question.strip() else "empty"),
            fix="lmtools leret search 'Your question', in a terminal set to UTF-8",
        )


def as_json(hops: list[HopFound]) -> dict[str, Any]:
    """The hops as one JSON object."""
    return {
        "hops": [
            {"query": hop.query, "passages": [passage.model_dump() for passage in hop.passages]}
            for hop in hops
        ]
    }


def print_search(hops: list[HopFound]) -> None:
    """The hops on stdout, wrapped to the terminal."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console()
    for number, hop in enumerate(hops, 1):
        console.print(
            Text.assemble(
                (f"hop {number}  ", "bold"), (printable(hop.query) or "(an empty query)", "bold cyan")
            )
        )
        if not hop.passages:
            console.print(Padding(Text("nothing new was found", style="dim"), (0, 0, 0, 7)))
        for passage in hop.passages:
            console.print(Padding(Text(printable(passage.title), style="bold"), (0, 0, 0, 7)))
            console.print(Padding(Text(printable(passage.text)), (0, 0, 1, 7)))
