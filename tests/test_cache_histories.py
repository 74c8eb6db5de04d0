"""What a command writes does not depend on what the cache held before it, to the last bit."""

import random

import pytest
from small_world import write_recipe
from tiny_fit import run_fit
from tiny_fit import tiny_recipe as ats_recipe
from tiny_hyre import crowd, run_train, write
from tiny_hyre import tiny_recipe as hyre_recipe

from lmtools.generation.hf import HfGenerator
from lmtools.generation.open import on_disk
from lmtools.generation.protocol import Sampling
from lmtools.leret import api as leret
from lmtools.models.chat import AnsweredPrompt, Message
from lmtools.models.feature_settings import FeatureSettings
from lmtools.models.features import FeatureCache, FeatureReader
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec

LONG = "Which river flows through the capital of France, and which ones flow into it? " * 2
PROMPTS = [LONG, "Name a river.", LONG + "Why?"]
ANSWERS = ["The Seine.", "No.", "The Loire, which is the longest of them, and the Rhine."]
TEXTS = [AnsweredPrompt((Message("user", prompt),), answer) for prompt in PROMPTS for answer in ANSWERS]


def history(seed):
    """Two earlier requests, and the order of the one that follows."""
    chance = random.Random(seed)
    return [chance.sample(TEXTS, 6), chance.sample(TEXTS, 4)], chance.sample(TEXTS, len(TEXTS))


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


def new_cache(tmp_path_factory, patch):
    patch.setenv("LMTOOLS_CACHE", str(tmp_path_factory.mktemp("cache")))


def reader(model, **spec):
    return FeatureReader(ModelSpec(name=str(model), device="cpu", **spec), FeatureSettings())


@pytest.mark.parametrize("seed", range(3))
def test_a_row_of_features_depends_on_its_text_alone(tiny_llama, tmp_path_factory, monkeypatch, seed):
    before, order = history(seed)
    fresh = reader(tiny_llama).read(TEXTS)
    new_cache(tmp_path_factory, monkeypatch)
    reading = reader(tiny_llama, batch_tokens=100)
    for texts in before:
        reading.read(texts)
    rows = reading.read(order)
    assert rows.tobytes() == fresh[[TEXTS.index(text) for text in order]].tobytes()


@pytest.mark.parametrize("seed", range(2))
def test_a_request_that_is_read_in_batches_is_read_as_if_it_were_the_first(
    tiny_llama, tmp_path_factory, monkeypatch, seed
):
    monkeypatch.setattr(FeatureReader, "_alone", False)  # as on a GPU
    fresh = reader(tiny_llama, batch_tokens=120).read(TEXTS)
    new_cache(tmp_path_factory, monkeypatch)
    reading = reader(tiny_llama, batch_tokens=120)
    for texts in history(seed)[0]:
        reading.read(texts)
    assert reading.read(TEXTS).tobytes() == fresh.tobytes()


@pytest.mark.parametrize("alone", [True, False])
def test_a_request_that_was_stopped_between_batches(tiny_llama, tmp_path_factory, monkeypatch, alone):
    monkeypatch.setattr(FeatureReader, "_alone", alone)
    monkeypatch.setattr("lmtools.models.pooling.MOST_ON_CPU", 150)
    fresh = reader(tiny_llama, batch_tokens=120).read(TEXTS)
    new_cache(tmp_path_factory, monkeypatch)
    write, calls = FeatureCache.write, []

    def stopped(cache, keys, values):
        write(cache, keys, values)
        calls.append(keys)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FeatureCache, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        reader(tiny_llama, batch_tokens=120).read(TEXTS)
    assert reader(tiny_llama, batch_tokens=120).read(TEXTS).tobytes() == fresh.tobytes()
    kept = [key for keys in calls for key in keys]
    assert sorted(kept) == sorted(set(kept))  # nothing was computed twice


def test_answers_to_a_call_are_those_of_an_empty_cache(loaded, tmp_path_factory, monkeypatch):
    drawn, answers = Sampling(max_tokens=6, temperature=1.0), []
    for before in ([], [PROMPTS[:1], PROMPTS[1:], PROMPTS[::-1]]):
        new_cache(tmp_path_factory, monkeypatch)
        generator = on_disk(HfGenerator.from_loaded(loaded), "cpu", 8192)
        for prompts in before:
            generator.generate(prompts, drawn, 2)
            generator.score([(prompt, " a river") for prompt in prompts])
            generator.options(prompts, ["A", "B"])
        answers.append(
            (
                generator.generate(PROMPTS, drawn, 2),
                generator.score([(prompt, " a river") for prompt in PROMPTS]),
                generator.options(PROMPTS, ["A", "B"]),
            )
        )
    assert answers[0] == answers[1]


def files_of(folder, *names):
    """The bytes of some files, and of all files in some folders."""
    files = [file for name in names for file in sorted([*folder.glob(name), *folder.glob(f"{name}/**/*")])]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files if file.is_file()}


def test_ensembles_after_runs_on_fewer_pairs(tiny_llama, tmp_path, tmp_path_factory, monkeypatch):
    pairs = [{**row, "prompt": LONG + row["prompt"], "rejected": "No."} for row in crowd()]
    write(tmp_path / "train.jsonl", pairs)
    recipe = hyre_recipe(tiny_llama, tmp_path, compare=[])
    run_train(recipe, tmp_path / "fresh")
    new_cache(tmp_path_factory, monkeypatch)
    for limit in (2, 3):
        fewer = hyre_recipe(tiny_llama, tmp_path, compare=[], data={"train_limit": limit})
        run_train(fewer, tmp_path / str(limit))
    run_train(recipe, tmp_path / "after")
    fresh = files_of(tmp_path / "fresh", "ensemble")
    assert fresh
    assert files_of(tmp_path / "after", "ensemble") == fresh


def test_heads_after_a_run_with_other_batches(tiny_llama, tmp_path, tmp_path_factory, monkeypatch):
    def recipe(tokens, **data):
        model = {"name": str(tiny_llama), "device": "cpu", "batch_tokens": tokens}
        return ats_recipe(tiny_llama, tmp_path, data=data).model_copy(update={"model": ModelSpec(**model)})

    run_fit(recipe(8192), tmp_path / "fresh")
    new_cache(tmp_path_factory, monkeypatch)
    run_fit(recipe(100), tmp_path / "small")
    run_fit(recipe(8192, limit=6), tmp_path / "fewer")
    run_fit(recipe(8192), tmp_path / "after")
    fresh = files_of(tmp_path / "fresh", "head", "baselines.json", "tokens.jsonl")
    assert fresh
    assert files_of(tmp_path / "after", "head", "baselines.json", "tokens.jsonl") == fresh


def test_exploration_after_one_with_other_chunks(tiny_llama, tmp_path, tmp_path_factory, monkeypatch):
    recipe = str(write_recipe(tmp_path / "world", tiny_llama, {"hop.max_query_tokens": 8}))
    leret.run_exploration(recipe, tmp_path / "fresh")
    new_cache(tmp_path_factory, monkeypatch)
    leret.run_exploration(recipe, tmp_path / "other", ["explore.chunk=3"])
    leret.run_exploration(recipe, tmp_path / "after")
    fresh = files_of(tmp_path / "fresh", "samples.jsonl", "sft.jsonl", "preferences.jsonl")
    assert fresh
    assert files_of(tmp_path / "after", "samples.jsonl", "sft.jsonl", "preferences.jsonl") == fresh
