"""``lmtools generate --calibrated``: confidences from a head's probabilities, and bad input."""

import json
import math

import pytest
import torch
from tiny_heads import fitted

from lmtools.ats.artefact import BaseInfo, save_head
from lmtools.ats.recipe import base_shape
from lmtools.cli.app import run
from lmtools.cli.generate import row, texts
from lmtools.core.files import write_jsonl
from lmtools.generation.protocol import Completion
from lmtools.generation.requests import Request
from lmtools.models.load import load
from lmtools.models.spec import ModelSpec


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    return load(ModelSpec(name=str(tiny_llama), device="cpu"))


@pytest.fixture
def run_directory(loaded, tmp_path):
    """A run of `lmtools ats fit`, as far as its head goes."""
    head = fitted(base_shape(loaded.model.config))
    save_head(head, tmp_path / "run" / "head", BaseInfo.of("tiny", loaded.identity), {})
    return tmp_path / "run"


@pytest.fixture
def ask(tiny_llama, tmp_path, capsys):
    """Runs the command on two prompts; gives the rows it wrote."""

    def asked(*options):
        source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        write_jsonl(source, [{"id": "a", "prompt": "Hi"}, {"id": "b", "prompt": "Why?"}])
        base = ["generate", "--model", str(tiny_llama), "--input", str(source), "--output", str(target)]
        code = run([*base, "--max-tokens", "5", *options])
        assert code == 0, capsys.readouterr().err
        return [json.loads(line) for line in target.read_text().splitlines()]

    return asked


def test_the_model_is_the_runs_unless_named(run_directory, tiny_llama, capsys):
    (run_directory / "recipe.yaml").write_text(f"system: ats\nmodel: {{name: '{tiny_llama}', device: cpu}}\n")
    asked = ["generate", "--prompt", "Hi", "--max-tokens", "3", "--calibrated", str(run_directory)]
    assert run(asked) == 0
    assert "(confidence 0." in capsys.readouterr().out
    assert run([*asked, "--model", "nowhere/at-all"]) != 0
    assert "nowhere/at-all" in capsys.readouterr().err


def test_the_text_is_the_models_and_the_probabilities_are_the_heads(loaded, ask, run_directory):
    from lmtools.ats.calibrated import calibrate
    from lmtools.generation.hf import HfGenerator
    from lmtools.generation.protocol import Sampling

    plain, calibrated = ask(), ask("--calibrated", str(run_directory))
    generator = HfGenerator.from_loaded(calibrate(loaded, run_directory))
    for before, after in zip(plain, calibrated, strict=True):
        [old], [new] = before["completions"], after["completions"]
        assert new["text"] == old["text"]
        assert "confidence" not in old
        assert new["logprob"] != pytest.approx(old["logprob"], abs=1e-3)
        prompt = f"<|im_start|>user\n{after['prompt']}<|im_end|>\n<|im_start|>assistant\n"
        [[expected]] = generator.generate([prompt], Sampling(max_tokens=5))
        probabilities = [math.exp(value) for value in expected.logprobs]
        assert new["probabilities"] == pytest.approx(probabilities, abs=1e-4)
        answer = probabilities[:-1] if expected.finish == "stop" and len(probabilities) > 1 else probabilities
        assert new["confidence"] == pytest.approx(sum(answer) / len(answer), abs=1e-4)
        assert new["confidence_kind"] == "mean"


def test_the_heads_directory_itself_and_another_confidence(ask, run_directory):
    rows = ask("--calibrated", str(run_directory / "head"), "--confidence", "product")
    for found in rows:
        [done] = found["completions"]
        tokens = done["probabilities"][:-1] if done["finish"] == "stop" else done["probabilities"]
        assert done["confidence"] == pytest.approx(math.prod(tokens))


def test_another_head_does_not_get_the_first_ones_answers(loaded, ask, run_directory):
    first = ask("--calibrated", str(run_directory))
    assert ask("--calibrated", str(run_directory)) == first
    head = fitted(base_shape(loaded.model.config), seed=1)
    save_head(head, run_directory / "head", BaseInfo.of("tiny", loaded.identity), {})
    assert ask("--calibrated", str(run_directory)) != first


def test_confidence_worked_by_hand():
    done = Completion("ab", (5, 6, 2), tuple(map(math.log, (0.5, 0.25, 0.9))), "stop")
    [found] = row(Request(prompt="x"), [done], "mean")["completions"]
    assert found["confidence"] == pytest.approx(0.375)  # the token that ended it does not count
    assert found["probabilities"] == pytest.approx([0.5, 0.25, 0.9])
    assert texts({"completions": [found]}) == "ab\n(confidence 0.38)"
    [found] = row(Request(prompt="x"), [Completion("", finish="length")], "mean")["completions"]
    assert found["confidence"] == 0


@pytest.mark.parametrize("backend", ["vllm", "server"])
def test_other_backends_name_the_export(tiny_llama, run_directory, capsys, backend):
    command = ["generate", "--model", str(tiny_llama), "--prompt", "Hi", "--backend", backend]
    assert run([*command, "--calibrated", str(run_directory)]) == 2
    assert f"lmtools ats export {run_directory} --format vllm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--calibrated", "nowhere"], "holds no fitted head"),
        (["--confidence", "mean"], "--confidence needs --calibrated"),
        (["--calibrated", "nowhere", "--confidence", "median"], "median"),
    ],
)
def test_bad_options_are_exit_2(tiny_llama, capsys, options, says):
    assert run(["generate", "--model", str(tiny_llama), "--prompt", "Hi", *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_a_head_for_another_model_is_exit_2(tiny_llama, loaded, tmp_path, capsys):
    head = fitted(base_shape(loaded.model.config))
    save_head(head, tmp_path, BaseInfo("else", "0" * 16, "float32"), {})
    command = ["generate", "--model", str(tiny_llama), "--prompt", "Hi", "--calibrated", str(tmp_path)]
    assert run(command) == 2
    assert "was fitted on else" in capsys.readouterr().err


def test_broken_head_weights_are_exit_2(tiny_llama, run_directory, capsys):
    weights = run_directory / "head" / "head.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])
    command = ["generate", "--model", str(tiny_llama), "--prompt", "Hi", "--calibrated", str(run_directory)]
    assert run(command) == 2
    assert "cannot be loaded" in capsys.readouterr().err


def test_a_head_may_run_on_bfloat16(ask, run_directory):
    rows = ask("--calibrated", str(run_directory), "--set", "model.dtype=bfloat16")
    for found in rows:
        for value in found["completions"][0]["probabilities"]:
            assert torch.tensor(value).isfinite()
            assert 0 <= value <= 1
