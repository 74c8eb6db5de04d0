"""The policy: a language model that writes one query per hop, and searching with it from question to end.

The policy conditions on the question and on the passages retrieved so far, both rendered by `prompts.py`.
Sampling many queries per hop is exploration (`explore.py`); here each hop has one greedy query, as for
a user.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from lmtools.core.journal import Journal
from lmtools.core.progress import progress
from lmtools.data.records import Question
from lmtools.generation.protocol import Generator, Sampling
from lmtools.leret.context import Context, search_hop
from lmtools.leret.prompts import (
    PassageText,
    Prompt,
    Render,
    answer_messages,
    clean_query,
    query_messages,
    shorten,
)
from lmtools.leret.recipe import HopSettings
from lmtools.retrieval.protocol import Hit, Retriever


@dataclass(frozen=True)
class QueryRequest:
    """One request for a query."""

    prompt: Prompt
    question: str
    passages: tuple[PassageText, ...]


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

    def text(self, ask: QueryRequest) -> str:
        """The prompt text of a request."""
        return self.render(query_messages(ask.prompt, ask.question, ask.passages))

    def write(self, asks: Sequence[QueryRequest]) -> list[str]:
        """One greedy query for each request."""
        return [queries[0] for queries in self.sample(asks, Sampling(max_tokens=self.max_query_tokens), 1)]

    def sample(self, asks: Sequence[QueryRequest], sampling: Sampling, samples: int) -> list[list[str]]:
        """``samples`` queries for each request."""
        completions = self.generator.generate([self.text(ask) for ask in asks], sampling, samples)
        return [[clean_query(completion.text) for completion in group] for group in completions]

    def answer(self, questions: Sequence[str], passages: Sequence[Sequence[PassageText]]) -> list[str]:
        """A short greedy answer to each question from its passages."""
        prompts = [self.render(answer_messages(*pair)) for pair in zip(questions, passages, strict=True)]
        sampling = Sampling(max_tokens=32, stop=("\n",))
        return [group[0].text.strip() for group in self.generator.generate(prompts, sampling)]

    def close(self) -> None:
        """Let go of the generator's model."""
        self.generator.close()


def show(retriever: Retriever, context: Context, hop: HopSettings) -> tuple[PassageText, ...]:
    """A context as a policy reads it."""
    passages = (retriever.passage(id) for id in context.ids)
    return tuple(shorten(passage.title, passage.text, hop.passage_words) for passage in passages)


def accepted_answers(question: Question) -> list[str]:
    """The answer and its aliases."""
    return [question.answer, *question.aliases]


# Rollouts: one greedy query per hop. Each is a record of the journal, so measuring can be resumed.

CHUNK = 64
"""Questions per batch, and the most work that a killed run repeats."""


@dataclass(frozen=True)
class Trace:
    """What a policy asked at each hop, and the context after each."""

    question_id: str
    queries: tuple[str, ...]
    contexts: tuple[Context, ...]


def search_with(
    policy: Policy,
    prompts: tuple[Prompt, Prompt],
    questions: Sequence[str],
    retriever: Retriever,
    hop: HopSettings,
    advance: Callable[[int], None] = lambda queries: None,
) -> list[tuple[tuple[str, ...], tuple[Context, ...]]]:
    """(queries, contexts) of each question, hop by hop.

    Args:
        prompts: those of the first and of later hops.
        advance: is told how many queries a hop has written.
    """
    queries: list[tuple[str, ...]] = [() for _ in questions]
    contexts: list[tuple[Context, ...]] = [() for _ in questions]
    current = [Context() for _ in questions]
    for number in range(hop.hops):
        prompt = prompts[min(number, 1)]
        asks = [
            QueryRequest(prompt, question, show(retriever, context, hop))
            for question, context in zip(questions, current, strict=True)
        ]
        written = policy.write(asks)
        advance(len(written))
        hits_of_hop = search_hop(retriever, written, current, hop)
        current = [
            context.extend(hits, hop.order) for context, hits in zip(current, hits_of_hop, strict=True)
        ]
        queries = [(*before, query) for before, query in zip(queries, written, strict=True)]
        contexts = [(*before, context) for before, context in zip(contexts, current, strict=True)]
    return list(zip(queries, contexts, strict=True))


def rollout(
    name: str,
    policy: Callable[[], Policy],
    prompts: tuple[Prompt, Prompt],
    questions: Sequence[Question],
    retriever: Retriever,
    hop: HopSettings,
    journal: Journal,
) -> list[Trace]:
    """A policy's traces over a set of questions, chunk by chunk, journalled as ``eval/NAME/QUESTION``.

    ``policy`` is called, and its model loaded, only where the journal does not hold every trace.
    """
    with progress(len(questions) * hop.hops, f"measuring {name} (queries)") as bar:
        for start in range(0, len(questions), CHUNK):
            chunk = questions[start : start + CHUNK]
            if not all(_key(name, question) in journal for question in chunk):
                texts = [question.question for question in chunk]
                answers = search_with(policy(), prompts, texts, retriever, hop, bar.advance)
                for question, (queries, contexts) in zip(chunk, answers, strict=True):
                    if _key(name, question) not in journal:
                        journal.append(_key(name, question), _to_json(queries, contexts))
            else:
                bar.advance(len(chunk) * hop.hops)
    return [journal.read(_key(name, question), partial(_trace, question.id)) for question in questions]


def question_as_query(questions: Sequence[Question], retriever: Retriever, hop: HopSettings) -> list[Trace]:
    """The plain baseline: the question itself is the query, with the same budget of passages at every hop."""
    rankings = retriever.search([question.question for question in questions], hop.k * hop.hops)
    return [
        Trace(
            question.id,
            (question.question,) * hop.hops,
            tuple(Context(tuple(hits[: hop.k * number])) for number in range(1, hop.hops + 1)),
        )
        for question, hits in zip(questions, rankings, strict=True)
    ]


def _key(name: str, question: Question) -> str:
    return f"eval/{name}/{question.id}"


def _to_json(queries: tuple[str, ...], contexts: tuple[Context, ...]) -> dict[str, object]:
    return {
        "queries": list(queries),
        "contexts": [[[hit.id, hit.title, hit.score] for hit in context.hits] for context in contexts],
    }


def _trace(question_id: str, data: dict[str, list[list[list[str]]]]) -> Trace:
    contexts = tuple(Context(tuple(Hit(*hit) for hit in hits)) for hits in data["contexts"])  # type: ignore[arg-type]
    return Trace(question_id, tuple(data["queries"]), contexts)  # type: ignore[arg-type]
