"""What a dry run does without: weights, a dense index, and whatever cannot be reached."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from lmtools.core.errors import DataError, MachineError
from lmtools.core.recipe import load_recipe
from lmtools.leret.dry_run import dry_run, print_dry_run
from lmtools.leret.recipe import LeretRecipe
from lmtools.models import files
from lmtools.models.spec import ModelSpec


def planned(file, *settings):
    return dry_run(load_recipe(LeretRecipe, str(file), settings, default=""))


def test_all_is_checked_where_all_is_at_hand(tiny_recipe, capsys):
    plan = planned(tiny_recipe())
    assert plan.unchecked == ()
    assert plan.weights_gib is not None
    print_dry_run(plan)
    assert "everything checks out" in capsys.readouterr().err


def test_a_dense_index_is_not_built(tiny_recipe):
    plan = planned(tiny_recipe({"retriever": {"kind": "dense", "encoder": "nowhere"}}))
    assert len(plan.prompts) == 2
    assert "Anna Berg was a painter" in plan.prompts[1]
    assert len(plan.unchecked) == 1
    assert "dense index" in plan.unchecked[0]


def test_a_service_that_is_down_is_said(tiny_recipe, capsys):
    retriever = {"kind": "http", "url": "http://127.0.0.1:9/search", "retries": 0}
    plan = planned(tiny_recipe({"retriever": retriever, "data.corpus": None}))
    assert len(plan.prompts) == 1
    assert any(line.startswith("the search: http://127.0.0.1:9") for line in plan.unchecked)
    assert any(line.startswith("the gold titles") for line in plan.unchecked)
    print_dry_run(plan)
    assert "all else checks out" in capsys.readouterr().err


def test_without_a_network_a_hub_model_is_left_unchecked(tiny_recipe, monkeypatch):
    import huggingface_hub

    def offline(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", offline)
    file = tiny_recipe()
    plan = planned(file, "model.name=some/model")
    assert plan.questions == {"train": 5, "test": 3}
    assert plan.generations["exploring"] > 0
    assert [line.partition(":")[0] for line in plan.unchecked] == ["the tokenizer", "the model's size"]
    assert plan.weights_gib is None
    with pytest.raises(DataError):  # what is wrong here stays wrong
        planned(file, "model.name=some/model", "data.train=nowhere.jsonl")


def test_of_a_hub_model_no_weights_are_fetched(tiny_llama, monkeypatch):
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    there = [path.name for path in Path(tiny_llama).iterdir()]
    fetched = []

    def snapshot(name, allow_patterns, ignore_patterns):
        fetched.extend(
            filter_repo_objects(there, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns)
        )
        return str(tiny_llama)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert files.resolve_without_weights(ModelSpec(name="some/model")).path == tiny_llama
    assert {"config.json", "tokenizer.json"} <= set(fetched)
    assert not [name for name in fetched if name.endswith(".safetensors")]
    fetched.clear()
    files.resolve(ModelSpec(name="some/model"))
    assert "model.safetensors" in fetched


def test_the_size_of_a_hub_model_comes_from_its_heads(monkeypatch):
    import huggingface_hub

    metadata = SimpleNamespace(parameter_count={"BF16": 7, "F32": 2})

    monkeypatch.setattr(huggingface_hub, "get_safetensors_metadata", lambda name: metadata)
    assert files.parameters(ModelSpec(name="some/model")) == 9
    with pytest.raises(MachineError), files.hub_errors("some/model"):
        raise TimeoutError("slow")
