"""Which precision ``auto`` is, on processors and GPUs that are faked, and where the choice is written."""

import json

import pytest
import torch
from quiz import choice_records, write_lines

from lmtools.cli import app
from lmtools.core.config import Config
from lmtools.core.errors import LmtoolsError, ModelError
from lmtools.core.files import cache_dir
from lmtools.core.recipe import list_recipes
from lmtools.core.recipe_yaml import parse_yaml
from lmtools.generation.hf import HfGenerator
from lmtools.hyre.tuned import trained_at
from lmtools.leret.recipe import LeretRecipe
from lmtools.leret.train import mixed_precision
from lmtools.leret.trainer import common_arguments
from lmtools.models import precision
from lmtools.models.files import weights_gib
from lmtools.models.load import base_model, load
from lmtools.models.spec import ModelSpec

EMULATED = {"float32": 34.7, "bfloat16": 1.2, "float16": 1.0}
NATIVE = {"float32": 35.0, "bfloat16": 70.0, "float16": 20.0}


@pytest.fixture(autouse=True)
def as_users_have_it(monkeypatch):
    monkeypatch.delenv("LMTOOLS_DTYPE")
    precision._warn_if_emulated.cache_clear()


@pytest.fixture
def processor(monkeypatch):
    """Makes the processor one of given rates; returns what was measured, call by call."""
    measured = []

    def fake(rates):
        monkeypatch.setattr(
            precision, "measure_matmul", lambda dtype, device: measured.append(dtype) or rates[dtype]
        )
        return measured

    return fake


@pytest.mark.parametrize(
    ("single", "half", "dtype", "reason"),
    [
        (34.7, 1.2, "float32", "bfloat16 is 29 times slower on this processor (1.2 against 34.7 GFLOP/s)"),
        (30.0, 33.0, "float32", "bfloat16 is no faster on this processor (33 against 30 GFLOP/s)"),
        (30.0, 0.0, "float32", "this processor has no bfloat16"),
        (30.0, 36.0, "bfloat16", "1.2 times as fast as float32 on this processor (36 against 30 GFLOP/s)"),
        (35.0, 70.0, "bfloat16", "2.0 times as fast as float32 on this processor (70 against 35 GFLOP/s)"),
    ],
)
def test_a_processor_takes_bfloat16_only_where_it_is_faster(processor, single, half, dtype, reason):
    processor({"float32": single, "bfloat16": half})
    choice = precision.default_precision("cpu")
    assert (choice.dtype, choice.reason) == (dtype, reason)
    assert precision.resolve_dtype(ModelSpec(device="cpu")).dtype == dtype
    assert precision.describe_precision(ModelSpec(device="cpu")) == f"{dtype}: {reason}"


def test_it_is_measured_once_for_a_processor_and_what_masks_it(processor, monkeypatch):
    measured = processor(EMULATED)
    for _ in range(3):
        precision.default_precision("cpu")
    assert measured == ["float32", "bfloat16"] * 2  # in turns
    assert precision.matmul_rates("cpu", ("float32", "float16")) == {"float32": 34.7, "float16": 1.0}
    assert measured[4:] == ["float16"] * 2
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    precision.default_precision("cpu")
    assert measured[6:] == ["float32", "bfloat16"] * 2
    precision.matmul_rates("cpu", ("float32",), fresh=True)
    assert measured[10:] == ["float32"] * 2


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"gflops": {"float32": "x"}}', '{"gflops": 3}'])
def test_a_damaged_file_of_rates_is_measured_again(processor, damage):
    measured = processor(EMULATED)
    precision.default_precision("cpu")
    [file] = cache_dir("precision").iterdir()
    file.write_text(damage)
    assert precision.default_precision("cpu").dtype == "float32"
    assert len(measured) == 8


def test_without_a_cache_it_is_measured_once_in_a_process(processor, monkeypatch, tmp_path):
    measured = processor(EMULATED)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LMTOOLS_CACHE", str(tmp_path / "file"))
    assert precision.default_precision("cpu").dtype == "float32"
    assert precision.default_precision("cpu").dtype == "float32"
    assert len(measured) == 4


@pytest.mark.parametrize(
    ("capability", "hip", "dtype"),
    [
        ((9, 0), None, "bfloat16"),
        ((8, 0), None, "bfloat16"),
        ((7, 5), None, "float16"),
        ((9, 4), "6", "bfloat16"),
    ],
)
def test_a_gpu_takes_bfloat16_where_it_is_native_else_float16(monkeypatch, capability, hip, dtype):
    monkeypatch.setattr(precision, "pick_device", lambda name: "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA X")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.version, "hip", hip)
    monkeypatch.setattr(precision, "measure_matmul", None)  # nothing is measured
    choice = precision.default_precision("auto")
    assert choice.dtype == dtype
    assert "NVIDIA X" in choice.reason
    assert precision.resolve_dtype(ModelSpec(dtype="bfloat16")).dtype == "bfloat16"


