"""A text token by token: every piece of it, and probabilities that are those of the model itself."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import tokenizer
from tiny_fit import run_fit, tiny_recipe

from lmtools.ats.calibrated import calibrate
from lmtools.ats.inputs import prepare
from lmtools.ats.measure import FILE, TEXTS, pieces
from lmtools.models.load import load

WORDS = tokenizer()
VALUES = ("temperature", "before", "after", "top_before", "top_after")


def lines(run):
    return [json.loads(line) for line in (run / FILE).open(encoding="utf-8")]


@given(st.text(max_size=30))
def test_pieces_joined_are_the_text(text):
    ids = WORDS(f"<|im_start|>{text}<|im_end|>", add_special_tokens=False)["input_ids"]
    found = pieces(WORDS, ids)
    assert len(found) == len(ids)
    assert "".join(found) == WORDS.decode(ids, clean_up_tokenization_spaces=False)


def test_special_tokens_spaces_and_line_ends_are_pieces_of_their_own():
    ids = WORDS("<|im_start|>user\nof the\n\U0001f642!", add_special_tokens=False)["input_ids"]
    found = pieces(WORDS, ids)
    assert found[0] == "<|im_start|>"
    assert "\n" in found
    assert any(piece.startswith(" ") for piece in found)
    assert "\U0001f642" in found  # at the last of its bytes, the others are empty
    assert found.count("") >= 1


@pytest.mark.parametrize(
    "settings",
    [
        {"head": {"kind": "transformer"}},
        {"head": {"kind": "linear"}, "data": {"layouts": ("question-answer",), "max_tokens": 120}},
        {"head": {"kind": "mlp", "features": ("hidden", "max-logit", "log-std", "argmax-row")}},
        {"head": {"kind": "scalar"}, "data": {"layouts": ("bare", "chat")}},
    ],
)
def test_every_figure_is_that_of_the_model_with_the_head(tiny_llama, tmp_path, settings):
    recipe = tiny_recipe(tiny_llama, tmp_path, compare=(), **settings)
    run_fit(recipe, tmp_path / "run")
    setup = prepare(recipe)
    held = {WORDS.decode(setup.rows.marked[place].ids): place for place in setup.split.validation}
    base = load(recipe.model)
    both = (base, calibrate(base, tmp_path / "run"))
    found = lines(tmp_path / "run")
    assert len(found) == min(TEXTS, len(held))
    for line in found:
        text = "".join(line["tokens"])
        [place] = [place for whole, place in held.items() if whole.startswith(text)]
        marked = setup.rows.marked[place]
        ids = torch.tensor([marked.ids[: len(line["tokens"])]])
        with torch.no_grad():
            plain, calibrated = (one.model(ids).logits[0, :-1].float().log_softmax(-1) for one in both)
        for at, token in enumerate(marked.ids[: len(line["tokens"])]):
            values = [line[name][at] for name in VALUES]
            if at == 0 or not marked.response[at]:
                assert values == [None] * len(VALUES)
                continue
            expected = [
                plain[at - 1, token],
                calibrated[at - 1, token],
                plain[at - 1].max(),
                calibrated[at - 1].max(),
            ]
            assert values[1:] == pytest.approx([float(one.exp()) for one in expected], rel=5e-3, abs=1e-6)
            assert 0.1 <= values[0] <= 20
        assert any(value is not None for value in line["temperature"])


def test_a_fit_that_is_killed_before_its_end_writes_the_texts(tiny_llama, tmp_path, monkeypatch):
    from lmtools.ats import measure

    def killed(*_):
        raise KeyboardInterrupt

    recipe = tiny_recipe(tiny_llama, tmp_path, compare=())
    with monkeypatch.context() as patch:
        patch.setattr(measure, "write_token_texts", killed)
        with pytest.raises(KeyboardInterrupt):
            run_fit(recipe, tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()
    run_fit(recipe, tmp_path / "run", resume=True)
    assert lines(tmp_path / "run")[0]["method"] == "transformer"
