"""The training of a head on a cache: it learns, it stops, it goes on exactly where it was."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_cache import OUTPUT, SHAPE, small_cache

from lmtools.ats.batches import Batches, by_length, shuffled
from lmtools.ats.heads import build_head
from lmtools.ats.recipe import HeadConfig, LossSettings, TrainSettings
from lmtools.ats.train import log_multipliers, rate, train_head, validation_loss
from lmtools.core.errors import ModelError, RunError

CACHE = small_cache()
TRAIN, HELD = tuple(range(18)), tuple(range(18, 24))
LOSS = LossSettings()
SETTINGS = TrainSettings(
    epochs=4, batch_sequences=4, learning_rate=0.01, output_learning_rate=0.01, warmup=2, patience=9
)


class Output:
    """An output layer, as far as batches use it."""

    device, rows = "cpu", OUTPUT

    def __call__(self, states):
        return states.float() @ OUTPUT.T


def start(kind="linear", settings=SETTINGS, held=HELD, exact=False, **more):
    config = HeadConfig(kind=kind)
    batches = Batches(CACHE, config, "cpu", Output() if exact else None, exact)
    head = build_head(config, SHAPE, seed=1)
    return head, train_head(head, batches, TRAIN, held, LOSS, settings, 5, **more), batches


def same(a, b):
    return all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("kind", ["transformer", "mlp", "linear"])
def test_it_learns_who_is_right_from_the_states(kind):
    head, state, batches = start(kind)
    first = validation_loss(build_head(head.config, SHAPE), batches, HELD, LOSS)
    assert state.lowest < first - 0.05
    assert validation_loss(head, batches, HELD, LOSS) == pytest.approx(state.lowest)


def test_the_output_layer_has_a_rate_of_its_own():
    slow = SETTINGS.model_copy(update={"learning_rate": 1e-12, "epochs": 1})
    new = build_head(HeadConfig(kind="mlp"), SHAPE, seed=1)
    head, _, _ = start("mlp", slow, held=())
    assert torch.allclose(head.gate_proj.weight, new.gate_proj.weight, atol=1e-9)
    # AdamW's first step is the rate itself; the rates of the epoch's steps add up to more.
    assert head.output.weight.abs().max() > slow.output_learning_rate


def test_exact_logits_teach_the_same():
    by_summary, by_logits = start(held=())[0], start(held=(), exact=True)[0]
    for name, value in by_summary.state_dict().items():
        assert torch.allclose(value, by_logits.state_dict()[name], atol=2e-3), name


@pytest.mark.parametrize("kind", ["transformer", "linear"])
@pytest.mark.parametrize("stop", [1, 3])
def test_interrupted_and_resumed_it_has_the_weights_of_an_uninterrupted_one(tmp_path, kind, stop):
    whole, state, _ = start(kind)

    def interrupt(epoch):
        if epoch.number == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start(kind, state=tmp_path / "state.safetensors", finished=interrupt)
    told = []
    resumed, again, _ = start(kind, state=tmp_path / "state.safetensors", finished=told.append)
    assert same(whole.state_dict(), resumed.state_dict())
    assert again.epochs == state.epochs
    assert [epoch.number for epoch in told] == [1, 2, 3, 4]


def test_a_state_that_is_torn_or_of_another_head_is_no_state(tmp_path):
    path = tmp_path / "state.safetensors"
    start("linear", state=path)
    with pytest.raises(RunError, match="delete"):
        start("transformer", state=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=r"state\.safetensors"):
        start("linear", state=path)


def test_it_stops_when_nothing_gets_better_and_keeps_the_best():
    wild = SETTINGS.model_copy(
        update={
            "learning_rate": 1.0,
            "output_learning_rate": 3.0,
            "epochs": 9,
            "patience": 1,
            "cosine": False,
        }
    )
    head, state, batches = start(settings=wild)
    assert len(state.epochs) < 9
    assert state.waited() == 2
    values = [validation_loss(build_head(head.config, SHAPE), batches, HELD, LOSS)]
    values += [epoch.validation for epoch in state.epochs]
    assert validation_loss(head, batches, HELD, LOSS) == pytest.approx(min(values))


def test_without_held_out_sequences_the_last_epoch_counts():
    head, state, _ = start(held=())
    assert len(state.epochs) == SETTINGS.epochs
    assert all(epoch.best and epoch.validation is None for epoch in state.epochs)
    assert head.output.weight.abs().max() > 0


def test_a_loss_that_is_no_number_ends_it():
    broken = small_cache()
    broken.arrays["mean"][:] = math.nan
    batches = Batches(broken, HeadConfig(kind="linear"), "cpu")
    with pytest.raises(ModelError, match="not a number"):
        train_head(build_head(HeadConfig(kind="linear"), SHAPE), batches, TRAIN, (), LOSS, SETTINGS, 0)


def test_multipliers_come_in_the_order_of_the_sequences():
    head, _, batches = start("transformer")
    order = [20, 3, 11, 7]
    alone = [log_multipliers(head, batches, [one]) for one in order]
    assert [len(one) for one in alone] == CACHE.counts()[order].tolist()
    assert torch.allclose(log_multipliers(head, batches, order), torch.cat(alone), atol=1e-5)


def test_a_batch_is_padded_on_the_right_and_counts_what_is_masked():
    batch = Batches(CACHE, HeadConfig(kind="linear"), "cpu").make([0, 5])
    lengths = CACHE.lengths()[[0, 5]].tolist()
    assert batch.valid.sum(dim=1).tolist() == lengths
    assert not (batch.response & ~batch.valid).any()
    assert batch.masked == 2 * max(lengths) - CACHE.counts()[[0, 5]].sum()
    assert torch.equal(batch.summary.label, CACHE.summary([0, 5]).label)


def test_joined_features_come_in_the_configured_order():
    cache = copy.copy(CACHE)
    extra = {
        "max_logit": np.arange(len(CACHE.arrays["wanted"]), dtype=np.float32),
        "argmax": np.full(len(CACHE.arrays["wanted"]), 7),
    }
    cache = type(CACHE)({**CACHE.arrays, **extra})
    config = HeadConfig(kind="linear", features=("max-logit", "argmax-row", "hidden"))
    made = Batches(cache, config, "cpu", Output()).make([0]).features[0]
    assert made.shape[1] == 1 + 2 * SHAPE.hidden
    assert made[:, 0].tolist() == list(range(len(made)))
    assert torch.equal(made[0, 1 : 1 + SHAPE.hidden], OUTPUT[7])
    assert torch.equal(made[:, -SHAPE.hidden :], torch.tensor(CACHE.of_rows("hidden", 0)).float())


def test_the_rate_rises_then_falls_along_a_cosine():
    settings = TrainSettings(warmup=4)
    assert rate(0, 100, settings) == pytest.approx(0.25)
    assert rate(50, 100, settings) == pytest.approx(0.5)
    assert rate(99, 100, settings) == pytest.approx(0.5 + 0.5 * math.cos(math.pi * 0.99))
    assert rate(99, 100, TrainSettings(warmup=0, cosine=False)) == 1


LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=60).map(np.array)


@given(LENGTHS, st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_has_every_sequence_once_beside_others_of_its_length(lengths, size, seed):
    batches = shuffled(lengths, size, seed)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(len(batch) <= size for batch in batches)
    assert batches == shuffled(lengths, size, seed)


@given(LENGTHS, st.integers(1, 300))
def test_padded_batches_keep_to_their_size(lengths, tokens):
    batches = list(by_length(lengths, tokens))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths[batch].max() <= tokens
