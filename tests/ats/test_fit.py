"""A whole fit on the tiny Llama: what it writes, what it refuses, and that it goes on after a kill."""

import json

import pytest
from tiny_fit import run_fit, tiny_recipe

from lmtools.ats import extract, fit
from lmtools.ats.artefact import head_digest, load_methods, read_settings
from lmtools.ats.inputs import prepare, split
from lmtools.core.errors import DataError, ModelError
from lmtools.core.results import read_results
from lmtools.models.load import load

EVERY = (
    "uncalibrated",
    "scalar (selective smoothing)",
    "scalar (NLL)",
    "vector scaling",
    "Platt",
    "histogram binning",
    "scaling-binning",
    "isotonic",
    "transformer",
    "mlp",
    "linear",
)


def test_every_method_is_fitted_measured_and_found_again(tiny_llama, tmp_path):
    recipe = tiny_recipe(tiny_llama, tmp_path)
    results = run_fit(recipe, tmp_path / "run")
    assert tuple(row.name for row in results.rows) == EVERY
    assert load_methods(tmp_path / "run", load(recipe.model)).names == EVERY
    base = results.row("uncalibrated").metrics
    assert set(base) == {"loss", "nll", "multiplier", "token-ece"}
    assert base["multiplier"].value == 1
    assert set(results.row("vector scaling").metrics) == {"nll", "token-ece"}
    assert set(results.row("isotonic").metrics) == {"token-ece"}
    # A random model is far too sure: an exact scalar must help, and early stopping may not harm.
    assert results.row("scalar (selective smoothing)").metrics["loss"].value < base["loss"].value
    for head in ("transformer", "mlp", "linear"):
        assert results.row(head).metrics["loss"].value <= base["loss"].value + 1e-6
    pairs = {(one.a, one.b) for one in results.differences}
    assert pairs >= {(name, EVERY[0]) for name in EVERY[1:]}
    assert {b for a, b in pairs if a == "transformer"} == set(EVERY) - {"transformer"}
    assert read_settings(tmp_path / "run" / "head").loss["alpha"] == recipe.loss.alpha
    assert not (tmp_path / "run" / "training").exists()
    epochs = [json.loads(line)["key"] for line in (tmp_path / "run" / "journal.jsonl").open()]
    assert epochs[:2] == ["transformer/epoch 1", "transformer/epoch 2"]


def test_a_fit_that_is_killed_between_or_inside_heads_ends_with_the_same_weights(
    tiny_llama, tmp_path, monkeypatch
):
    recipe = tiny_recipe(tiny_llama, tmp_path, compare=("mlp", "Platt"))
    whole = run_fit(recipe, tmp_path / "whole")
    save, train = fit.save_head, fit.train_head

    def killed_before_saving(*_):
        raise KeyboardInterrupt

    def killed_after_an_epoch(*arguments, finished, **more):
        def last(epoch):
            finished(epoch)
            raise KeyboardInterrupt

        return train(*arguments, finished=last, **more)

    for place, function in (("train_head", killed_after_an_epoch), ("save_head", killed_before_saving)):
        with monkeypatch.context() as patch:
            patch.setattr(fit, place, function)
            with pytest.raises(KeyboardInterrupt):
                run_fit(recipe, tmp_path / "run", resume=True)
    assert fit.save_head is save
    results = run_fit(recipe, tmp_path / "run", resume=True)
    for head in ("head", "heads/mlp"):
        assert head_digest(tmp_path / "run" / head) == head_digest(tmp_path / "whole" / head)
    assert results.rows == whole.rows


def test_a_finished_run_is_only_read(tiny_llama, tmp_path, monkeypatch):
    recipe = tiny_recipe(tiny_llama, tmp_path, compare=())
    first = run_fit(recipe, tmp_path / "run")
    monkeypatch.setattr(fit, "read_features", lambda *_, **__: pytest.fail("the model was read again"))
    assert run_fit(recipe, tmp_path / "run", resume=True) == first
    assert read_results(tmp_path / "run" / "metrics.json") == first


