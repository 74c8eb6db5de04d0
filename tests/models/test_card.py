"""Cards: whatever names hold, the front matter is YAML and the text tells nothing of the machine."""

import re
from dataclasses import replace

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.manifest import Manifest
from lmtools.core.results import Difference, Interval, Results, Row
from lmtools.models.publish import (
    TO_FILL_IN,
    Artefact,
    base_of_card,
    card,
    code,
    plain,
    public_command,
    public_name,
    write_card,
)

SHA = "ab" * 32


def manifest(**changes):
    about = {
        "command": ["lmtools", "leret", "train"],
        "seed": 7,
        "inputs": {"/home/anna/data/pairs.jsonl": SHA, "hf:org/pairs:en:train": SHA, "atlas:train": SHA},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "machine": {"platform": "Linux"},
        "started": "2026-05-04T03:02:01+00:00",
    }
    return Manifest(**about | changes)


def results(*rows, differences=()):
    return Results("leret/quickstart", "lmtools", 7, {}, {}, rows, differences)


def artefact(name="org/model", adapter=None, **changes):
    base = base_of_card(name, adapter)
    about = Artefact(
        f"A head for {base.name}",
        base,
        "It does this.",
        "`BASE` it is.",
        ["Little."],
        "peft",
        ["leret"],
        "On tests.",
    )
    return replace(about, **changes)


def front(text):
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_what_the_hub_reads():
    text = card(artefact(relation="adapter", pipeline="text-generation"), manifest(), None)
    assert front(text)[0] == {
        "base_model": "org/model",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "other",
        "license_name": "license-of-the-base-model",
        "tags": ["lmtools", "leret"],
        "datasets": ["org/pairs"],
    }
    data = ModelCard(text).data
    assert (data.base_model, data.datasets, data.tags) == ("org/model", ["org/pairs"], ["lmtools", "leret"])


def test_the_built_in_model_has_a_repository_and_a_licence():
    head, body = front(card(artefact("builtin:smollm2-135m-instruct"), manifest(), None))
    assert (head["base_model"], head["license"]) == ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0")
    assert "lmtools models pull builtin:smollm2-135m-instruct" in body
    assert "licence is apache-2.0" in body


def test_a_model_of_this_machine_is_no_repository(tmp_path):
    (tmp_path / "mine").mkdir()
    head, body = front(card(artefact(str(tmp_path / "mine"), "/home/anna/lora"), manifest(), None))
    assert "base_model" not in head
    assert "Base model: `mine`, with the adapter `lora` on it. `BASE` is the directory of `mine`." in body
    assert str(tmp_path) not in body
    assert "anna" not in body


def test_inputs_and_making():
    record = manifest(command=["lmtools", "--set", "data.train=/home/anna/a.jsonl", "--out", "~/b", "it's"])
    _, body = front(card(artefact(), record, results(Row("a", {"x": Interval(0, 0, 1, 2)}))))
    assert f"| `pairs.jsonl` | `{SHA}` |" in body
    assert f"| `hf:org/pairs:en:train` | `{SHA}` |" in body
    assert "lmtools --set data.train=a.jsonl --out b 'it'\"'\"'s'" in body
    assert "Recipe `leret/quickstart`, seed 7, 2026-05-04. Versions: python 3.11.7, torch 2.13.0." in body


def test_figures_with_their_intervals():
    rows = [
        Row("base | a", {"recall": Interval(0.5, 0.4, 0.6, 9), "k/recall": Interval(0.1, 0.1, 0.1, 3)}),
        Row("policy", {"recall": Interval(0.75, 0.7, 0.8, 9), "ap": Interval(0.25, 0.2, 0.3, 9)}),
    ]
    apart = [Difference("policy", "base | a", name, 0.25, 0.125, 0.5, 9) for name in ("recall", "ap")]
    _, body = front(card(artefact(compared="recall"), manifest(), results(*rows, differences=apart)))
    assert "|  | recall | ap |\n| --- | --- | --- |\n" in body
    assert (
        "| base \\| a | 0.500 [0.400, 0.600] | – |\n| policy | 0.750 [0.700, 0.800] | 0.250 [0.200, 0.300] |"
        in body
    )
    [line] = [line for line in body.splitlines() if "paired" in line]
    assert line == "- policy − base \\| a, recall: +0.250 [+0.125, +0.500] (paired, n = 9)"
    _, chosen = front(card(artefact(metrics=["k/recall", "none"]), manifest(), results(*rows)))
    assert "|  | k/recall |" in chosen


