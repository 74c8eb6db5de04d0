"""LoRA under the heads: it learns what the pairs prefer, leaves the base alone, and survives being killed."""

import json
import shutil
from collections import Counter
from contextlib import closing

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import save_adapter
from transformers import LlamaForSequenceClassification

from lmtools.core.errors import MachineError, ModelError, RecipeError, RunError
from lmtools.core.run import Run
from lmtools.core.tracking import read_curves
from lmtools.data.records import Preference
from lmtools.generation.open import open_features
from lmtools.hyre import lora as module
from lmtools.hyre.dry_run import dry_run
from lmtools.hyre.inputs import PairInputs, prepare, train, tuned_inputs
from lmtools.hyre.lora import batches, check_lora
from lmtools.hyre.pairs import answers, read_features
from lmtools.hyre.recipe import HyreRecipe, LoraSettings
from lmtools.hyre.reward import open_reward, trained_recipe
from lmtools.hyre.settings import TrainSettings
from lmtools.hyre.tuned import TunedBackbone
from lmtools.models.chat import Message
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import AnsweredPrompt
from lmtools.models.files import fingerprint
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

WORDS = ["river", "stone", "cloud", "field", "road", "bell"]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def preferences(count=24):
    """Pairs of which the better answer says please."""
    some = [WORDS[i % 6] + " " + WORDS[i // 6 % 6] for i in range(count)]
    return [
        Preference(id=f"p{i}", prompt=f"About {it}?", chosen=f"A {it}, please.", rejected=f"A {it}, now.")
        for i, it in enumerate(some)
    ]


def recipe_of(model, features=None, **lora):
    settings = {"rank": 4, "epochs": 2, "batch": 4, "learning_rate": 5e-3, **lora}
    return HyreRecipe(
        model=ModelSpec(name=str(model), device="cpu"),
        heads=({"source": "pca", "count": 4},),
        features=features or FeatureSettings(),
        lora=LoraSettings(**settings),
    )


def setup_of(recipe, pairs=None):
    reader = open_features(recipe.model, recipe.features)
    return PairInputs(recipe, reader, tuple(pairs or preferences()), {}, {})


def open_run(directory, recipe, resume=False):
    return Run.create(directory, recipe, command=["lmtools"], inputs={}, resume=resume, seed=recipe.seed)


def losses(directory):
    points = [point for point in read_curves(directory / "training.jsonl") if point["part"] == "LoRA"]
    assert [point["step"] for point in points] == list(range(1, len(points) + 1))
    return [point["loss"] for point in points]


def tuned(directory, recipe, resume=False):
    with open_run(directory, recipe, resume) as run:
        return tuned_inputs(setup_of(recipe), run)


@pytest.fixture(scope="module")
def trained(tiny_llama, tmp_path_factory):
    """A run whose adapter is trained, uninterrupted, at one thread; and its recipe."""
    directory, recipe = tmp_path_factory.mktemp("lora") / "run", recipe_of(tiny_llama)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tuned(directory, recipe)
    torch.set_num_threads(threads)
    return directory, recipe


def test_the_loss_goes_down(tiny_llama, tmp_path):
    """By the matrices: the heads hardly move at this rate."""
    recipe = recipe_of(tiny_llama, epochs=10)
    still = recipe.model_copy(update={"train": TrainSettings(learning_rate=1e-6)})
    tuned(tmp_path / "run", still)
    found = losses(tmp_path / "run")
    assert len(found) == 60
    assert np.mean(found[-6:]) < 0.3 * np.mean(found[:6])


def test_the_adapter_changes_features_and_not_the_base(trained, tiny_llama, tmp_path):
    directory, recipe = trained
    before = fingerprint(tiny_llama)
    setup = tuned(tmp_path / "again", recipe)
    assert setup.recipe.model.adapter == str(tmp_path / "again" / "adapter")
    plain = setup_of(recipe).reader
    assert setup.reader.identity != plain.identity
    assert not np.allclose(
        setup.reader.read(answers(preferences()[:2])), plain.read(answers(preferences()[:2]))
    )
    assert fingerprint(tiny_llama) == before
    weights = load_file(directory / "adapter" / "adapter_model.safetensors")
    assert all(".lora_" in name for name in weights)
    assert all(weights[name].any() for name in weights if ".lora_B" in name)
    config = json.loads((directory / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_llama)
    assert config["target_modules"] == sorted(config["target_modules"])
    assert load(setup.recipe.model).model.peft_config


def test_it_is_the_same_every_time_and_only_read_when_finished(trained, tmp_path, monkeypatch):
    directory, recipe = trained
    tuned(tmp_path / "run", recipe)
    assert fingerprint(tmp_path / "run" / "adapter") == fingerprint(directory / "adapter")
    (tmp_path / "run" / "lora-state.safetensors").write_bytes(b"left by a kill at the very end")
    monkeypatch.setattr(module, "train_adapter", None)
    tuned(tmp_path / "run", recipe, resume=True)
    assert not (tmp_path / "run" / "lora-state.safetensors").exists()


@pytest.mark.parametrize("killed", [1, 5, 11])
def test_killed_and_resumed(trained, tmp_path, monkeypatch, killed):
    directory, recipe = trained
    monkeypatch.setattr(module, "STEPS_KEPT", 4)
    learn, done = module.Tuning.learn, []

    def until(tuning, pairs, share):
        if len(done) == killed:
            raise KeyboardInterrupt
        done.append(share)
        return learn(tuning, pairs, share)

    with monkeypatch.context() as patch:
        patch.setattr(module.Tuning, "learn", until)
        with pytest.raises(KeyboardInterrupt):
            tuned(tmp_path / "run", recipe)
    assert not (tmp_path / "run" / "adapter").exists()
    assert (tmp_path / "run" / "lora-state.safetensors").exists() == (killed >= 4)
    tuned(tmp_path / "run", recipe, resume=True)
    assert losses(tmp_path / "run") == losses(directory)
    assert fingerprint(tmp_path / "run" / "adapter") == fingerprint(directory / "adapter")
    assert not (tmp_path / "run" / "lora-state.safetensors").exists()


def test_a_broken_state(tiny_llama, tmp_path):
    recipe = recipe_of(tiny_llama)
    with open_run(tmp_path / "run", recipe) as run:
        run.path("lora-state.safetensors").write_bytes(b"nothing")
        with pytest.raises(RunError, match="no state of this training"):
            tuned_inputs(setup_of(recipe), run)


def test_from_training_to_rewards(trained, tmp_path):
    """`hyre train` on the adapted features, then the run as adapt, score and eval open it."""
    directory, recipe = trained
    shutil.copytree(directory, tmp_path / "run")
    with open_run(tmp_path / "run", recipe, resume=True) as run:
        run.finish(train(setup_of(recipe), run, "test"))
    found = trained_recipe(tmp_path / "run")
    assert found.model.adapter == str(tmp_path / "run" / "adapter")
    assert "adapter: null" in (tmp_path / "run" / "recipe.yaml").read_text()
    reward = open_reward(tmp_path / "run")
    with closing(reward.reader):
        said = [AnsweredPrompt((Message("user", "Hi?"),), text) for text in ("Yes, please.", "Yes, now.")]
        assert np.isfinite(reward(said)).all()
    shutil.rmtree(tmp_path / "run" / "adapter")
    with pytest.raises(ModelError, match="trained on other features"):
        open_reward(tmp_path / "run")


@pytest.mark.parametrize("settings", [FeatureSettings(), FeatureSettings(layers=(1, -1), pooling=("mean",))])
@pytest.mark.parametrize("batch_tokens", [64, 8192])
def test_features_are_those_of_the_reader(tiny_llama, settings, batch_tokens):
    """Before the first step; in portions of one pair or many, sharing prompts or not."""
    spec = ModelSpec(name=str(tiny_llama), device="cpu", batch_tokens=batch_tokens)
    long = " ".join(WORDS * 4)
    pairs = [*preferences(6), Preference(prompt=long, chosen="Yes.", rejected="No, it is not.")]
    backbone = TunedBackbone(spec, settings, 2, 0)
    texts = backbone.tokenised(answers(pairs))
    both = list(zip(texts[::2], texts[1::2], strict=True))
    expected = read_features(open_features(spec, settings), {"train": pairs}, "pairs")["train"]
    assert backbone.width == expected.chosen.shape[1]
    portions = list(backbone.portions(both))
    assert Counter(pair for some in portions for pair in some) == Counter(both)
    assert len(portions) == (7 if batch_tokens == 64 else 1)
    for some in portions:
        found = backbone.features([text for pair in some for text in pair])
        assert found.requires_grad
        for row, pair in zip(found[::2].detach().numpy(), some, strict=True):
            np.testing.assert_allclose(row, expected.chosen[both.index(pair)], rtol=1e-4, atol=1e-5)


def test_only_the_matrices_are_trained(tiny_llama):
    backbone = TunedBackbone(ModelSpec(name=str(tiny_llama), device="cpu"), FeatureSettings(), 2, 0)
    assert len(backbone.weights) == 2 * 2 * 7
    assert all(".lora_" in name for name in backbone.weights)


def test_portions_do_not_change_the_step(tiny_llama, tmp_path):
    """The gradient of a batch is that of its portions together."""
    found = []
    for tokens in (64, 8192):
        recipe = recipe_of(tiny_llama, epochs=1, pairs=4)
        recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"batch_tokens": tokens})})
        tuned(tmp_path / str(tokens), recipe)
        found.append(load_file(tmp_path / str(tokens) / "adapter" / "adapter_model.safetensors"))
    assert len(losses(tmp_path / "64")) == 1
    for name, value in found[0].items():
        assert torch.allclose(value, found[1][name], rtol=1e-2, atol=1e-5), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_reward_model(tiny_llama, tmp_path, dtype):
    """Its own head stays as it is, on the features that have moved."""
    model = LlamaForSequenceClassification.from_pretrained(tiny_llama, num_labels=1)
    shutil.copytree(tiny_llama, tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    recipe = recipe_of(tmp_path / "model", epochs=1, pairs=8)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"dtype": dtype})})
    plain, own = setup_of(recipe).reader, tuned(tmp_path / "run", recipe).reader
    np.testing.assert_array_equal(own.own_head, plain.own_head)
    some = answers(preferences(1))
    assert not np.allclose(own.read(some), plain.read(some), atol=1e-3)


