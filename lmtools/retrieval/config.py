"""Which retriever, with which settings: the `retriever:` block of every recipe.

    retriever: {kind: bm25, k1: 1.2}

``kind`` decides which settings there are; a setting of another kind is an error.
"""

from typing import Annotated, Literal

from pydantic import Field

from lmtools.core.config import Config
from lmtools.data.terms import Stemmer, StopWords
from lmtools.models.spec import BUILTIN_EMBEDDER, ModelName


class TermConfig(Config):
    """How text becomes terms, and how much a repeated term and a long passage count: common to both BM25s."""

    k1: float = Field(
        default=1.5,
        ge=0,
        description="How soon a repeated term stops adding to the score; 0 counts presence only. Another "
        "value means another index.",
    )
    b: float = Field(
        default=0.75,
        ge=0,
        le=1,
        description="How much long passages are marked down, from 0 (not at all) to 1 (fully). Another "
        "value means another index.",
    )
    stemmer: Stemmer = Field(
        default="english",
        description="The Snowball stemmer that joins `rivers` and `river`; `none` keeps words as they are.",
    )
    stopwords: StopWords = Field(
        default="en", description="The list of words left out of the index; `none` keeps them all."
    )


class Bm25Config(TermConfig):
    """BM25 on bm25s: an index on disk, memory-mapped, built once per corpus and settings.

    Building takes about 5 s, 150 MB of memory and 40 MB of disk per 100,000 passages.
    """

    kind: Literal["bm25"] = Field(
        default="bm25",
        description="Which retriever this is; it decides which settings there are. `bm25`: words that are "
        "the same, on disk, milliseconds a query. `rank-bm25`: the same idea, slow, in memory. `dense`: "
        "meaning, by a sentence encoder. `hybrid`: several of them joined. `http`: a service of your own.",
    )
    method: Literal["lucene", "robertson", "atire"] = Field(
        default="lucene",
        description="The variant of BM25; they differ in how rare terms are weighted. A term that stands in "
        "half of the passages or more weighs 0 with `robertson`, in all of them with `atire`: passages that "
        "share nothing else with the query come last, by id. No cost.",
    )
    threads: int = Field(
        default=1,
        ge=1,
        description="Threads that share a batch of queries. The hits are the same, and the gain is small: "
        "much of the work holds the interpreter.",
    )


class RankBm25Config(TermConfig):
    """BM25 on rank-bm25 (Okapi): no index on disk, hundreds of times slower; for small corpora."""

    kind: Literal["rank-bm25"] = Field(
        default="rank-bm25",
        description="Which retriever this is: BM25 as rank-bm25 computes it, hundreds of times slower; for "
        "small corpora.",
    )


class DenseConfig(Config):
    """FAISS over the vectors of a sentence encoder, which are computed once per corpus and kept on disk."""

    kind: Literal["dense"] = Field(
        default="dense",
        description="Which retriever this is: passages near to the query in meaning; encoding the corpus "
        "is what costs.",
    )
    encoder: ModelName = Field(
        default=BUILTIN_EMBEDDER,
        description="A built-in encoder, or any sentence-transformers model by name or path. "
        "The built-in one encodes some 30 to 100 passages a second on a CPU core.",
    )
    index: Literal["flat", "hnsw", "ivf"] = Field(
        default="flat",
        description="`flat` compares with every passage: exact, linear in the corpus, all vectors in memory. "
        "`hnsw` walks a graph: fastest, approximate, slow to build. `ivf` looks into some clusters: "
        "approximate, quick to build, for millions of passages.",
    )
    batch_size: int = Field(
        default=64, gt=0, description="Texts encoded at a time; more is faster on a GPU and takes memory."
    )
    query_prefix: str = Field(
        default="",
        description="Put before every query, for encoders trained so: `query: ` (E5). The wrong one costs "
        "accuracy, not time.",
    )
    passage_prefix: str = Field(
        default="",
        description="Put before every passage, for encoders trained so: `passage: ` (E5). Another one "
        "encodes the corpus anew.",
    )
    device: str = Field(
        default="auto",
        description="Where the encoder runs: `cpu`, `cuda`; `auto` takes a GPU if there is one, which is "
        "many times faster.",
    )
    hnsw_neighbours: int = Field(
        default=32,
        ge=2,
        description="hnsw: edges per passage. More finds more, and takes 8 bytes per edge and passage.",
    )
    hnsw_search: int = Field(
        default=128, ge=1, description="hnsw: passages kept in sight per query. More finds more, slower."
    )
    ivf_lists: int = Field(
        default=0,
        ge=0,
        description="ivf: number of clusters; 0 takes the square root of the corpus size. More makes a "
        "search faster, and finds less unless ivf_probes grows with it.",
    )
    ivf_probes: int = Field(
        default=16, ge=1, description="ivf: clusters searched per query. More finds more, linearly slower."
    )


class HttpConfig(Config):
    """A search service of the user's own; `lmtools.retrieval.http` documents the request and the answer."""

    kind: Literal["http"] = Field(
        default="http",
        description="Which retriever this is: a service of your own, which costs nothing here but waiting.",
    )
    url: str = Field(
        pattern=r"^https?://[^\s]+$", description="Where queries are POSTed to: http:// or https://."
    )
    timeout: float = Field(
        default=30.0, gt=0, description="Seconds one request may take from first to last byte."
    )
    retries: int = Field(
        default=3,
        ge=0,
        description="How often a failed request is sent again, after 0.5, 1, 2, ... seconds or as long as "
        "the service asks.",
    )
    batch_size: int = Field(
        default=64,
        gt=0,
        description="Queries in one request; more means fewer round trips, each of which takes longer (see "
        "timeout).",
    )
    headers_env: dict[str, str] = Field(
        default={},
        description="Header names, each with the environment variable that holds its value, so that no "
        "secret is written into a recipe: `{Authorization: SEARCH_TOKEN}`.",
    )


MemberConfig = Annotated[Bm25Config | RankBm25Config | DenseConfig | HttpConfig, Field(discriminator="kind")]


class HybridConfig(Config):
    """Several retrievers, their rankings joined by reciprocal-rank fusion."""

    kind: Literal["hybrid"] = Field(
        default="hybrid",
        description="Which retriever this is: several joined; it costs what all of them cost.",
    )
    members: tuple[MemberConfig, ...] = Field(
        default=(Bm25Config(), DenseConfig()),
        min_length=2,
        description="The retrievers to join, two or more of any kind but hybrid; each costs its own index "
        "and search.",
    )
    constant: int = Field(
        default=60,
        ge=0,
        description="A passage at rank r gains 1 / (constant + r). Less lets the first ranks decide. No "
        "cost.",
    )
    depth: int = Field(
        default=100,
        ge=1,
        description="How many hits of each member are joined; at least the k asked for. More costs a "
        "little time and can find more.",
    )


RetrieverConfig = Annotated[
    Bm25Config | RankBm25Config | DenseConfig | HybridConfig | HttpConfig, Field(discriminator="kind")
]