def test_without_figures_there_is_no_table():
    assert "## Figures" not in card(artefact(), manifest(), results())


@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_names_hold_the_front_matter_stays_the_same(name, word):
    record = manifest(inputs={name: word}, command=["lmtools", word], versions={name: word})
    text = card(artefact(name, name), record, results(Row(word, {name or "x": Interval(0, 0, 1, 2)})))
    head, body = front(text)
    assert head["library_name"] == "peft"
    assert head["tags"] == ["lmtools", "leret"]
    assert [line for line in body.split("\n") if line.startswith("## ")] == [
        "## Use",
        "## Figures",
        "## Made from",
        "## How it was made",
        "## Licence",
        "## Limits",
    ]
    assert body.count("```") == 2


@pytest.mark.parametrize(
    "hostile",
    [
        "x\n---\nlicense: mit",
        "a: [b",
        "</td><script>alert(1)</script>",
        "` | `",
        "![](http://x/y.png)",
        "'\"#&*!",
    ],
)
def test_hostile_names(hostile):
    text = card(artefact(hostile), manifest(inputs={f"/data/{hostile}": SHA}), None)
    head, body = front(text)
    assert head["license"] == "other"
    bare = re.sub(r"`[^`\n]*`", "", body)  # code marks up nothing
    assert "<script" not in bare.replace("\\<", "")
    assert "![" not in bare


@given(st.text(max_size=80))
def test_words_and_code_stay_on_their_line_and_in_their_cell(text):
    for markdown in (code(text), plain(text)):
        assert len(markdown.splitlines()) <= 1
        assert not re.search(r"(?<!\\)(\\\\)*\|", markdown)
    assert code(text).count("`") == 2


@pytest.mark.parametrize(
    ("word", "public"),
    [
        ("/home/anna/a b/mine.yaml", "mine.yaml"),
        ("--out=/home/anna/runs/x", "--out=x"),
        ("../../home/anna/x.jsonl", "x.jsonl"),
        ("~/x.jsonl", "x.jsonl"),
        ("~anna/x.jsonl", "x.jsonl"),
        ("tasks=[/home/anna/a.jsonl, /home/anna/b.jsonl]", "tasks=[a.jsonl, b.jsonl]"),
        ('data={"train": "/home/anna/a.jsonl"}', 'data={"train": "a.jsonl"}'),
        (
            "model.server_url=http://anna:secret@127.0.0.1:8000/v1",
            "model.server_url=http://127.0.0.1:8000/v1",
        ),
        ("runs/leret-train", "runs/leret-train"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("hf:org/pairs:en:train", "hf:org/pairs:en:train"),
    ],
)
def test_commands_without_folders(word, public):
    assert public_command([word]) == [public]


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("data:hotpotqa/dev.json", "data:hotpotqa/dev.json"),
        ("Qwen/Qwen3-0.6B", "Qwen/Qwen3-0.6B"),
        ("/", "model"),
        ("answers/of/anna.jsonl", "anna.jsonl"),
    ],
)
def test_names_of_inputs(name, public):
    assert public_name(name) == public


def test_a_card_that_is_there_stays_unless_it_is_an_empty_form(tmp_path):
    write_card(tmp_path, artefact(), manifest(), None)
    path = tmp_path / "README.md"
    assert path.read_text() == card(artefact(), manifest(), None)
    path.write_text("mine")
    write_card(tmp_path, artefact(), manifest(), None)
    assert path.read_text() == "mine"
    path.write_text(f"- **Developed by:** {TO_FILL_IN}")
    write_card(tmp_path, artefact(), manifest(), None)
    assert "It does this." in path.read_text()
