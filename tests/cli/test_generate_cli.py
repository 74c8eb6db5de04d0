"""``lmtools generate``: a prompt, a file of prompts, and what it says when the input is wrong."""

import json

import pytest

from lmtools.cli.app import run
from lmtools.core.files import write_jsonl
from lmtools.generation import requests as module
from lmtools.generation.scripted import Scripted


@pytest.fixture
def scripted(monkeypatch, tiny_llama):
    """Instead of a model, an echo of the prompt."""
    generator = Scripted(lambda prompt, sample: f"<{prompt}> {sample}")
    monkeypatch.setattr(module, "open_generator", lambda spec, cache: generator)
    return generator


@pytest.fixture
def command(tiny_llama):
    return ["generate", "--model", str(tiny_llama)]


def chat(text):
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


def test_a_prompt_is_a_user_turn_and_its_answer_is_printed(capsys, scripted, command):
    assert run([*command, "--prompt", "Hi"]) == 0
    assert capsys.readouterr().out == f"<{chat('Hi')}> 0\n"


def test_options_reach_the_backend(capsys, scripted, command):
    options = ["--max-tokens", "9", "--temperature", "0.5", "--samples", "2", "--seed", "7"]
    assert run([*command, "--prompt", "Hi", *options, "--set", 'stop=["\\n"]', "--set", "top_k=5"]) == 0
    (call,) = scripted.calls
    assert (call.samples, call.sampling.max_tokens, call.sampling.temperature) == (2, 9, 0.5)
    assert (call.sampling.seed, call.sampling.stop, call.sampling.top_k) == (7, ("\n",), 5)
    assert capsys.readouterr().out.startswith("[1] <")


def test_raw_prompts_are_left_as_they_are(capsys, scripted, command):
    assert run([*command, "--prompt", "Once", "--raw"]) == 0
    assert scripted.calls[0].prompts == ("Once",)


def test_a_file_of_requests(capsys, scripted, command, tmp_path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    lines = [
        {"id": "a", "prompt": "Hi"},
        {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Bye"}]},
        {"id": 7, "prompt": "Why?"},
    ]
    write_jsonl(source, lines)
    assert run([*command, "--input", str(source), "--output", str(target), "--json"]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert json.loads(capsys.readouterr().out)["results"] == rows
    assert [row.get("id") for row in rows] == ["a", None, 7]
    assert rows[0]["completions"] == [
        {"text": f"<{chat('Hi')}> 0", "finish": "stop", "tokens": 5, "logprob": -5.0}
    ]
    assert rows[1]["messages"] == lines[1]["messages"]
    assert scripted.calls[0].prompts[1] == f"<|im_start|>system\nS<|im_end|>\n{chat('Bye')}"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a"}', "either `prompt` or `messages`"),
        ('{"prompt": "a", "messages": [{"role": "user", "content": "b"}]}', "either `prompt` or `messages`"),
        ('{"prompt": 3}', "prompt"),
        ('{"messages": [{"role": "wizard", "content": "b"}]}', "role"),
        ('{"prompt": ', "broken JSON"),
    ],
)
def test_a_bad_line_is_exit_2_with_its_place(capsys, command, tmp_path, line, says):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"prompt": "fine"}\n' + line + "\n")
    assert run([*command, "--input", str(source), "--output", str(target)]) == 2
    error = capsys.readouterr().err
    assert f"{source}:2" in error
    assert says in error
    assert "Traceback" not in error
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "--prompt TEXT or --input FILE"),
        (["--prompt", ""], "--prompt is empty"),
        (["--prompt", "a", "--samples", "0"], "--samples"),
        (["--prompt", "a", "--temperature", "-1"], "--temperature"),
        (["--prompt", "a", "--set", "model.dtyp=bfloat16"], "dtype"),
        (["--prompt", "a", "--model", "./nowhere"], "no such directory"),
    ],
)
def test_bad_options_are_exit_2(capsys, options, says):
    assert run(["generate", *options]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert "Traceback" not in error


def test_end_to_end_on_a_tiny_model(capsys, command):
    arguments = [
        *command,
        "--prompt",
        "Hi",
        "--max-tokens",
        "4",
        "--samples",
        "3",
        "--temperature",
        "1",
        "--json",
    ]
    assert run(arguments) == 0
    first = json.loads(capsys.readouterr().out)
    assert len(first["results"][0]["completions"]) == 3
    assert run(arguments) == 0
    assert json.loads(capsys.readouterr().out) == first
