"""Features of answers: from text to rows, kept on disk, and a reward model's own head among them."""

import json
import shutil

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from tiny import save_adapter

from lmtools.core.errors import DataError, ModelError
from lmtools.models import features as module
from lmtools.models.chat import Message, render, render_answer
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import AnsweredPrompt, FeatureReader
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

QUESTION = (Message("user", "Which river flows through the capital of France?"),)
PAIR = [AnsweredPrompt(QUESTION, "The Seine flows through Paris."), AnsweredPrompt(QUESTION, "The Loire.")]
OTHER = AnsweredPrompt((Message("system", "Be brief."), Message("user", "Hi")), "Yes?")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def spec_of(directory, **changes):
    return ModelSpec(name=str(directory), device="cpu", **changes)


def reader_of(directory, open_pass=None, **settings):
    return FeatureReader(spec_of(directory), FeatureSettings(**settings), open_pass)


def states(spec, answered):
    """The final states of the answer's tokens, (tokens, hidden), by transformers alone."""
    loaded = load(spec)
    parts = [
        render(loaded.tokenizer, answered.turns),
        render_answer(loaded.tokenizer, answered.turns, answered.answer),
    ]
    prompt, answer = (loaded.tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts)
    with torch.inference_mode():
        out = loaded.model(torch.tensor([prompt + answer]), output_hidden_states=True)
    return out.hidden_states[-1][0, len(prompt) :].numpy()


def fails():
    raise AssertionError("the model was loaded")


def test_a_row_is_the_last_state_and_the_mean_of_the_answer(tiny_llama):
    reader = reader_of(tiny_llama)
    rows = reader.read([*PAIR, OTHER])
    assert rows.shape == (3, reader.width) == (3, 64)
    assert rows.dtype == np.float32
    assert reader.own_head is None
    for row, answered in zip(rows, [*PAIR, OTHER], strict=True):
        expected = states(spec_of(tiny_llama), answered)
        np.testing.assert_allclose(row, np.concatenate([expected[-1], expected.mean(axis=0)]), **CLOSE)


def test_what_was_read_once_needs_no_model(tiny_llama, capsys):
    first = reader_of(tiny_llama).read(PAIR, "reading")
    assert "reading (texts): 2 to do" in capsys.readouterr().err
    again = reader_of(tiny_llama, fails).read([PAIR[1], PAIR[0], PAIR[1]])
    np.testing.assert_array_equal(again, first[[1, 0, 1]])
    assert capsys.readouterr().err == ""


def test_only_what_is_missing_is_read(tiny_llama, capsys):
    reader_of(tiny_llama).read(PAIR)
    reader_of(tiny_llama).read([*PAIR, OTHER, OTHER])
    assert "features (texts): 1 to do" in capsys.readouterr().err


def test_other_settings_and_other_models_have_caches_of_their_own(tiny_llama, tmp_path):
    reader_of(tiny_llama).read(PAIR)
    moved = shutil.copytree(tiny_llama, tmp_path / "moved")
    reader_of(moved, fails).read(PAIR)
    for other in (
        reader_of(tiny_llama, fails, pooling=("mean", "last")),
        reader_of(tiny_llama, fails, layers=(1,)),
        FeatureReader(spec_of(tiny_llama, dtype="bfloat16"), FeatureSettings(), fails),
        reader_of(tiny_llama, fails, max_tokens=16),
    ):
        with pytest.raises(AssertionError, match="was loaded"):
            other.read(PAIR)
        assert other.identity != reader_of(tiny_llama).identity
    assert reader_of(moved).identity == reader_of(tiny_llama, layers=(2,)).identity


class Interrupted:
    """A pass that is killed after its first batch."""

    def __init__(self, width):
        self._width = width

    def read(self, texts, kept=()):
        yield [1], np.ones((1, self._width), np.float32)
        raise KeyboardInterrupt

    def close(self):
        """Nothing to free."""


