"""A recipe's loss: of all tokens together, and what each of them gives to it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_cache import small_cache

from lmtools.ats.cache import summarise
from lmtools.ats.losses import cross_entropy, full_smoothing, loss_function, selective_smoothing
from lmtools.ats.recipe import LossSettings

SUMMARY = small_cache().summary(range(24))


@given(
    st.floats(0, 1),
    st.sampled_from(["uniform", "top_k"]),
    st.integers(0, 500),
    st.integers(0, 99),
)
def test_the_code_form_weighs_each_group_by_the_others_share(alpha, smoothing, masked, seed):
    settings = {"alpha": alpha, "smoothing": smoothing}
    code = loss_function(LossSettings(name="selective_smoothing_code", **settings), masked)
    right, n = SUMMARY.right, len(SUMMARY.label)
    s = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + 0.05
    papers = loss_function(LossSettings(**settings))(SUMMARY, s)
    share = float(right.sum()) / (n + masked)
    expected = float(papers[right].mean()) * (1 - share) + float(papers[~right].mean()) * share
    assert float(code(SUMMARY, s).mean()) == pytest.approx(expected, rel=1e-5, abs=1e-9)
    each = code(SUMMARY, s)
    assert float(each[right].sum()) / n == pytest.approx(float(papers[right].mean()) * (1 - share), abs=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_the_code_form_is_finite_where_all_tokens_are_right_or_all_wrong(label):
    summary = summarise(torch.tensor([[2.0, 0.0]] * 3), torch.tensor([label] * 3))
    code = loss_function(LossSettings(name="selective_smoothing_code"), 5)
    s = torch.ones(3)
    assert torch.isfinite(code(summary, s)).all()


def test_settings_choose_the_loss():
    s = torch.full_like(SUMMARY.label, 0.7)
    plain = loss_function(LossSettings(name="cross_entropy"))(SUMMARY, s)
    assert torch.equal(plain, cross_entropy(SUMMARY, s))
    full = loss_function(LossSettings(name="full_smoothing", alpha=0.3))(SUMMARY, s)
    assert torch.equal(full, full_smoothing(SUMMARY, s, 0.3))
    top = loss_function(LossSettings(alpha=0.3, smoothing="top_k", top_k=4))(SUMMARY, s)
    assert torch.equal(top, selective_smoothing(SUMMARY, s, 0.3, 4))
