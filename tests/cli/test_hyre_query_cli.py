"""``lmtools hyre query`` and ``score``: which pairs to label next, and the rewards of answers."""

import io
import json
import shutil
from pathlib import Path

import pytest
from tiny_hyre import trained_once, write

from lmtools.cli.app import run


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    return trained_once(tiny_llama, tmp_path_factory.mktemp("hyre"))[1]


@pytest.fixture(autouse=True)
def trained(made, tmp_path, monkeypatch):
    """A finished run under ``runs/`` of an otherwise empty folder."""
    monkeypatch.chdir(tmp_path)
    return shutil.copytree(made, "runs/hyre-train")


def call(capsys, *words):
    """The JSON that a command answers, which is all of its output; and what it tells a person."""
    capsys.readouterr()
    assert run(["hyre", *words, "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_a_query_names_pairs_that_are_not_labelled_yet(capsys):
    adapted, _ = call(capsys, "adapt", "--examples", "5")
    value, told = call(capsys, "query", "--count", "20", "--weights", "runs/hyre-adapt")
    asked = [row["id"] for row in value["pairs"]]
    assert "5 of the pairs are labelled already, and are left out" in told
    assert len(asked) == 7
    assert not set(asked) & set(adapted["examples"])
    scores = [row["score"] for row in value["pairs"]]
    assert scores == sorted(scores, reverse=True)
    assert set(value["pairs"][0]) == {"id", "score", "prompt", "chosen", "rejected"}
    every, _ = call(capsys, "query", "--count", "3", "--target", "short", "--by", "variance")
    assert [len(every["pairs"]), every["user"], every["by"]] == [3, "short", "variance"]


@pytest.mark.parametrize("by", ["bald", "entropy", "variance", "random"])
def test_a_query_writes_pairs_that_can_be_read_again(capsys, by):
    value, told = call(capsys, "query", "--count", "4", "--by", by, "--output", "ask.jsonl")
    assert "wrote ask.jsonl: 4 pairs" in told
    assert [json.loads(line) for line in Path("ask.jsonl").read_text().splitlines()] == value["pairs"]
    again, _ = call(capsys, "query", "--count", "4", "--by", by)
    assert again["pairs"] == value["pairs"]
    adapted, _ = call(capsys, "adapt", "--examples", "4", "--pairs", "ask.jsonl")
    assert set(adapted["examples"]) == {row["id"] for row in value["pairs"]}


def test_a_query_for_a_person(capsys):
    assert run(["hyre", "query", "--count", "2"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2
    assert "Name river" in out
    assert "lmtools hyre adapt --ask --run runs/hyre-train" in err


def test_scores_with_and_without_weights(capsys):
    call(capsys, "adapt", "--target", "short")
    answers = ["Loire 1", "The Loire, of course; its name is old."]
    write(Path("answers.jsonl"), [{"prompt": "Name river 1?", "completion": answer} for answer in answers])
    options = ["score", "--input", "answers.jsonl"]
    value, told = call(capsys, *options, "--weights", "runs/hyre-adapt", "--output", "scored.jsonl")
    short, long = value["results"]
    assert short["reward"] > long["reward"]
    assert set(short) == {"prompt", "completion", "reward"}
    assert [json.loads(line) for line in Path("scored.jsonl").read_text().splitlines()] == value["results"]
    assert "no --weights" not in told
    plain, told = call(capsys, *options)
    assert "no --weights: rewards before any example" in told
    assert plain["results"][0]["reward"] != short["reward"]
    assert run(["hyre", *options]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_messages_are_scored_as_the_same_turns(capsys):
    write(Path("plain.jsonl"), [{"prompt": "Name river 1?", "completion": "Loire 1"}])
    turns = [{"role": "user", "content": "Name river 1?"}, {"role": "assistant", "content": "Loire 1"}]
    write(Path("turns.jsonl"), [{"messages": turns}, {"messages": [*turns, *turns]}])
    weights = ["--weights", call(capsys, "adapt")[0]["run"]]
    [plain] = call(capsys, "score", "--input", "plain.jsonl", *weights)[0]["results"]
    one, two = call(capsys, "score", "--input", "turns.jsonl", *weights)[0]["results"]
    # One answer or two: the heads' product rounds another way.
    assert one == {"messages": turns, "reward": pytest.approx(plain["reward"], rel=1e-6)}
    assert two["reward"] != one["reward"]
    assert run(["hyre", "score", "--input", "turns.jsonl"]) == 0
    assert "Loire 1" in capsys.readouterr().out


def test_labels_given_by_hand_are_left_out_of_the_next_query(capsys, monkeypatch):
    asking = ["hyre", "adapt", "--ask", "--examples", "3", "--target", "short"]
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n2\nq\n"))
    assert run([*asking, "--out", "mine"]) == 130
    assert "--resume" in capsys.readouterr().err
    assert not Path("mine/weights.json").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n"))
    value, _ = call(capsys, *asking[1:], "--out", "mine", "--resume")
    assert len(value["examples"]) == 3
    assert value["rows"] == []
    found, _ = call(capsys, "query", "--count", "20", "--target", "short", "--weights", "mine")
    assert len(found["pairs"]) == 9
    assert not {row["id"] for row in found["pairs"]} & set(value["examples"])