def test_a_killed_pass_keeps_its_batches(tiny_llama, capsys):
    with pytest.raises(KeyboardInterrupt):
        reader_of(tiny_llama, lambda: Interrupted(64)).read(PAIR)
    capsys.readouterr()
    rows = reader_of(tiny_llama).read(PAIR)
    assert "1 to do" in capsys.readouterr().err
    np.testing.assert_array_equal(rows[1], np.ones(64))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_an_error_and_not_kept(tiny_llama, tmp_path, wrong):
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_llama, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][3] = wrong
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    for _ in range(2):
        with pytest.raises(ModelError, match="NaN or infinity") as caught:
            reader_of(broken).read(PAIR)
        assert "model.dtype=float32" in caught.value.fix


def test_long_texts_are_cut_and_that_is_said_once(tiny_llama, capsys):
    reader = reader_of(tiny_llama, max_tokens=16)
    reader.read(PAIR)
    reader.read([AnsweredPrompt(QUESTION, "No.")])
    assert capsys.readouterr().err.count("2 of 2 texts are longer than features.max_tokens=16") == 1


def test_no_text_is_longer_than_the_model_takes(tiny_llama, tmp_path):
    short = shutil.copytree(tiny_llama, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    (short / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 24}))
    assert max(map(len, reader_of(short)._texts([AnsweredPrompt(QUESTION, "q" * 90)]))) == 24


def test_nothing_to_read_is_no_rows(tiny_llama):
    assert reader_of(tiny_llama, fails).read([]).shape == (0, 64)


def test_an_empty_answer(tiny_llama):
    with pytest.raises(DataError, match="is empty"):
        reader_of(tiny_llama).read([AnsweredPrompt(QUESTION, " ")])


def test_an_adapter_changes_the_features(tiny_llama, tmp_path):
    adapter = save_adapter(tiny_llama, tmp_path / "adapter")
    for dtype in ("float32", "bfloat16"):  # merged, and not
        spec = spec_of(tiny_llama, adapter=str(adapter), dtype=dtype)
        rows = FeatureReader(spec, FeatureSettings(pooling=("last",))).read(PAIR)
        tolerance = CLOSE if dtype == "float32" else {"rtol": 0.1, "atol": 0.1}
        plain = states(spec.model_copy(update={"dtype": "float32"}), PAIR[0])[-1]
        np.testing.assert_allclose(rows[0], plain, **tolerance)
        assert not np.allclose(rows, reader_of(tiny_llama, pooling=("last",)).read(PAIR), atol=0.3)


def test_a_closed_reader_opens_again(tiny_llama):
    reader = reader_of(tiny_llama)
    first = reader.read(PAIR)
    reader.close()
    reader.close()
    np.testing.assert_array_equal(reader.read([*PAIR, OTHER])[:2], first)


@pytest.mark.parametrize(("layers", "numbers"), [((-1,), (2,)), ((-2, 2), (1, 2)), ((1, -1), (1, 2))])
def test_layers_count_from_either_end(layers, numbers):
    assert module.layer_numbers(layers, 2) == numbers


@pytest.mark.parametrize(
    ("layers", "says"), [((3,), "no layer 3"), ((-3,), "no layer -3"), ((2, -1), "twice")]
)
def test_layers_that_are_not_there(tiny_llama, layers, says):
    with pytest.raises(ModelError, match=says) as caught:
        reader_of(tiny_llama, layers=layers)
    assert caught.value.fix


@pytest.mark.parametrize(
    "wrong", [{"layers": [0]}, {"layers": [1, 1]}, {"layers": []}, {"pooling": ["last", "last"]}, {"x": 1}]
)
def test_settings_that_mean_nothing(wrong):
    with pytest.raises(ValidationError):
        FeatureSettings(**wrong)


@pytest.mark.parametrize("backend", ["server", "vllm"])
def test_other_backends_are_opened_elsewhere(tiny_llama, backend):
    with pytest.raises(ModelError, match=backend):
        FeatureReader(spec_of(tiny_llama, backend=backend), FeatureSettings())
