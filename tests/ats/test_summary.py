"""Summaries against the logits they stand for: at most 1e-3 nats apart at every multiplier of the range."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lmtools.ats.cache import BINS, ERROR, EVEN, FARTHEST, RATIO, TOP, WIDTH, bin_of, summarise
from lmtools.ats.recipe import MULTIPLIERS
from lmtools.core.errors import ModelError

LOG_RANGE = [math.log(bound) for bound in MULTIPLIERS]


def normal(n, size, generator):
    return size * torch.randn(n, generator=generator)


def two_clusters(n, size, generator):
    """One token far above many that are nearly the same."""
    z = 0.01 * torch.randn(n, generator=generator)
    z[0] += size
    return z


def exponential(n, size, generator):
    return -size * torch.empty(n).exponential_(generator=generator)


SKEW = (1 - 3**-0.5) / 2
"""Of all values between two edges, this share at one of them has the largest third moment."""


def skewed_in_a_bin(n, size, generator, share=SKEW):
    """All tokens but the top one at the two edges of one bin."""
    return at_two_edges(n, int(torch.randint(60, (1,), generator=generator)), share)


def skewed_the_other_way(n, size, generator):
    return skewed_in_a_bin(n, size, generator, share=1 - SKEW)


def at_two_edges(n, rank, share):
    low = WIDTH * rank if rank < EVEN else WIDTH * EVEN * (1 + RATIO) ** (rank - EVEN)
    width = max(WIDTH, RATIO * low)
    z = torch.full((n,), -low - 0.001 * width)
    z[: int(share * n)] = -low - 0.999 * width
    z[-1] = 0.0
    return z


def flat(n, size, generator):
    return torch.full((n,), size)


def all_in_wide_bins(n, size, generator):
    """A lone top token, the rest spread evenly over a few bins, where all of Z may come from."""
    z = -size * (1 + 0.2 * torch.rand(n, generator=generator))
    z[0] = 0.0
    return z


SHAPES = [normal, two_clusters, exponential, skewed_in_a_bin, skewed_the_other_way, flat, all_in_wide_bins]


@settings(max_examples=300, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    n=st.sampled_from([2, 3, 17, 300, 5000, 49152, 150_000]),
    size=st.floats(0.1, 30),
    where=st.floats(*LOG_RANGE),
    offset=st.sampled_from([0.0, -100.0, 15.0]),
    seed=st.integers(0, 2**31),
)
def test_the_losses_are_those_of_the_logits(shape, n, size, where, offset, seed):
    generator = torch.Generator().manual_seed(seed)
    z = (shape(n, size, generator) + offset)[None]
    label = torch.randint(n, (1,), generator=generator)
    s = torch.tensor([math.exp(where)])
    summary = summarise(z, label)
    # The definition at float64, of the float32 logits.
    logprobs = (s.double() * z.double()).log_softmax(dim=-1)[0]
    partition = summary.log_partition(s)
    assert partition.item() == pytest.approx(-logprobs.max().item(), abs=ERROR)
    # Gaps are float32 differences, and grow with the multiplier.
    slack = ERROR + 1e-6 * s.item() * (size * 20 + abs(offset))
    assert (partition + s * summary.label).item() == pytest.approx(-logprobs[label].item(), abs=slack)
    assert (partition + s * summary.mean).item() == pytest.approx(-logprobs.mean().item(), abs=slack)


@pytest.mark.parametrize("n", [300, 50_000])
@pytest.mark.parametrize("share", [SKEW, 1 - SKEW])
def test_the_worst_that_can_be_in_any_bin(n, share):
    s = torch.tensor([10.0, 8.5, 5.0])
    for rank in range(60):
        z = at_two_edges(n, rank, share).expand(3, -1)
        exact = (s[:, None].double() * z.double()).logsumexp(dim=-1)
        found = summarise(z, torch.zeros(3, dtype=torch.long)).log_partition(s)
        assert (found - exact).abs().max() < ERROR, rank


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(SHAPES),
    size=st.floats(0.1, 30),
    where=st.floats(LOG_RANGE[0] + 0.01, LOG_RANGE[1] - 0.01),
    seed=st.integers(0, 2**31),
)
def test_the_gradient_is_that_of_the_logits(shape, size, where, seed):
    """d log Z / ds is minus the mean gap under the calibrated distribution."""
    z = shape(3000, size, torch.Generator().manual_seed(seed))[None]
    s = torch.tensor([math.exp(where)], requires_grad=True)
    summarise(z, torch.tensor([0])).log_partition(s).sum().backward()
    gaps = (z.max() - z).double()
    weights = (-s.detach().double() * gaps).softmax(dim=-1)
    expected = -(weights * gaps).sum().item()
    # Relative to the loss's own scale: ds / s is a change of the log multiplier.
    assert (s * s.grad).item() == pytest.approx(s.item() * expected, abs=5e-3)


def test_on_a_real_models_shapes(tiny_llama):
    from lmtools.models.load import load
    from lmtools.models.spec import ModelSpec

    loaded = load(ModelSpec(name=str(tiny_llama), device="cpu"))
    ids = loaded.tokenizer("Which river flows through the capital of France?", return_tensors="pt").input_ids
    with torch.no_grad():
        z = loaded.model(ids).logits[0, :-1]
    labels = ids[0, 1:]
    summary = summarise(z, labels)
    for s in (0.05, 0.3, 1.0, 2.5, 10.0):
        every = torch.full((len(z),), s)
        logprobs = (s * z.double()).log_softmax(dim=-1)
        right = logprobs.gather(1, labels[:, None])[:, 0]
        found = summary.log_partition(every) + s * summary.label
        assert (found + right).abs().max() < ERROR
    assert torch.equal(summary.right, z.argmax(dim=-1) == labels)


@pytest.mark.slow
def test_on_the_built_in_model():
    from lmtools.models.load import load
    from lmtools.models.spec import ModelSpec

    loaded = load(ModelSpec(device="cpu"))
    text = "The Seine flows through Paris, the capital of France, and on to the sea at Le Havre. 17 + 4 = 21."
    ids = loaded.tokenizer(text, return_tensors="pt").input_ids
    with torch.no_grad():
        z = loaded.model(ids).logits[0]
    summary = summarise(z, z.argmax(dim=-1))
    for s in torch.logspace(math.log10(0.05), 1, 15).tolist():
        exact = (s * (z - z.amax(dim=-1, keepdim=True)).double()).logsumexp(dim=-1)
        assert (summary.log_partition(torch.full((len(z),), s)) - exact).abs().max() < ERROR


def test_worked_by_hand():
    summary = summarise(torch.tensor([[1.0, 3.0, 2.0], [0.5, 0.0, 0.0]]), torch.tensor([2, 0]))
    assert summary.label.tolist() == [1.0, 0.0]
    assert summary.mean.tolist() == pytest.approx([1.0, 1 / 3])
    assert summary.right.tolist() == [False, True]
    # Fewer tokens than k: the mean over all there are.
    assert summary.top.tolist() == [pytest.approx([1.0] * 3), pytest.approx([1 / 3] * 3)]
    found = summary.log_partition(torch.tensor([2.0, 1.0]))
    # log(1 + e^-2 + e^-4) and log(1 + 2 e^-.5)
    expected = [math.log(1 + math.exp(-2) + math.exp(-4)), math.log(1 + 2 * math.exp(-0.5))]
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_the_mean_gap_of_the_most_probable():
    z = -torch.arange(100.0)[None]
    summary = summarise(z, torch.tensor([0]))
    assert summary.top[0].tolist() == pytest.approx([(k - 1) / 2 for k in TOP])


def test_a_tie_at_the_top_counts_as_right():
    assert summarise(torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([1])).right.tolist() == [True]


@given(st.floats(0, 1e6))
def test_a_bin_is_no_wider_than_promised(gap):
    index = int(bin_of(torch.tensor(gap)))
    assert 0 <= index < BINS
    if gap < FARTHEST / (1 + RATIO):
        near = torch.tensor([gap, gap + max(WIDTH, RATIO * gap) * 1.001])
        first, second = bin_of(near).tolist()
        assert second > first


@given(st.lists(st.floats(0, 1000), min_size=2, max_size=50))
def test_bins_are_in_the_order_of_gaps(gaps):
    assume(len(set(gaps)) > 1)
    bins = bin_of(torch.tensor(sorted(gaps)))
    assert (bins.diff() >= 0).all()


def test_every_token_is_in_one_bin():
    z = 20 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
    summary = summarise(z, torch.zeros(4, dtype=torch.long))
    assert summary.log_count.exp().sum(dim=-1).tolist() == pytest.approx([1000.0] * 4)


def test_some_of_the_tokens():
    z = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    whole = summarise(z, torch.arange(5))
    some, alone = whole[torch.tensor([3, 1])], summarise(z[[3, 1]], torch.tensor([3, 1]))
    for name, value in vars(some).items():
        assert torch.equal(value, vars(alone)[name]), name


def test_bfloat16_logits_are_taken_as_they_are():
    z = torch.randn(2, 500, generator=torch.Generator().manual_seed(0)).bfloat16()
    summary = summarise(z, torch.tensor([1, 2]))
    exact = z.double().log_softmax(dim=-1).amax(dim=-1)
    assert (summary.log_partition(torch.ones(2)) + exact).abs().max() < ERROR


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_numbers_are_an_error(bad):
    z = torch.zeros(2, 10)
    z[1, 3] = bad
    with pytest.raises(ModelError, match="NaN or infinity") as caught:
        summarise(z, torch.tensor([0, 0]))
    assert "float32" in caught.value.fix