def test_two_fits_share_one_pass_of_the_model(tiny_llama, tmp_path, monkeypatch):
    run_fit(tiny_recipe(tiny_llama, tmp_path, compare=("Platt",)), tmp_path / "a")
    monkeypatch.setattr(extract, "load", lambda *_, **__: pytest.fail("the model was loaded again"))
    other = tiny_recipe(tiny_llama, tmp_path, compare=("linear",), loss={"alpha": 0.7}, seed=3)
    run_fit(other, tmp_path / "b")


@pytest.mark.parametrize(
    "settings",
    [
        {"head": {"kind": "scalar"}, "compare": ("linear",), "loss": {"name": "cross_entropy"}},
        {"head": {"kind": "scalar", "features": ("max-logit",)}, "compare": ()},
        {"head": {"features": ("hidden", "argmax-row")}, "compare": ("scalar",)},
        {"head": {"kind": "linear"}, "compare": (), "exact": True, "loss": {"smoothing": "top_k"}},
        {"head": {"features": ("hidden", "max-logit", "log-std", "argmax-row")}, "compare": ("mlp",)},
        {"compare": ("scalar", "scalar (NLL)"), "loss": {"name": "selective_smoothing_code"}},
        {"compare": (), "data": {"layouts": ("bare", "chat"), "max_tokens": 60}},
    ],
)
def test_every_setting_gives_methods_that_load(tiny_llama, tmp_path, settings):
    recipe = tiny_recipe(tiny_llama, tmp_path, **settings)
    results = run_fit(recipe, tmp_path / "run")
    assert load_methods(tmp_path / "run", load(recipe.model)).names == tuple(row.name for row in results.rows)


def test_one_example_cannot_be_held_out_but_can_be_fitted_on(tiny_llama, tmp_path, capsys):
    one = {"limit": 1}
    with pytest.raises(DataError, match="1 sequence cannot be split") as error:
        run_fit(tiny_recipe(tiny_llama, tmp_path, data=one), tmp_path / "run")
    assert "data.validation=0" in error.value.fix
    recipe = tiny_recipe(tiny_llama, tmp_path, data={**one, "validation": 0.0}, compare=EVERY[3:8])
    results = run_fit(recipe, tmp_path / "run")
    assert results.row("transformer").metrics["loss"].n == results.row("isotonic").metrics["token-ece"].n > 0
    assert "measured on what it was fitted on" in capsys.readouterr().err


def test_a_blank_response_is_named(tiny_llama, tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "Why?", "completion": "  "}\n')
    with pytest.raises(DataError, match="instruction 2, 'Why\\?': a blank response"):
        prepare(tiny_recipe(tiny_llama, tmp_path, data={"train": str(path)}))
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "Why?", "completion": ""}\n')
    with pytest.raises(DataError, match=r"mine\.jsonl:2"):
        prepare(tiny_recipe(tiny_llama, tmp_path, data={"train": str(path)}))


def test_no_instructions(tiny_llama, tmp_path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError):
        prepare(tiny_recipe(tiny_llama, tmp_path, data={"train": str(tmp_path / "none.jsonl")}))


def test_a_sequence_that_is_cut_is_told(tiny_llama, tmp_path, capsys):
    recipe = tiny_recipe(tiny_llama, tmp_path, data={"max_tokens": 30})
    inputs = prepare(recipe)
    longest = max(len(one.ids) for one in inputs.rows.marked)
    assert longest == 30
    assert "lose their end: data.max_tokens=30" in capsys.readouterr().err


def test_hidden_states_come_from_hf_alone(tiny_llama, tmp_path):
    recipe = tiny_recipe(tiny_llama, tmp_path)
    for backend in ("vllm", "server"):
        model = recipe.model.model_copy(update={"backend": backend})
        with pytest.raises(ModelError, match="hidden states"):
            prepare(recipe.model_copy(update={"model": model}))


@pytest.mark.parametrize(("count", "share", "held"), [(2, 0.1, 1), (40, 0.1, 4), (7, 0.5, 4), (5, 0.0, 0)])
def test_a_split_is_drawn_by_seed_and_leaves_nothing_out(count, share, held):
    made = split(count, share, 0)
    assert sorted((*made.train, *made.validation)) == list(range(count))
    assert len(made.validation) == held
    assert made == split(count, share, 0)
    assert made.measured == (made.validation or made.train)


def test_other_seeds_hold_out_others():
    assert len({split(40, 0.1, seed).validation for seed in range(6)}) > 1
