"""Which samples are computed, and their seeds."""

from hypothesis import given
from hypothesis import strategies as st

from lmtools.generation.protocol import Sampling, by_prompt, draws, sample_seed


def test_greedy_is_computed_once_and_repeated():
    assert [draws(Sampling(), samples) for samples in (0, 1, 5)] == [0, 1, 1]
    assert [draws(Sampling(temperature=0.1), samples) for samples in (0, 1, 5)] == [0, 1, 5]
    assert by_prompt("ab", 2, 3) == [["a"] * 3, ["b"] * 3]
    assert by_prompt("abcd", 2, 2) == [["a", "b"], ["c", "d"]]


@given(prompts=st.integers(0, 5), samples=st.integers(0, 5), temperature=st.sampled_from([0.0, 1.0]))
def test_every_prompt_gets_its_samples_in_order(prompts, samples, temperature):
    each = draws(Sampling(temperature=temperature), samples)
    done = [(prompt, draw) for prompt in range(prompts) for draw in range(each)]
    rows = by_prompt(done, prompts, samples)
    assert [len(row) for row in rows] == [samples] * prompts
    for prompt, row in enumerate(rows):
        assert row == [(prompt, draw if each > 1 else 0) for draw in range(samples)]


@given(st.text(), st.text(), st.integers(0, 100), st.integers(0, 100), st.integers(0, 2**40))
def test_seeds_tell_samples_and_prompts_apart(first, second, i, j, seed):
    sampling = Sampling(temperature=1.0, seed=seed)
    seed_i, seed_j = sample_seed(first, sampling, i), sample_seed(second, sampling, j)
    assert 0 <= seed_i < 2**31
    assert (seed_i == seed_j) == ((first, i) == (second, j))
