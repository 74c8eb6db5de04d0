"""The one pass of the language model: what it keeps, and that it is done once however it ends."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from tiny import tokenizer as tiny_tokenizer

from lmtools.ats.cache import SequenceRows, cache_key, summarise
from lmtools.ats.extract import OutputLayer, extract
from lmtools.ats.sequences import MarkedSequence, sequences
from lmtools.core.errors import MachineError, ModelError
from lmtools.data.records import Instruction
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec

TEXTS = [
    ("Name a river.", "The Seine"),
    ("And one more", "Loire, in France."),
    ("Why?", "I"),
    ("Q", "Yes no"),
]
MADE = sequences(tiny_tokenizer(), [Instruction(prompt=a, completion=b) for a, b in TEXTS], ["chat"], 99, 0)
ROWS = SequenceRows.of(MADE.marked)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


def read(loaded, rows=ROWS, batch_tokens=60, **settings):
    return extract(rows, loaded.identity, lambda: loaded, batch_tokens=batch_tokens, **settings)


def never():
    raise AssertionError("the model was loaded again")


def test_rows_hold_the_models_states_and_only_responses_are_summarised(loaded):
    cache = read(loaded, dtype="float32")
    assert len(cache) == len(TEXTS)
    for number, one in enumerate(ROWS.marked):
        ids = torch.tensor([one.ids])
        with torch.no_grad():
            output = loaded.model(ids, output_hidden_states=True)
        rows = int(cache.lengths()[number])
        states = output.hidden_states[-1][0]
        assert torch.allclose(torch.tensor(cache.of_rows("hidden", number)), states[:rows], atol=1e-5)
        places = [place for place in range(len(one.ids) - 1) if one.response[place + 1]]
        assert np.flatnonzero(cache.of_rows("wanted", number)).tolist() == places
        labels = ids[0, 1:][places]
        assert cache.of_tokens("labels", [number]).tolist() == labels.tolist()
        expected, found = summarise(output.logits[0, places], labels), cache.summary([number])
        assert torch.equal(found.right, expected.right)
        s = torch.full_like(expected.label, 0.7)
        assert torch.allclose(found.log_partition(s), expected.log_partition(s), atol=1e-4)
        assert torch.allclose(found.label, expected.label, atol=1e-4)


def test_float16_keeps_states_to_a_thousandth_of_their_size(loaded):
    narrow, wide = read(loaded), read(loaded, dtype="float32")
    a, b = narrow.arrays["hidden"].astype(np.float32), wide.arrays["hidden"]
    assert narrow.arrays["hidden"].dtype == np.float16
    assert (np.abs(a - b) <= 1e-3 * np.abs(b) + 1e-6).all()


def test_features_of_the_logits_are_kept_at_every_row(loaded):
    cache = read(loaded, dtype="float32", from_logits=True)
    for number, one in enumerate(ROWS.marked):
        with torch.no_grad():
            logits = loaded.model(torch.tensor([one.ids])).logits[0, : cache.lengths()[number]]
        assert cache.of_rows("argmax", number).tolist() == logits.argmax(-1).tolist()
        assert torch.allclose(torch.tensor(cache.of_rows("max_logit", number)), logits.amax(-1), atol=1e-4)
        spread = logits.std(dim=-1, correction=0).log()
        assert torch.allclose(torch.tensor(cache.of_rows("log_std", number)), spread, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_batches_change_next_to_nothing(loaded, batch_tokens):
    whole = read(loaded, batch_tokens=60, dtype="float32")
    other = extract(
        ROWS, loaded.identity + str(batch_tokens), lambda: loaded, batch_tokens=batch_tokens, dtype="float32"
    )
    for name, values in whole.arrays.items():
        assert np.allclose(other.arrays[name], values, atol=1e-3), name


def test_the_model_is_not_loaded_again(loaded):
    read(loaded)
    again = extract(ROWS, loaded.identity, never, batch_tokens=60)
    assert len(again) == len(TEXTS)


def test_who_waits_for_another_process_is_told(loaded, monkeypatch):
    folder = Path(read(loaded).arrays["hidden"].filename).parent
    other = FileLock(folder.parent / f".{folder.name}.lock")
    other.acquire()
    said = []

    def say(text):
        said.append(text)
        other.release()

    monkeypatch.setattr("lmtools.ats.extract.say", say)
    assert len(extract(ROWS, loaded.identity, never, batch_tokens=60)) == len(TEXTS)
    waits, found = said
    assert waits == f"another process makes the feature cache {folder}: waiting for it"
    assert "are in the cache" in found


def test_a_killed_pass_goes_on_where_it_was(loaded, monkeypatch):
    expected = extract(ROWS, "another name", lambda: loaded, batch_tokens=1)
    decoder = loaded.model.get_decoder()
    calls, whole = [], decoder.forward

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(*args, **kwargs)

    monkeypatch.setattr("lmtools.ats.extract.last_states", _through(counted))
    with pytest.raises(KeyboardInterrupt):
        read(loaded, batch_tokens=1)
    found = read(loaded, batch_tokens=1)
    assert len(calls) == 1 + len(TEXTS)  # the one that was interrupted is done again
    for name, values in expected.arrays.items():
        assert np.array_equal(found.arrays[name], values), name


def _through(forward):
    def states(loaded, ids):
        with torch.inference_mode():
            return forward(input_ids=ids, use_cache=False)[0]

    return states


def test_a_damaged_cache_is_made_again(loaded, tmp_path):
    cache = read(loaded)
    path = cache.arrays["hidden"].filename
    expected = np.array(cache.arrays["hidden"])
    del cache
    os.truncate(path, 200)
    assert np.array_equal(read(loaded).arrays["hidden"], expected)


def test_a_full_disk_is_told_before_the_model_runs(loaded, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr("lmtools.ats.extract.last_states", lambda *_: never())
    with pytest.raises(MachineError, match="No space left"):
        read(loaded)


def test_states_that_float16_cannot_hold(loaded, monkeypatch):
    monkeypatch.setattr("lmtools.ats.extract.last_states", lambda _, ids: torch.full((*ids.shape, 32), 1e6))
    with pytest.raises(ModelError, match="float16") as error:
        read(loaded)
    assert "data.cache_dtype=float32" in error.value.fix


def test_a_model_whose_numbers_are_nan(tiny_llama):
    broken = load(ModelSpec(name=str(tiny_llama), device="cpu"))
    with torch.no_grad():
        broken.model.get_decoder().norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="NaN"):
        read(replace(broken, identity="broken"))


def test_the_key_tells_models_tokens_precision_and_batches_apart_and_no_orders():
    def key(model="a", rows=ROWS, dtype="float16", from_logits=False, device="cpu", batch_tokens=60):
        return cache_key(model, rows, dtype, from_logits, device, batch_tokens)

    assert key(rows=SequenceRows.of(ROWS.marked[::-1])) == key()
    first = ROWS.marked[0]
    masked = MarkedSequence(first.ids, (*first.response[:-2], False, True))
    others = {
        key("b"),
        key(dtype="float32"),
        key(from_logits=True),
        key(device="cuda"),
        key(batch_tokens=61),
        key(rows=SequenceRows.of(ROWS.marked[1:])),
        key(rows=SequenceRows.of((masked, *ROWS.marked[1:]))),
    }
    assert len(others | {key()}) == 8


def _models():
    from transformers import (
        CohereConfig,
        CohereForCausalLM,
        Gemma2Config,
        Gemma2ForCausalLM,
        GraniteConfig,
        GraniteForCausalLM,
        PhiConfig,
        PhiForCausalLM,
    )

    sizes = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "initializer_range": 0.5,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    yield Gemma2ForCausalLM(Gemma2Config(**sizes, head_dim=16, final_logit_softcapping=3.0)), "soft cap"
    yield GraniteForCausalLM(GraniteConfig(**sizes, logits_scaling=4.0)), "divided logits"
    yield CohereForCausalLM(CohereConfig(**sizes, logit_scale=0.25)), "multiplied logits"
    biased = PhiForCausalLM(PhiConfig(**sizes))
    torch.nn.init.normal_(biased.lm_head.bias)
    yield biased, "output bias"


def test_logits_of_states_are_the_models_own_whatever_it_does_to_them():
    for model, what in _models():
        model.eval()
        ids = torch.tensor([[3, 9, 27, 21, 3]])
        with torch.no_grad():
            expected = model(ids, output_hidden_states=True)
        layer = OutputLayer(LoadedModel(model, None, what, "cpu"))
        found = layer(expected.hidden_states[-1][0])
        assert torch.allclose(found, expected.logits[0], atol=1e-5), what
        with torch.no_grad():  # and the model is whole again
            assert torch.equal(model(ids).logits, expected.logits), what


def _zeros(path):
    array = np.load(path, mmap_mode="r+")
    array[:] = 0
    array.flush()


def _flip(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def _save(change):
    return lambda path: np.save(path, change(np.load(path)))


DAMAGES = {
    "zeros": _zeros,
    "one bit": _flip,
    "truncated": lambda path: os.truncate(path, 200),
    "empty": lambda path: os.truncate(path, 0),
    "missing": os.unlink,
    "no array": lambda path: path.write_text("no array" * 99),
    "shape": _save(lambda array: array[:-1]),
    "turned": _save(lambda array: array[::-1].copy()),
    "wider": _save(lambda array: np.repeat(array[..., None], 2, axis=-1)),
    "type": _save(lambda array: array.astype(np.float64)),
    "header": lambda path: path.write_bytes(path.read_bytes().replace(b"'<f", b"'<i", 1)),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["hidden", "label", "centre", "max_logit"])
def test_a_damaged_field_is_noticed_and_read_again(loaded, monkeypatch, capsys, name, damage):
    arrays = read(loaded, from_logits=True).arrays
    path, expected = Path(arrays[name].filename), {name: np.array(array) for name, array in arrays.items()}
    damage(path)
    capsys.readouterr()
    again = read(loaded, from_logits=True).arrays
    assert f"damaged in the feature cache {path.parent}, and read again" in capsys.readouterr().err
    for field, values in expected.items():
        assert again[field].dtype == values.dtype
        assert np.array_equal(again[field], values), field
    monkeypatch.setattr("lmtools.ats.extract.last_states", lambda *_: never())
    read(loaded, from_logits=True)
    assert "are in the cache" in capsys.readouterr().err


def test_only_batches_that_are_damaged_are_read_again(loaded, capsys):
    path = Path(read(loaded, batch_tokens=1).arrays["label"].filename)
    _flip(path)  # in the last of four batches
    read(loaded, batch_tokens=1)
    assert "read again: 1 of 4 batches" in capsys.readouterr().err


@pytest.mark.parametrize(
    "journal", ["no record\n{}\n", "", '{"key": "0", "value": {"end": 1}}\n', "\x00" * 50]
)
def test_a_damaged_journal_is_no_journal(loaded, journal):
    arrays = read(loaded).arrays
    path, expected = Path(arrays["hidden"].filename), np.array(arrays["hidden"])
    (path.parent / "journal.jsonl").write_text(journal)
    assert np.array_equal(read(loaded).arrays["hidden"], expected)