def test_a_precision_by_name_is_obeyed_and_what_it_costs_said_once(processor, capsys):
    processor(EMULATED)
    for _ in range(2):
        assert precision.resolve_dtype(ModelSpec(dtype="bfloat16", device="cpu")).dtype == "bfloat16"
    said = capsys.readouterr().err
    assert said.count("warning") == 1
    assert "29 times slower than float32 here (1.2 against 34.7 GFLOP/s)" in said
    described = precision.describe_precision(ModelSpec(dtype="bfloat16", device="cpu"))
    assert described.startswith("bfloat16: named; auto is float32 here: bfloat16 is 29 times slower")


def test_a_precision_that_is_not_there_is_left_to_the_model_library(processor, capsys):
    processor({"float32": 30.0, "float16": 0.0})
    assert precision.resolve_dtype(ModelSpec(dtype="float16", device="cpu")).dtype == "float16"
    assert capsys.readouterr().err == ""


def test_another_processor_of_the_same_name_is_measured_too(processor, monkeypatch):
    measured = processor(EMULATED)
    precision.default_precision("cpu")
    monkeypatch.setattr(precision, "cpu_features", lambda: "avx2 avx512_bf16")
    precision.default_precision("cpu")
    assert len(measured) == 8


def test_no_warning_where_it_costs_nothing(processor, capsys):
    processor(NATIVE)
    precision.resolve_dtype(ModelSpec(dtype="bfloat16", device="cpu"))
    precision.resolve_dtype(ModelSpec(dtype="float32", device="cpu"))
    assert capsys.readouterr().err == ""


def test_a_server_has_a_precision_of_its_own(processor):
    measured = processor(EMULATED)
    assert precision.resolve_dtype(ModelSpec(backend="server")).dtype == "float32"
    assert precision.resolve_dtype(ModelSpec(dtype="float16", backend="server")).dtype == "float16"
    assert precision.describe_precision(ModelSpec(backend="server")) == "the server's own"
    assert measured == []


def test_a_model_for_a_device_that_is_not_here_can_be_planned(processor, tiny_llama):
    """And is an error where it is loaded."""
    processor(EMULATED)
    spec = ModelSpec(name=str(tiny_llama), device="cuda:7")
    assert precision.resolve_dtypes(LeretRecipe(model=spec)).model.dtype == "auto"
    assert precision.describe_precision(spec) == "auto: this machine has no cuda:7"
    assert weights_gib(spec) == weights_gib(spec.model_copy(update={"dtype": "bfloat16"}))
    with pytest.raises(ModelError, match="cuda:7"):
        load(spec)


def test_a_run_on_another_processor_says_how_to_go_on(processor, monkeypatch, tmp_path, tiny_llama, capsys):
    processor(NATIVE)
    monkeypatch.chdir(tmp_path)
    task = write_lines(tmp_path / "choices.jsonl", choice_records(4))
    options = ["--model", str(tiny_llama), "--task", str(task), "--out", "run"]
    settings = ["model.device=cpu", "chat=true", "resamples=100"]
    command = [
        "eval",
        "calibration",
        *options,
        *(word for setting in settings for word in ("--set", setting)),
    ]
    assert app.run(command) == 0
    (tmp_path / "run" / "metrics.json").unlink()
    processor(EMULATED)
    for file in cache_dir("precision").iterdir():
        file.unlink()
    capsys.readouterr()
    assert app.run([*command, "--resume"]) == 2
    assert "go on at its own precision: --set model.dtype=bfloat16" in capsys.readouterr().err
    assert app.run([*command, "--resume", "--set", "model.dtype=bfloat16"]) == 0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["precision"]["model"].startswith("bfloat16: 2.0 times")


def test_what_is_trained_at_float16_is_trained_at_float32():
    assert trained_at(ModelSpec(dtype="float16", device="cpu")).dtype == "float32"
    assert trained_at(ModelSpec(dtype="bfloat16", device="cpu")).dtype == "bfloat16"


def test_the_environment_goes_before_the_measurement(processor, monkeypatch):
    measured = processor(EMULATED)
    monkeypatch.setenv("LMTOOLS_DTYPE", "bfloat16")
    assert precision.default_precision("cpu") == precision.Precision("bfloat16", "LMTOOLS_DTYPE names it")
    monkeypatch.setenv("LMTOOLS_DTYPE", "auto")
    with pytest.raises(LmtoolsError, match="LMTOOLS_DTYPE=auto is none of float32, bfloat16, float16"):
        precision.default_precision("cpu")
    assert measured == []


