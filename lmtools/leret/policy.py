"""A policy: a generator with a way to render conversations, asked for queries and answers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lmtools.data.records import Question
from lmtools.generation.protocol import Generator, Sampling
from lmtools.leret.context import Context
from lmtools.leret.prompts import (
    Prompt,
    Render,
    Shown,
    answer_messages,
    clean_query,
    query_messages,
    shorten,
)
from lmtools.leret.recipe import HopSettings
from lmtools.retrieval.protocol import Retriever


@dataclass(frozen=True)
class Ask:
    """One request for a query."""

    prompt: Prompt
    question: str
    passages: tuple[Shown, ...]


@dataclass(frozen=True)
class Policy:
    """Writes queries (and answers) with a generator."""

    generator: Generator
    render: Render
    max_query_tokens: int = 32
    tokens: Callable[[str], int] = lambda text: len(text.split())
    """How many tokens a text has; words, where no tokenizer says otherwise."""

    def can_write(self, query: str) -> bool:
        """Whether a query is short enough to be written, and so to be learnt."""
        most = self.max_query_tokens
        return len(query.encode("utf-8", "replace")) <= most or self.tokens(query) <= most

    def text(self, ask: Ask) -> str:
        """The prompt text of a request."""
        return self.render(query_messages(ask.prompt, ask.question, ask.passages))

    def write(self, asks: Sequence[Ask]) -> list[str]:
        """One greedy query for each request."""
        return [queries[0] for queries in self.sample(asks, Sampling(max_tokens=self.max_query_tokens), 1)]

    def sample(self, asks: Sequence[Ask], sampling: Sampling, samples: int) -> list[list[str]]:
        """``samples`` queries for each request."""
        completions = self.generator.generate([self.text(ask) for ask in asks], sampling, samples)
        return [[clean_query(completion.text) for completion in group] for group in completions]

    def answer(self, questions: Sequence[str], passages: Sequence[Sequence[Shown]]) -> list[str]:
        """A short greedy answer to each question from its passages."""
        prompts = [self.render(answer_messages(*pair)) for pair in zip(questions, passages, strict=True)]
        sampling = Sampling(max_tokens=32, stop=("\n",))
        return [group[0].text.strip() for group in self.generator.generate(prompts, sampling)]

    def close(self) -> None:
        """Let go of the generator's model."""
        self.generator.close()


def show(retriever: Retriever, context: Context, hop: HopSettings) -> tuple[Shown, ...]:
    """A context as a policy reads it."""
    passages = (retriever.passage(id) for id in context.ids)
    return tuple(shorten(passage.title, passage.text, hop.passage_words) for passage in passages)


def accepted_answers(question: Question) -> list[str]:
    """The answer and its aliases."""
    return [question.answer, *question.aliases]
