"""``lmtools generate --best-of``: completions in the order of a user's reward model."""

import json
import shutil
from pathlib import Path

import pytest
from tiny_hyre import USERS, trained_once, write

from lmtools.cli.app import run
from lmtools.generation import requests as module
from lmtools.generation.scripted import Scripted
from lmtools.hyre.api import adapt_targets
from lmtools.hyre.reward import open_reward
from lmtools.models.chat import Message
from lmtools.models.features import AnsweredPrompt

LONG, SHORT, BLANK = "The Seine, of course; its name is old.", "Seine 4", " \n"
WRITTEN = [BLANK, LONG, SHORT]


@pytest.fixture(scope="module")
def made(tiny_llama, tmp_path_factory):
    """A run, and beside it weights for each user."""
    folder = tmp_path_factory.mktemp("hyre")
    _, trained = trained_once(tiny_llama, folder)
    adapt_targets(trained, folder / "weights")
    return folder


@pytest.fixture
def scripted(monkeypatch, tmp_path):
    """Instead of a model, the same three completions of every prompt."""
    monkeypatch.chdir(tmp_path)
    generator = Scripted(lambda prompt, sample: WRITTEN[sample % 3])
    monkeypatch.setattr(module, "open_generator", lambda spec, cache: generator)
    return generator


@pytest.fixture
def command(made, tiny_llama, scripted):
    """``command(user, *more)`` is the command line."""

    def words(user, *more):
        weights = ["--weights", str(made / "weights" / f"{user}.json"), "--reward", str(made / "run")]
        return ["generate", "--model", str(tiny_llama), "--best-of", "3", *weights, *more]

    return words


@pytest.mark.parametrize(("user", "best"), [("long", LONG), ("short", SHORT)])
def test_the_best_one_is_first_and_a_blank_one_last(command, scripted, capsys, user, best):
    assert run([*command(user, "--prompt", "Name river 4?", "--json")]) == 0
    [row] = json.loads(capsys.readouterr().out)["results"]
    texts = [one["text"] for one in row["completions"]]
    rewards = [one["reward"] for one in row["completions"]]
    assert texts[0] == best
    assert set(texts) == set(WRITTEN)
    assert texts[2] == BLANK
    assert rewards[0] > rewards[1]
    assert rewards[2] is None
    assert (scripted.calls[0].samples, scripted.calls[0].sampling.temperature) == (3, 0.8)


def test_a_person_sees_the_best_one_alone(command, capsys):
    assert run(command("short", "--prompt", "Name river 4?")) == 0
    assert capsys.readouterr().out == f"{SHORT}\n"


def test_rewards_are_those_of_the_reward_model(command, made, capsys):
    turns = [{"role": "user", "content": text} for text in ("Hi", "Name river 4?")]
    turns.insert(1, {"role": "assistant", "content": "Hello"})
    write(Path("in.jsonl"), [{"id": "a", "prompt": "Name river 4?"}, {"id": "b", "messages": turns}])
    assert run(command("long", "--input", "in.jsonl", "--output", "out.jsonl")) == 0
    assert capsys.readouterr().out == ""
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    reward = open_reward(made / "run", made / "weights" / "long.json")
    asked = [(Message("user", "Name river 4?"),), tuple(Message(t["role"], t["content"]) for t in turns)]
    for row, said in zip(rows, asked, strict=True):
        for one in row["completions"][:2]:
            assert one["reward"] == pytest.approx(reward([AnsweredPrompt(said, one["text"])])[0], abs=1e-5)


def test_the_system_message_is_part_of_what_is_judged(command, made, capsys):
    assert run(command("long", "--prompt", "Name river 4?", "--set", "system=Be brief.", "--json")) == 0
    [row] = json.loads(capsys.readouterr().out)["results"]
    reward = open_reward(made / "run", made / "weights" / "long.json")
    said = (Message("system", "Be brief."), Message("user", "Name river 4?"))
    one = row["completions"][0]
    assert one["reward"] == pytest.approx(reward([AnsweredPrompt(said, one["text"])])[0], abs=1e-5)


def test_nothing_but_blank_completions(command, monkeypatch, capsys):
    monkeypatch.setattr(module, "open_generator", lambda spec, cache: Scripted(lambda *_: BLANK))
    assert run(command("long", "--prompt", "Name river 4?", "--json")) == 0
    [row] = json.loads(capsys.readouterr().out)["results"]
    assert [one["reward"] for one in row["completions"]] == [None] * 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--samples", "2"], "leave --samples out"),
        (["--raw"], "leave --raw out"),
        (["--temperature", "0"], "3 greedy completions are one and the same"),
        (["--temperature", "-1"], "--temperature"),
        (["--best-of", "0"], "--best-of"),
        (["--weights", "nowhere"], "cannot be read"),
        (["--reward", "nowhere"], "nowhere: no such directory"),
    ],
)
def test_options_that_do_not_go_together(command, scripted, capsys, more, says):
    assert run(command("long", "--prompt", "Hi", *more)) == 2
    told = capsys.readouterr()
    assert says in told.err
    assert "Traceback" not in told.err
    assert told.out == ""


@pytest.mark.parametrize("left_out", ["--best-of", "--reward", "--weights"])
def test_the_three_options_go_together(command, scripted, capsys, left_out):
    words = command("long", "--prompt", "Hi")
    place = words.index(left_out)
    assert run([*words[:place], *words[place + 2 :]]) == 2
    assert "--best-of N, --reward RUN and --weights FILE go together" in capsys.readouterr().err
    assert not scripted.calls


def test_one_completion_may_be_greedy(command, scripted, capsys):
    more = ["--best-of", "1", "--temperature", "0", "--prompt", "Hi"]
    assert run(command("long", *more)) == 0
    assert (scripted.calls[0].samples, scripted.calls[0].sampling.temperature) == (1, 0)


def test_nothing_is_written_before_the_reward_model_is_known_to_fit(
    command, made, scripted, capsys, tmp_path
):
    """Weights of another ensemble are told before minutes of generation."""
    other = Path(shutil.copytree(made / "run", tmp_path / "other"))
    shutil.rmtree(other / "ensemble")
    shutil.copytree(made / "run" / "ensembles" / "shared_base", other / "ensemble")
    assert run(command("long", "--prompt", "Hi", "--reward", str(other))) == 2
    assert "for another ensemble" in capsys.readouterr().err
    assert not scripted.calls


def test_on_a_tiny_model_from_end_to_end(made, tiny_llama, capsys):
    for user in USERS:
        options = ["--reward", str(made / "run"), "--weights", str(made / "weights" / f"{user}.json")]
        words = ["generate", "--model", str(tiny_llama), "--prompt", "Hi", "--best-of", "4", *options]
        assert run([*words, "--max-tokens", "6", "--json"]) == 0
        [row] = json.loads(capsys.readouterr().out)["results"]
        rewards = [one["reward"] for one in row["completions"] if one["reward"] is not None]
        assert len(row["completions"]) == 4
        assert rewards == sorted(rewards, reverse=True)
