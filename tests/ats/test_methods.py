"""What a run holds, and what is said when a piece is missing, broken or of another run."""

import json
import shutil

import pytest
import torch
from small_run import NAMES, some_baselines, write_run

from lmtools.ats.artefact import (
    BaseInfo,
    Baselines,
    in_order,
    load_baselines,
    load_methods,
    save_baselines,
    save_head,
)
from lmtools.ats.baselines import VectorScaling, save_vector
from lmtools.ats.heads import build_head
from lmtools.ats.recipe import HeadConfig, base_shape
from lmtools.core.errors import ModelError, RecipeError, RunError
from lmtools.models.load import LoadedModel, load
from lmtools.models.spec import ModelSpec


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


@pytest.fixture
def run(tmp_path, loaded):
    return write_run(tmp_path / "run", loaded)


def test_a_run_has_every_method_in_the_order_of_tables(run, loaded):
    methods = load_methods(run, loaded)
    assert methods.names == NAMES
    assert set(methods.digests) == set(NAMES) - {"uncalibrated"}
    assert methods.scalars == {"scalar (NLL)": -0.125}
    assert methods.maps["Platt"](0.5) == pytest.approx(1 / (1 + 2.718281828**0.25))


def test_a_head_directory_stands_for_that_head(run, loaded):
    assert load_methods(run / "head", loaded).names == ("uncalibrated", "transformer")
    assert load_methods(run / "heads" / "mlp").names == ("uncalibrated", "mlp")


def test_some_of_the_methods(run):
    methods = load_methods(run)
    some = methods.only(("mlp", "Platt", "vector scaling"))
    assert some.names == ("uncalibrated", "vector scaling", "Platt", "mlp")
    assert some.digests == {name: methods.digests[name] for name in some.names[1:]}
    assert methods.only(()) is methods
    assert methods.only(("uncalibrated",)).names == ("uncalibrated",)
    with pytest.raises(RecipeError, match="did you mean 'transformer'"):
        methods.only(("transfomer",))


def test_names_that_no_table_knows_come_last():
    assert in_order({"zebra", "linear", "uncalibrated", "scalar (NLL)"}) == (
        "uncalibrated", "scalar (NLL)", "linear", "zebra",
    )  # fmt: skip


def test_the_name_of_a_scalar_tells_its_loss(tmp_path, loaded):
    shape, base = base_shape(loaded.model.config), BaseInfo.of("tiny", loaded.identity)
    save_head(build_head(HeadConfig(kind="scalar"), shape), tmp_path, base, {"name": "cross_entropy"})
    assert load_methods(tmp_path).names == ("uncalibrated", "scalar (NLL)")


def test_the_digest_follows_the_content(run, loaded):
    before = load_methods(run)
    baselines = load_baselines(run)
    save_baselines(Baselines({"scalar (NLL)": -0.126}, baselines.maps, baselines.vector), run)
    after = load_methods(run)
    changed = {name for name in after.digests if after.digests[name] != before.digests[name]}
    assert changed == {"scalar (NLL)"}


def test_baselines_come_back_from_their_files(tmp_path):
    baselines = some_baselines(12)
    save_baselines(baselines, tmp_path)
    back = load_baselines(tmp_path)
    assert (back.scalars, back.maps) == (baselines.scalars, baselines.maps)
    assert torch.equal(back.vector.weight, baselines.vector.weight)
    save_baselines(Baselines(), tmp_path / "none")
    assert load_baselines(tmp_path / "none") == Baselines()
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["baselines.json"]


def test_a_run_that_did_not_finish_is_told(run, loaded):
    (run / "baselines.json").unlink()
    with pytest.raises(ModelError, match=r"has no baselines\.json: its fit did not finish\n  fix: finish it"):
        load_methods(run, loaded)
    shutil.rmtree(run / "head")
    with pytest.raises(ModelError, match="holds no head"):
        load_methods(run, loaded)


@pytest.mark.parametrize(
    "content",
    [
        "{", "[]", '{"format": 2}', '{"format": 1, "scalars": {"x": NaN}}', '{"format": 1, "other": 1}',
        '{"format": 1, "maps": {"Platt": {"kind": "logistic", "slope": -1, "intercept": 0}}}',
    ],
)  # fmt: skip
def test_broken_baselines_are_told(run, content):
    (run / "baselines.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match=r"baselines\.json holds no baselines"):
        load_methods(run)


def test_a_vector_scaling_of_another_run_is_told(run):
    save_vector(VectorScaling(torch.ones(3), torch.zeros(3)), run / "vector.safetensors")
    with pytest.raises(ModelError, match="is not the one that"):
        load_methods(run)
    (run / "vector.safetensors").unlink()
    with pytest.raises(ModelError, match="is no vector scaling"):
        load_methods(run)


def test_a_vector_scaling_of_another_vocabulary_is_told(run):
    save_baselines(some_baselines(7), run)
    with pytest.raises(ModelError, match="for 7 vocabulary entries, and the model has"):
        load_methods(run)


def test_two_heads_of_one_name_are_told(run):
    shutil.copytree(run / "head", run / "heads" / "again")
    with pytest.raises(RunError, match="both a head called 'transformer'"):
        load_methods(run)


def test_another_model_is_told(run, loaded):
    other = LoadedModel(loaded.model, loaded.tokenizer, "0123456789abcdef@float32", "cpu")
    with pytest.raises(ModelError, match="with other weights"):
        load_methods(run, other)


def test_the_file_can_be_read_by_anyone(run):
    value = json.loads((run / "baselines.json").read_text(encoding="utf-8"))
    assert value["scalars"] == {"scalar (NLL)": -0.125}
    assert value["maps"]["isotonic"] == {"kind": "line", "x": [0.0, 1.0], "y": [0.2, 0.6]}
    assert len(value["vector"]) == 64