def test_every_model_of_a_recipe_is_resolved(processor):
    processor(NATIVE)
    recipe = LeretRecipe(model=ModelSpec(device="cpu"), answerer=ModelSpec(device="cpu", dtype="float32"))
    resolved = precision.resolve_dtypes(recipe)
    assert (resolved.model.dtype, resolved.answerer.dtype) == ("bfloat16", "float32")
    assert set(precision.describe_precisions(resolved)) == {"model", "answerer"}
    assert precision.resolve_dtypes(Config()) == Config()


def test_the_products_are_measured_for_real():
    assert precision.measure_matmul("float32", "cpu") > 0
    assert precision.measure_matmul("float32", "no such device") == 0


def test_no_packaged_recipe_names_a_precision():
    for info in list_recipes():
        data = parse_yaml(info.path.read_text(encoding="utf-8"), info.name)
        assert "dtype" not in (data.get("model") or {}), info.name
    assert ModelSpec().dtype == "auto"


def test_the_choice_stands_in_plan_manifest_recipe_and_results(
    processor, monkeypatch, tmp_path, tiny_llama, capsys
):
    processor(EMULATED)
    monkeypatch.chdir(tmp_path)
    task = write_lines(tmp_path / "choices.jsonl", choice_records(4))
    command = [
        "eval",
        "calibration",
        "--model",
        str(tiny_llama),
        "--task",
        str(task),
        "--set",
        "model.device=cpu",
    ]
    why = "float32: bfloat16 is 29 times slower on this processor (1.2 against 34.7 GFLOP/s)"
    assert app.run([*command, "--dry-run", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["precision"] == why
    assert app.run([*command, "--dry-run"]) == 0
    assert f"precision: {why}" in capsys.readouterr().err
    assert app.run([*command, "--out", "run", "--set", "resamples=100", "--set", "chat=true"]) == 0
    read = {
        name: json.loads((tmp_path / "run" / name).read_text()) for name in ("manifest.json", "metrics.json")
    }
    assert read["manifest.json"]["precision"] == {"model": why}
    assert read["metrics.json"]["machine"]["precision"] == {"model": "float32"}
    assert parse_yaml((tmp_path / "run" / "recipe.yaml").read_text(), "")["model"]["dtype"] == "float32"
    assert "bfloat16 is 29 times slower" in (tmp_path / "run" / "report.html").read_text()


def test_logits_that_are_measured_are_float32_at_every_precision(tiny_llama):
    """At bfloat16 they would be multiples of a step; the model, and what is greedy for it, stay the same."""
    spec = ModelSpec(name=str(tiny_llama), device="cpu", dtype="bfloat16")
    stepped, fine = HfGenerator(spec), HfGenerator(spec, float32_logits=True)
    loaded = load(spec)
    ids = loaded.tokenizer("Which river", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        states = loaded.model.get_decoder()(ids)[0][0, -1].float()
        expected = states @ loaded.model.get_output_embeddings().weight.float().T
    options = list("abcdef")
    tokens = [loaded.tokenizer(option)["input_ids"][0] for option in options]
    logprobs = (expected - expected.logsumexp(0))[tokens]
    [measured] = fine.options(["Which river"], options)
    assert torch.tensor(measured) == pytest.approx(logprobs, abs=0.02)  # attention of ours against theirs
    logits = fine._model.get_output_embeddings()(states.bfloat16())
    assert logits.dtype == torch.float32
    assert torch.equal(logits, expected)
    assert not torch.equal(logits, logits.bfloat16().float())
    assert base_model(fine._model).get_input_embeddings().weight.dtype == torch.bfloat16
    assert fine.identity == f"{stepped.identity} logits float32"
    single = ModelSpec(name=str(tiny_llama), device="cpu", dtype="float32")
    assert HfGenerator(single, float32_logits=True).identity == HfGenerator(single).identity


@pytest.mark.parametrize(
    ("dtype", "full", "device", "mixed"),
    [
        ("float32", True, "cuda", None),
        ("bfloat16", False, "cuda", None),
        ("bfloat16", True, "cpu", "bf16"),
        ("float16", False, "cuda", "fp16"),
        ("float16", True, "cuda", "fp16"),
        ("float16", True, "cpu", None),
    ],
)
def test_gradients_of_float16_are_scaled(dtype, full, device, mixed):
    assert mixed_precision(ModelSpec(dtype=dtype), full, device) == mixed


@pytest.mark.parametrize("mixed", [None, "bf16", "fp16"])
def test_the_trainer_is_told(mixed, tmp_path):
    train = LeretRecipe().train
    arguments = common_arguments(train, train.sft, tmp_path, 0, "cuda", mixed)
    assert (arguments["bf16"], arguments["fp16"]) == (mixed == "bf16", mixed == "fp16")
