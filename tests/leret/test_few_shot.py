"""Few-shot prompts: bootstrapped from what found something, chosen by what finds most."""

import pytest

from lmtools.core.journal import Journal
from lmtools.leret.explore import Explorers
from lmtools.leret.few_shot import few_shot_prompts
from lmtools.leret.prompts import ZERO_SHOT, Demonstration, PassageText, Prompt, read_prompts, write_prompts
from lmtools.leret.recipe import ExploreSettings, HopSettings
from lmtools.leret.rewards import title_reward


def found_by(world, policy, path, **settings):
    settings = ExploreSettings(
        **{
            "first": ("question", "few-shot"), "later": ("phrase", "zero-shot", "few-shot"),
            "few_shot_candidates": 6, "few_shot_prompts": 2, "demonstrations": 1,
            "bootstrap_questions": 4, "selection_questions": 3, **settings,
        }
    )  # fmt: skip
    made = Explorers(
        policy,
        world.retriever,
        title_reward("ap"),
        {"first": (), "later": ()},
        HopSettings(k=1),
        settings,
        seed=1,
    )
    with Journal(path) as journal:
        prompts = few_shot_prompts(made, world.questions, journal)
        rewards = {key: journal.get(key)["reward"] for key in journal if key.startswith("few-shot/")}
    return prompts, rewards


@pytest.fixture
def policy(scripted):
    """Writes the name in the question, once a demonstration about Carl Dahl has shown it how."""

    def answer(asked):
        if "Carl Dahl" not in asked.before:
            return "nothing"
        return asked.question.partition(" of ")[2].partition(",")[0]

    return scripted(answer)


def test_the_candidates_that_find_most_are_kept(world, policy, tmp_path):
    prompts, rewards = found_by(world, policy, tmp_path / "j")
    first = prompts["first"]
    assert [prompt.id for prompt in first] == ["few-shot-1", "few-shot-2"]
    # a demonstration about Carl Dahl makes this policy find one of two gold titles
    assert [shown.question for shown in first[0].demonstrations] == [world.questions[1].question]
    by_candidate = [rewards[f"few-shot/first/{number}"] for number in range(6)]
    assert max(by_candidate) == 0.5
    assert min(by_candidate) == 0.0


def test_demonstrations_are_queries_that_found_something_new(world, policy, tmp_path):
    prompts, _ = found_by(world, policy, tmp_path / "j", demonstrations=3)
    [first, *_], [later, *_] = prompts["first"], prompts["later"]
    assert all(shown.query == shown.question for shown in first.demonstrations)  # the only explorer of hop 1
    towns = {passage.title for passage in world.passages if passage.id.startswith("t")}
    assert all(shown.query in towns and len(shown.passages) == 1 for shown in later.demonstrations)
    bootstrap = {question.question for question in world.questions[:4]}
    assert {shown.question for prompt in (first, later) for shown in prompt.demonstrations} <= bootstrap


def test_resumed_it_scores_no_candidate_again(world, policy, tmp_path):
    prompts, _ = found_by(world, policy, tmp_path / "j")
    asked = len(policy.generator.calls)
    assert found_by(world, policy, tmp_path / "j")[0] == prompts
    assert len(policy.generator.calls) == asked


def test_nothing_to_demonstrate_is_said_and_gives_no_prompt(world, policy, tmp_path, capsys):
    prompts, _ = found_by(world, policy, tmp_path / "j", first=("zero-shot", "few-shot"))
    assert prompts["first"] == ()
    assert "no query of the first hop found anything" in capsys.readouterr().err


def test_too_few_questions_to_choose_with_is_said(world, policy, tmp_path, capsys):
    prompts, _ = found_by(world, policy, tmp_path / "j", bootstrap_questions=8)
    assert prompts == {"first": (), "later": ()}
    assert "explore.bootstrap_questions is 8" in capsys.readouterr().err


def test_prompt_file_round_trip(tmp_path):
    shown = Demonstration("q?", (PassageText("T", "t"),), "query")
    first, later = Prompt("few-shot-1", (shown,)), Prompt("few-shot-1", (shown, shown))
    write_prompts(tmp_path / "a.json", {"first": (first, ZERO_SHOT), "later": (later,)})
    assert read_prompts(tmp_path / "a.json") == (first, later)
    write_prompts(tmp_path / "b.json", {"first": (first,), "later": ()})
    assert read_prompts(tmp_path / "b.json") == (first, ZERO_SHOT)
    write_prompts(tmp_path / "c.json", {"first": (), "later": ()})
    assert read_prompts(tmp_path / "c.json") is None
    assert read_prompts(tmp_path / "none.json") is None
