"""What is told before the model is loaded: whether a head fits it, and names that nothing goes by."""

import json

import pytest
from quiz import choice_records, write_lines
from small_run import write_run
from tiny import save_tiny_llama
from transformers import AutoModelForCausalLM

from lmtools.ats.artefact import check_fits, load_methods
from lmtools.calibration.dry_run import dry_run
from lmtools.calibration.recipe import CalibrationRecipe
from lmtools.cli.app import run
from lmtools.core.errors import MachineError, ModelError, RecipeError
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec


@pytest.fixture
def fitted(tmp_path, tiny_llama):
    return write_run(tmp_path / "fitted", load(ModelSpec(name=str(tiny_llama), device="cpu")))


@pytest.fixture
def measure(tmp_path, tiny_llama, fitted, monkeypatch, capsys):
    """``measure(...)``: (exit code, stdout, stderr) where loading a model fails the test."""
    monkeypatch.chdir(tmp_path)
    loaded = classmethod(lambda *_, **__: pytest.fail("the model was loaded"))
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", loaded)
    task = write_lines(tmp_path / "towns.jsonl", choice_records())
    fixed = ["eval", "calibration", "--task", task, "--set", "chat=true", "--set", "model.device=cpu"]

    def call(*arguments, model=tiny_llama):
        capsys.readouterr()
        code = run([str(part) for part in (*fixed, *arguments, "--model", model)])
        return code, *capsys.readouterr()

    return call


def test_a_head_on_its_own_model_leaves_nothing_unchecked(measure, fitted):
    code, out, err = measure("--head", fitted, "--dry-run", "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert (plan["unchecked"], plan["notes"]) == ([], [])


@pytest.mark.parametrize("part", ["", "head"])
def test_other_weights_of_the_same_shape_are_told_in_the_plan(measure, fitted, tmp_path, part):
    other = save_tiny_llama(tmp_path / "other", seed=1)
    code, _, err = measure("--head", fitted / part, "--dry-run", model=other)
    assert code == 2
    assert "same shape with other weights" in err


def test_another_head_of_the_run_is_checked_too(fitted, tiny_llama):
    path = fitted / "heads" / "mlp" / "head.json"
    settings = json.loads(path.read_text())
    settings["base"]["digest"] = "0" * 16
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="mlp was fitted on tiny"):
        check_fits(fitted, ModelSpec(name=str(tiny_llama)))


def test_of_a_hub_model_the_sizes_are_compared(fitted, tiny_llama, tmp_path, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(tiny_llama))
    with pytest.raises(MachineError, match="the sizes agree"):
        check_fits(fitted, ModelSpec(name="some/model"))
    path = fitted / "head" / "head.json"
    settings = json.loads(path.read_text())
    settings["shape"]["hidden"] = 33
    path.write_text(json.dumps(settings))
    with pytest.raises(ModelError, match="another shape"):
        check_fits(fitted, ModelSpec(name="some/model"))


def test_what_a_machine_lacks_for_the_head_is_said(tiny_llama, tmp_path):
    def offline():
        raise MachineError("no route", fix="connect")

    task = str(write_lines(tmp_path / "towns.jsonl", choice_records()))
    recipe = CalibrationRecipe(tasks=[task], chat=True, head="runs/ats", model={"name": str(tiny_llama)})
    assert dry_run(recipe, check_head=offline).unchecked == ("whether runs/ats fits the model: no route",)


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_an_unknown_method_is_told_with_the_near_one(measure, fitted, dry):
    code, _, err = measure("--head", fitted, "--set", "methods=[isotonik]", *dry)
    assert code == 2
    assert "'isotonik' is none of the methods that were fitted" in err
    assert "did you mean 'isotonic'?" in err


@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_methods_without_a_head(measure, dry):
    code, _, err = measure("--set", "methods=[transformer]", *dry)
    assert code == 2
    assert "methods: 'transformer' is none of those that can be measured: uncalibrated" in err
    assert "--head RUN" in err


def test_names_to_compare_with_that_are_not_measured(measure, fitted):
    chosen = ("--set", "methods=[transformer]", "--set", "compare=[transformer, Platt]")
    code, _, err = measure("--head", fitted, *chosen, "--dry-run")
    assert code == 0, err
    assert "note: compare: 'Platt' will not be measured (uncalibrated, transformer)" in err


def test_methods_of_a_run_and_of_a_head(fitted):
    assert load_methods(fitted).only(("mlp", "Platt")).names == ("uncalibrated", "Platt", "mlp")
    assert load_methods(fitted / "head").names == ("uncalibrated", "transformer")
    with pytest.raises(RecipeError):
        load_methods(fitted / "head").only(("Platt",))
