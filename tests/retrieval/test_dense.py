import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmtools.core.errors import ModelError
from lmtools.core.files import cache_dir
from lmtools.data.records import Passage
from lmtools.data.terms import passage_text
from lmtools.retrieval import dense
from lmtools.retrieval.bm25 import Bm25Retriever, OkapiRetriever
from lmtools.retrieval.config import Bm25Config, DenseConfig, RankBm25Config
from lmtools.retrieval.corpus import open_corpus
from lmtools.retrieval.dense import DenseRetriever, SentenceEncoder, fingerprint, similarity
from lmtools.retrieval.hybrid import HybridRetriever

WORDS = ["river", "planet", "sun", "paris", "france", "cloud"]


def opened(corpus, encoder, **settings):
    return DenseRetriever(DenseConfig(**settings), open_corpus(corpus), encoder)


def brute_force(corpus, encoder, query, k):
    vectors = encoder.encode([passage_text(passage) for passage in corpus])
    scores = similarity(vectors, encoder.encode([query])[0])
    ranked = sorted(zip(corpus, scores, strict=True), key=lambda pair: (-pair[1], pair[0].id))
    return [(passage.id, float(score)) for passage, score in ranked[:k]]


@pytest.fixture
def many():
    """200 passages, of which each comes three times: nothing but ties."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=5)) for _ in range(67)]
    return [Passage(id=str(n), title="", text=texts[n % 67]) for n in range(200)]


@pytest.mark.parametrize("index", ["flat", "hnsw", "ivf"])
def test_finds_what_is_alike(planets, encoder, index):
    retriever = opened(planets, encoder, index=index)
    (hits,) = retriever.search(["capital of France"], 2)
    assert hits[0].title == "Paris"
    assert retriever.passage(hits[0].id) == planets[3]


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join), min_size=1, max_size=60),
    query=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    k=st.integers(1, 10),
)
def test_flat_is_the_same_as_sorting_everything(new_encoder, texts, query, k):
    corpus = [Passage(id=str(n), title="", text=text) for n, text in enumerate(texts)]
    (hits,) = opened(corpus, new_encoder()).search([query], k)
    assert [(hit.id, hit.score) for hit in hits] == brute_force(corpus, new_encoder(), query, k)


def test_ties_beyond_what_was_fetched_go_by_id(encoder):
    corpus = [Passage(id=str(n), title="", text="the same text") for n in range(300, 0, -1)]
    (hits,) = opened(corpus, encoder).search(["the text"], 3)
    assert [hit.id for hit in hits] == ["1", "10", "100"]


def test_approximate_indexes_agree_with_flat_when_they_look_everywhere(many, encoder):
    queries = ["river sun", "planet cloud france"]
    flat = opened(many, encoder).search(queries, 6)
    assert opened(many, encoder, index="ivf", ivf_lists=5, ivf_probes=5).search(queries, 6) == flat
    assert opened(many, encoder, index="hnsw", hnsw_search=200).search(queries, 6) == flat


def test_batch_does_not_change_the_hits(many, encoder):
    retriever = opened(many, encoder)
    queries = [passage.text for passage in many[:50]]
    assert retriever.search(queries, 5) == [retriever.search([query], 5)[0] for query in queries]


def test_blank_queries_have_no_hits_and_odd_ones_are_fine(planets, encoder):
    retriever = opened(planets, encoder)
    hits = retriever.search(["", " \n", "planet\x00", "\ud800 planet", "planet " * 50_000], 9)
    assert [len(found) for found in hits] == [0, 0, 5, 5, 5]
    assert retriever.search([], 3) == []
    assert retriever.search(["planet"], 0) == [[]]


def test_prefixes_reach_the_encoder(planets, encoder):
    plain, marked = opened(planets, encoder), opened(planets, encoder, passage_prefix="zebra ")
    assert plain.identity != marked.identity
    assert plain.search(["zebra"], 1)[0][0].score < marked.search(["zebra"], 1)[0][0].score
    asked = opened(planets, encoder, query_prefix="zebra ")
    assert asked.search(["sun"], 5) == plain.search(["zebra sun"], 5)


def test_vectors_and_index_are_made_once(many, encoder):
    opened(many, encoder, index="ivf")
    before = {path: path.stat().st_mtime_ns for path in cache_dir("indexes").glob("*/*")}
    assert encoder.encoded == 200
    opened(many, encoder, index="ivf", ivf_probes=3)
    assert encoder.encoded == 200
    assert {path: path.stat().st_mtime_ns for path in cache_dir("indexes").glob("*/*")} == before
    opened(many[:-1], encoder, index="ivf")
    assert encoder.encoded == 399


def test_interrupted_encoding_goes_on_where_it_stopped(many, encoder, monkeypatch):
    monkeypatch.setattr(dense, "SHARD", 64)
    encoder.fail_after = 150
    with pytest.raises(KeyboardInterrupt):
        opened(many, encoder)
    assert encoder.encoded == 128
    encoder.fail_after = None
    retriever = opened(many, encoder)
    assert encoder.encoded == 200
    assert not list(cache_dir("indexes").glob("*.shards"))
    assert [(hit.id, hit.score) for hit in retriever.search(["river"], 7)[0]] == brute_force(
        many, encoder, "river", 7
    )


def test_damaged_index_is_built_again(many, encoder):
    expected = opened(many, encoder, index="ivf").search(["river"], 3)
    (file,) = cache_dir("indexes").glob("dense-*/index.faiss")
    file.write_bytes(file.read_bytes()[:100])
    assert opened(many, encoder, index="ivf").search(["river"], 3) == expected


@pytest.mark.parametrize("file", ["embeddings-*/embeddings.npy", "dense-*/index.faiss"])
def test_a_flipped_bit_is_found(many, encoder, capsys, file):
    expected = opened(many, encoder, index="ivf").search(["river"], 3)
    (path,) = cache_dir("indexes").glob(file)
    content = bytearray(path.read_bytes())
    content[-3] ^= 64
    path.write_bytes(content)
    assert opened(many, encoder, index="ivf").search(["river"], 3) == expected
    assert "is damaged" in capsys.readouterr().err
    assert encoder.encoded == (402 if "embeddings" in file else 202)  # and a query, twice


def test_damaged_shard_of_an_interrupted_run_is_encoded_again(many, encoder, monkeypatch, capsys):
    monkeypatch.setattr(dense, "SHARD", 64)
    encoder.fail_after = 150
    with pytest.raises(KeyboardInterrupt):
        opened(many, encoder)
    first, _ = sorted(cache_dir("indexes").glob("*.shards/*.npy"))
    first.write_bytes(first.read_bytes()[:-1] + b"\x01")
    (first.parent / ".1.npy.abc.part").write_bytes(b"half")
    encoder.fail_after = None
    hits = opened(many, encoder).search(["river"], 7)[0]
    assert encoder.encoded == 128 + 64 + 72 + 1  # and a query
    assert [(hit.id, hit.score) for hit in hits] == brute_force(many, encoder, "river", 7)
    assert f"{first} is damaged: its passages are encoded again" in capsys.readouterr().err


ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()), max_size=30)


@settings(max_examples=6, deadline=None)
@given(texts=st.lists(ANY_TEXT, min_size=1, max_size=5), queries=st.lists(ANY_TEXT, max_size=3))
def test_any_text_through_every_retriever(new_encoder, texts, queries):
    corpus = open_corpus([Passage(id=str(n), title="", text=text) for n, text in enumerate(texts)])
    members = [
        DenseRetriever(DenseConfig(), corpus, new_encoder()),
        Bm25Retriever(Bm25Config(), corpus),
        OkapiRetriever(RankBm25Config(), corpus),
    ]
    for retriever in [*members, HybridRetriever(members)]:
        hits = retriever.search([*queries, "", "\ud800", "漢" * 1_000], 9)
        assert len(hits) == len(queries) + 3
        assert hits[-3] == []
        assert [retriever.search([query], 9)[0] for query in queries] == hits[:-3]


@pytest.mark.parametrize("index", ["hnsw", "ivf"])
def test_building_twice_gives_the_same_index(many, encoder, index, tmp_path):
    vectors = encoder.encode([passage.text for passage in many])
    config = DenseConfig(index=index)
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        dense._build(config, vectors, tmp_path / name)
        files.append((tmp_path / name / "index.faiss").read_bytes())
    assert files[0] == files[1]


def test_fingerprint_depends_on_weights_alone():
    torch = pytest.importorskip("torch")
    weights = {"a": torch.ones(2, 3), "b": torch.tensor(1.0, dtype=torch.bfloat16)}
    same = {"b": torch.tensor(1.0, dtype=torch.bfloat16), "a": torch.ones(3, 2).T}
    assert fingerprint(weights, "x") == fingerprint(same, "x")
    assert fingerprint(weights, "x") != fingerprint(weights, "y")
    assert fingerprint(weights, "x") != fingerprint({**weights, "b": torch.tensor(2.0)}, "x")


def test_encoder_that_does_not_exist(tmp_path):
    with pytest.raises(ModelError, match=r"retriever\.encoder: cannot load") as caught:
        SentenceEncoder(str(tmp_path / "none"))
    assert "built-in encoder" in caught.value.fix


@pytest.mark.slow
def test_builtin_encoder_understands_paraphrase(planets, monkeypatch, tmp_path):
    retriever = DenseRetriever(DenseConfig(), open_corpus(planets))
    hits = retriever.search(["the seat of the French government", "\ud800 celestial body veiled in mist"], 1)
    assert [found[0].title for found in hits] == ["Paris", "Venus"]
