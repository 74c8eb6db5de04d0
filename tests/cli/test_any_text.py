"""Whatever text comes, from a person, a model, a file or a recipe: no traceback, nothing moves a terminal.

The commands run in this process, with a scripted generator in place of a model.
"""

import io
import json
import unicodedata
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from written_run import write_run

from lmtools.cli.app import run
from lmtools.cli.faults import Fault, report
from lmtools.core.manifest import read_manifest
from lmtools.core.progress import progress, say
from lmtools.core.results import read_results
from lmtools.core.strings import well_formed
from lmtools.data.records import Passage
from lmtools.generation import requests
from lmtools.generation.scripted import Scripted
from lmtools.leret.search import HopFound, print_search
from lmtools.models.publish import Artefact, base_of_card, card
from lmtools.report.markdown import print_table
from lmtools.report.page import write_report

HOSTILE = "\x1b]52;c;Zm9v\x07\x1b[2J\u202edrow\u2066 [red]x[/red] :smile: \x9b31m\r\x85\u2028"
ANY = st.text(st.characters(codec=None, exclude_categories=()), max_size=40) | st.text(
    st.sampled_from("\x1b\x07\x9b\u202e\u2066\u2028\ud800\r\n[]|`<>&*_ a"), max_size=40
)
WRITABLE = ANY.map(well_formed)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def moves_nothing(text: str) -> bool:
    """Whether ``text`` has no control but tab and line feed, and no mark of direction."""
    return not any(
        (unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") and letter not in "\n\t")
        or unicodedata.bidirectional(letter)
        in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        for letter in text
    )


def shown(call) -> str:
    """What a call prints, on both streams."""
    stream = io.StringIO()
    with redirect_stdout(stream), redirect_stderr(stream):
        call()
    assert moves_nothing(stream.getvalue())
    return stream.getvalue()


def ends_well(*arguments: object) -> str:
    """What a command prints, that ends with 0 or the user's fault."""
    codes = []
    text = shown(lambda: codes.append(run([str(argument) for argument in arguments])))
    assert codes[0] in (0, 2), text
    assert "internal error" not in text
    assert "Traceback" not in text
    return text


@pytest.fixture
def spoken(monkeypatch, tiny_llama):
    """``spoken(text)``: the command that generates, with a model that answers with this text."""

    def of(text):
        monkeypatch.setattr(requests, "open_generator", lambda spec, cache: Scripted(lambda *_: text))
        return ["generate", "--model", str(tiny_llama)]

    return of


@quick
@given(ANY, WRITABLE)
@example("Hi", HOSTILE)
@example(HOSTILE, "Hi")
@example("\u2028", "")
def test_a_prompt_and_an_answer(spoken, prompt, answer):
    for options in ([], ["--json"], ["--raw"]):
        ends_well(*spoken(answer), f"--prompt={prompt}", *options)


@quick
@given(ANY, WRITABLE)
@example(HOSTILE, HOSTILE)
@example("\ud800", "x")
def test_a_file_of_prompts(spoken, tmp_path, prompt, answer):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(json.dumps({"id": prompt, "prompt": prompt}) + "\n")
    ends_well(*spoken(answer), "--input", source)
    ends_well(*spoken(answer), "--input", source, "--output", target)
    if target.exists():
        assert [json.loads(line) for line in target.read_text(encoding="utf-8").split("\n") if line]


@quick
@given(ANY, ANY)
@example(HOSTILE, HOSTILE)
@example("title", HOSTILE)
@example("question", "\ud800")
def test_a_data_file(tmp_path, field, text):
    file = tmp_path / "d.jsonl"
    for row in ({"id": "1", field: text}, {"id": text, "question": text, "supporting": [text], field: text},
                {"id": text, "title": text, "text": text}, {field: {text: field}}, [text], text):  # fmt: skip
        file.write_text((json.dumps(row) + "\n") * 2)
        ends_well("data", "check", file)
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    ends_well("data", "check", file)
    ends_well("data", "check", f"{field}.jsonl")


@settings(quick, max_examples=12)
@given(ANY, ANY)
@example("model", HOSTILE)
@example(HOSTILE, "x")
def test_a_recipe(tmp_path, key, text):
    file = tmp_path / "r.yaml"
    for recipe in (
        f"system: leret\n{json.dumps(key)}: {json.dumps(text)}\n",
        f"system: {json.dumps(text)}\n",
        f"system: hyre\nmodel: {{name: {json.dumps(text)}}}\nseed: {json.dumps(key)}\n",
        text,
    ):
        file.write_bytes(recipe.encode("utf-8", "surrogatepass"))
        ends_well("recipes", "check", file)
        ends_well("recipes", "show", file)
    ends_well("recipes", "show", f"{text}.yaml")
    ends_well("leret", "train", "--dry-run", "--set", f"seed={text}", "--set", f"{key}={text}", "--seed", "x")


@quick
@given(WRITABLE)
@example(HOSTILE)
def test_pairs_to_label_and_rewards(monkeypatch, text):
    from lmtools.hyre import api

    row = {"id": text, "score": 1.0, "prompt": text, "reward": 1.0, "completion": text, "messages": text}
    answer = SimpleNamespace(pairs=[row], results=[row], trained=text)
    monkeypatch.setattr("lmtools.cli.hyre.emit", lambda *_: None)
    for name in ("query", "score"):
        monkeypatch.setattr(api, name, lambda *_, **__: answer)
    ends_well("hyre", "query")
    ends_well("hyre", "score", "--input", "x.jsonl")


@quick
@given(ANY)
@example(HOSTILE)
def test_lines_hits_errors_and_bars(text):
    passage = Passage(id="1", title=well_formed(text) or "a", text=well_formed(text))
    shown(lambda: print_search([HopFound(text, (passage,)), HopFound("", ())]))
    shown(lambda: say(text))
    for as_json in (False, True):
        shown(lambda as_json=as_json: report(Fault(text, text, 2), as_json=as_json, error=ValueError(text)))
    shown(lambda: progress(3, text).__enter__().advance())


def test_markup_of_a_terminal_is_shown_as_it_is():
    markup = "[red]x[/red] :smile: [/]"
    passage = Passage(id="1", title=markup, text=markup)
    assert shown(lambda: print_search([HopFound(markup, (passage,))])).count(markup) == 3


@quick
@given(WRITABLE)
@example(HOSTILE)
@example("| a | [x](http://y) <script> `b` **c**")
def test_tables_cards_and_pages(tmp_path_factory, text):
    directory = tmp_path_factory.mktemp("any") / "run"
    write_run(
        directory, {text or "a": {"accuracy": 0.5, f"b{text}": 0.5}}, inputs={text: text},
        command=["lmtools", "hyre", "train", text], versions={"lmtools": text},
    )  # fmt: skip
    results, manifest = read_results(directory / "metrics.json"), read_manifest(directory / "manifest.json")
    assert shown(lambda: print_table(results))
    artefact = Artefact(
        title=text, base=base_of_card(text), summary="s", use="u", limits=[], library="peft", tags=[],
        measured="m",
    )  # fmt: skip
    assert moves_nothing(card(artefact, manifest, results))
    page = write_report([directory], None).read_text(encoding="utf-8")
    assert moves_nothing(page)