def test_every_pair_once_an_epoch():
    made = batches(10, LoraSettings(epochs=2, batch=4), 3)
    assert [len(batch) for batch in made] == [4, 4, 2] * 2
    first, second = ([place for batch in epoch for place in batch] for epoch in (made[:3], made[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_an_inner_layer_leaves_the_layers_above_alone(tiny_llama, tmp_path):
    recipe = recipe_of(tiny_llama, FeatureSettings(layers=(1,)), epochs=1, pairs=4)
    tuned(tmp_path / "run", recipe)
    weights = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    moved = {name for name, value in weights.items() if ".lora_B" in name and value.any()}
    assert moved
    assert all(".layers.0." in name for name in moved)


def test_without_lora_nothing_changes(tiny_llama, tmp_path):
    recipe = recipe_of(tiny_llama).model_copy(update={"lora": None})
    setup = setup_of(recipe)
    with open_run(tmp_path / "run", recipe) as run:
        assert tuned_inputs(setup, run) is setup
    assert not (tmp_path / "run" / "training.jsonl").exists()


def test_a_model_with_an_adapter(tiny_llama, tmp_path):
    adapter = save_adapter(tiny_llama, tmp_path / "adapter")
    for spec in ({"name": str(tiny_llama), "adapter": str(adapter)}, {"name": str(adapter)}):
        recipe = HyreRecipe(model=ModelSpec(device="cpu", **spec), lora=LoraSettings())
        for refuses in (check_lora, prepare, lambda recipe: dry_run(recipe, targets=False)):
            with pytest.raises(RecipeError, match="has an adapter already") as caught:
                refuses(recipe)
            assert "lora=null" in caught.value.fix


@pytest.mark.parametrize("backend", ["vllm", "server"])
def test_a_backend_that_cannot_be_trained(tiny_llama, backend):
    recipe = recipe_of(tiny_llama)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"backend": backend})})
    with pytest.raises(ModelError, match="cannot be trained") as caught:
        check_lora(recipe)
    assert "model.backend=hf" in caught.value.fix


def test_a_loss_that_is_not_a_number(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "bradley_terry", lambda margins: margins.sum() * torch.nan)
    with pytest.raises(ModelError, match="not a number") as caught:
        tuned(tmp_path / "run", recipe_of(tiny_llama))
    assert "lora.learning_rate" in caught.value.fix


def test_too_little_memory(tiny_llama, tmp_path, monkeypatch):
    def full(*_):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TunedBackbone, "features", full)
    with pytest.raises(MachineError, match="memory is not enough"):
        tuned(tmp_path / "run", recipe_of(tiny_llama))
