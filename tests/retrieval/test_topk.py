import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lmtools.retrieval.bm25 import top_k


def brute_force(scores, rank, k):
    matching = [position for position in range(len(scores)) if scores[position] > 0]
    return sorted(matching, key=lambda position: (-scores[position], rank[position]))[:k]


@given(
    n=st.integers(0, 4000),
    levels=st.integers(1, 50),
    k=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_same_as_sorting_everything(n, levels, k, seed):
    """Few levels make many ties, also across the k-th place; many passages take the path through groups."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, size=n).astype(np.float32) * (rng.random(n) < rng.random())
    rank = rng.permutation(n).astype(np.int32)
    assert top_k(scores.astype(np.float32), rank, k).tolist() == brute_force(scores, rank, k)


def test_ties_at_the_edge_go_by_rank():
    scores = np.ones(2000, dtype=np.float32)
    scores[7] = 2
    rank = np.arange(2000, dtype=np.int32)[::-1].copy()
    assert top_k(scores, rank, 3).tolist() == [7, 1999, 1998]


def test_nothing_above_zero_is_nothing_found():
    assert top_k(np.zeros(5000, dtype=np.float32), np.arange(5000, dtype=np.int32), 3).tolist() == []
    assert top_k(np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.int32), 3).tolist() == []
