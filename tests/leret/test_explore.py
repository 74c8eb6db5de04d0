"""Exploration: groups, outcomes and what the journal is good for, with a policy that is a script."""

import itertools
import json
from dataclasses import replace

import pytest

from lmtools.core.files import write_jsonl
from lmtools.core.journal import Journal
from lmtools.generation.scripted import Scripted
from lmtools.leret.dataset import preference_rows, sft_rows
from lmtools.leret.explore import Explorers, Group, earnings, sample_rows
from lmtools.leret.prompts import Demonstration, Prompt
from lmtools.leret.recipe import ExploreSettings, HopSettings, LeretRecipe
from lmtools.leret.rewards import title_reward


class Bar:
    done = 0

    def advance(self, n=1):
        self.done += n


def name_in(question):
    """``The birthplace of Anna Berg, a painter, ...`` -> ``Anna Berg``."""
    return question.partition(" of ")[2].partition(",")[0]


def sensible(asked):
    """First the person, then the town that the passage names."""
    return (
        asked.found.rpartition("born in ")[2].partition(".")[0]
        if asked.found.count(":")
        else name_in(asked.question)
    )


def explorers(world, policy, few_shot=None, hop=None, **settings):
    settings = ExploreSettings(**{"first": ("zero-shot",), "later": ("zero-shot",), **settings})
    return Explorers(
        policy, world.retriever, title_reward("ap"), few_shot or {"first": (), "later": ()},
        hop or HopSettings(k=1), settings, seed=3,
    )  # fmt: skip


def explore(made, questions, path, iteration=1):
    bar = Bar()
    with Journal(path) as journal:
        groups = list(made.explore(questions, iteration, journal, bar))
    assert bar.done == len(questions)
    return groups


def test_one_group_per_question_and_hop(world, scripted, tmp_path):
    groups = explore(explorers(world, scripted(sensible)), world.questions[:3], tmp_path / "j")
    assert [(group.question_id, group.hop) for group in groups] == [
        *((f"q{n}", 1) for n in range(3)),
        *((f"q{n}", 2) for n in range(3)),
    ]
    first, second = groups[0], groups[3]
    assert (first.context.titles, first.before) == ([], 0.0)
    assert [sample.query for sample in first.samples] == ["Anna Berg"]
    assert first.samples[0].reward == 0.5
    assert (second.context.titles, second.before) == (["Anna Berg"], 0.5)
    assert [(sample.query, sample.reward) for sample in second.samples] == [("Lund", 1.0)]
    assert [hit.title for hit in second.samples[0].hits] == ["Lund"]


def test_a_question_stops_when_nothing_is_left_to_find(world, scripted, tmp_path):
    def answer(asked):
        return "Anna Berg Lund" if "Anna" in asked.question else name_in(asked.question)

    groups = explore(
        explorers(world, scripted(answer), hop=HopSettings(k=2)), world.questions[:2], tmp_path / "j"
    )
    assert groups[0].samples[0].reward == 1.0
    assert [(group.question_id, group.hop) for group in groups] == [("q0", 1), ("q1", 1), ("q1", 2)]


def test_it_goes_on_from_an_outcome_that_was_tried_and_is_not_finished(world, scripted, tmp_path):
    made = explorers(
        world, scripted(sensible), first=("question", "drop-word", "zero-shot"), hop=HopSettings(k=1)
    )
    groups = explore(made, world.questions, tmp_path / "j")
    tried = {group.question_id: group for group in groups if group.hop == 1}
    later = [group for group in groups if group.hop == 2]
    assert later
    for group in later:
        outcomes = {tuple(hit.id for hit in s.hits): s.reward for s in tried[group.question_id].samples}
        assert outcomes[group.context.ids] == group.before < 1


def test_several_contexts_are_distinct(world, scripted, tmp_path):
    def answer(asked):
        return f"{name_in(asked.question)} {['Oslo', 'Turku', 'Ribe', 'Oslo', 'Tartu'][asked.sample]}"

    hop = HopSettings(k=2)
    made = explorers(world, scripted(answer), hop=hop, first=("temperature",), samples=5, contexts=3, chunk=2)
    groups = explore(made, world.questions[:4:3], tmp_path / "j")
    for id in ("q0", "q3"):
        first, *later = [group for group in groups if group.question_id == id]
        open_ = {tuple(hit.id for hit in sample.hits) for sample in first.samples if 0 < sample.reward < 1}
        contexts = [group.context.ids for group in later]
        assert len(open_) == 4 - (id == "q3")  # Ribe is the town that belongs to q3
        assert len(contexts) == len(set(contexts)) == 3
        assert set(contexts) <= open_
    trails = [(group.question_id, group.hop, group.trail) for group in groups]
    assert len(trails) == len(set(trails))
    assert {trail.count(".") for _, hop, trail in trails if hop == 2} == {1}


def test_every_query_says_where_it_came_from(world, scripted, tmp_path):
    few_shot = {
        "first": (Prompt("few-shot-1", (Demonstration("a?", (), "a"),)), Prompt("few-shot-2", ())),
        "later": (),
    }

    def answer(asked):
        return f"{name_in(asked.question)} {asked.before.count('User:')} {asked.sample}"

    order = ("few-shot", "temperature", "question", "zero-shot")
    made = explorers(world, scripted(answer), few_shot, HopSettings(hops=1, k=1), first=order, samples=3)
    [group] = explore(made, world.questions[:1], tmp_path / "j")
    assert [(sample.prompt_id, sample.query) for sample in group.samples] == [
        ("few-shot-1", "Anna Berg 1 0"),
        ("few-shot-2", "Anna Berg 0 0"),
        ("temperature-1", "Anna Berg 0 0"),
        ("temperature-2", "Anna Berg 0 1"),
        ("temperature-3", "Anna Berg 0 2"),
        ("rule:question", world.questions[0].question),
        ("zero-shot", "Anna Berg 0 0"),
    ]
    assert [sample.explorer for sample in group.samples] == [
        "few-shot", "few-shot", "temperature", "temperature", "temperature", "question", "zero-shot",
    ]  # fmt: skip
    assert Group.from_json(json.loads(json.dumps(group.to_json()))) == group


def test_temperature_is_asked_for_with_a_seed_of_its_own(world, scripted, tmp_path):
    policy = scripted(sensible)
    made = explorers(
        world,
        policy,
        first=("zero-shot", "temperature"),
        later=("temperature",),
        samples=2,
        temperature=0.7,
        top_p=0.9,
    )
    explore(made, world.questions[:2], tmp_path / "j")
    calls = [
        (c.samples, c.sampling.temperature, c.sampling.top_p, c.sampling.seed) for c in policy.generator.calls
    ]
    assert calls[0] == (1, 0.0, 1.0, 0)
    assert [call[:3] for call in calls[1:]] == [(2, 0.7, 0.9)] * 2
    assert calls[1][3] != calls[2][3]


def test_samples_file_has_the_documented_fields(world, scripted, tmp_path):
    groups = explore(explorers(world, scripted(sensible)), world.questions[:1], tmp_path / "j")
    rows = list(sample_rows(groups))
    assert rows[1].pop("hits")[0]["title"] == "Lund"
    assert rows[1] == {
        "question_id": "q0", "iteration": 1, "hop": 2, "context": ["p0"], "prompt_id": "zero-shot",
        "query": "Lund", "reward": 1.0,
    }  # fmt: skip


def test_earnings(world, scripted, tmp_path):
    made = explorers(
        world,
        scripted(lambda asked: "nothing"),
        first=("question", "zero-shot"),
        hop=HopSettings(hops=1, k=1),
    )
    groups = explore(made, world.questions[:2], tmp_path / "j")
    assert earnings(groups) == {
        "rule:question": {"queries": 2, "reward": 0.5, "best": 1.0},
        "zero-shot": {"queries": 2, "reward": 0.0, "best": 0.0},
    }


def test_no_proposal_is_no_fault(world, scripted, tmp_path):
    question = world.questions[0].model_copy(update={"question": "where?"})
    groups = explore(explorers(world, scripted(sensible), first=("phrase",)), [question], tmp_path / "j")
    assert [group.samples for group in groups] == [()]


def test_a_rule_tries_nothing_that_the_policy_could_not_write(world, scripted, tmp_path):
    policy = replace(scripted(sensible), max_query_tokens=10)
    made = explorers(world, policy, first=("question", "drop-word"), hop=HopSettings(hops=1, k=1))
    [group] = explore(made, world.questions[:1], tmp_path / "j")
    assert len(world.questions[0].question.split()) == 11
    assert group.samples
    assert {sample.explorer for sample in group.samples} == {"drop-word"}


# --- training data ----------------------------------------------------------------------------------------


def files(world, groups, policy, folder, **train):
    recipe = LeretRecipe.model_validate({"hop": {"k": 1}, "train": train, "explore": RULED})
    by_id = {question.id: question for question in world.questions}
    build = (groups, by_id, policy, world.retriever, recipe)
    write_jsonl(folder / "samples.jsonl", sample_rows(groups))
    write_jsonl(folder / "sft.jsonl", sft_rows(*build))
    write_jsonl(folder / "preferences.jsonl", preference_rows(*build))
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


RULED = {
    "first": ("question", "zero-shot"),
    "later": ("phrase", "temperature", "zero-shot"),
    "samples": 2,
    "chunk": 3,
}


def rows(data):
    return [json.loads(line) for line in data.split(b"\n") if line]


def test_training_data_is_keyed_by_the_zero_shot_prompt(world, scripted, tmp_path):
    policy = scripted(sensible)
    prompts = {"first": (Prompt("few-shot-1", (Demonstration("a?", (), "a"),)),), "later": ()}
    made = explorers(world, policy, prompts, first=("few-shot",), later=("phrase", "zero-shot"))
    groups = explore(made, world.questions[:1], tmp_path / "j")
    made_files = files(world, groups, policy, tmp_path)
    first, second = rows(made_files["sft.jsonl"])
    assert first["completion"] == "Anna Berg"  # written from a demonstration, learnt without
    assert "a?" not in first["prompt"]
    assert first["prompt"].endswith(f"Question: {world.questions[0].question}\nAssistant:")
    assert second["completion"] == "Lund"
    assert "Anna Berg: Anna Berg was a painter born in Lund." in second["prompt"]
    zero_shot = [call.prompts for call in policy.generator.calls][1]
    assert zero_shot == (second["prompt"],)  # the very text that was asked with
    assert all(
        row["prompt"] in (first["prompt"], second["prompt"]) for row in rows(made_files["preferences.jsonl"])
    )


def test_pairs_of_the_model_alone(world, scripted, tmp_path):
    policy = scripted(lambda asked: "nothing" if asked.sample else sensible(asked))
    groups = explore(explorers(world, policy, **RULED), world.questions[:2], tmp_path / "j")
    every = rows(files(world, groups, policy, tmp_path / "all")["preferences.jsonl"])
    own = rows(
        files(
            world, groups, policy, tmp_path / "own", preference={"explorers": ["temperature", "zero-shot"]}
        )["preferences.jsonl"]
    )
    assert {row["chosen"] for row in own} == {"Lund", "Oslo"}
    assert {row["rejected"] for row in own} == {"nothing"}
    assert len(own) < len(every)
    total = rows(
        files(world, groups, policy, tmp_path / "total", preference={"total_pairs": 3})["preferences.jsonl"]
    )
    assert len(total) == 3
    assert total == [row for row in every if row in total]
    few = rows(
        files(world, groups, policy, tmp_path / "few", preference={"max_pairs": 1})["preferences.jsonl"]
    )
    assert len(few) == len({row["prompt"] for row in few})


# --- resuming ---------------------------------------------------------------------------------------------


class BatchBound(Scripted):
    """Answers that depend on the whole batch, as the last bits of a real model's do."""

    def generate(self, prompts, sampling, samples=1):
        groups = super().generate(prompts, sampling, samples)
        size = sum(map(len, prompts)) % 7
        return [[replace(one, text=f"{one.text} {'abcdefg'[size]}") for one in group] for group in groups]


@pytest.mark.parametrize("contexts", [1, 2])
def test_resumed_from_any_instant_it_writes_the_same_bytes(world, scripted, tmp_path, contexts):
    policy = scripted(
        lambda asked: f"{name_in(asked.question)} {asked.sample}" if asked.sample else sensible(asked)
    )
    policy = replace(policy, generator=BatchBound(policy.generator._answer))
    made = explorers(world, policy, **RULED, contexts=contexts)
    whole = files(world, explore(made, world.questions, tmp_path / "whole.jsonl"), policy, tmp_path / "whole")
    journal = (tmp_path / "whole.jsonl").read_bytes()
    ends = [0, *itertools.accumulate(len(line) + 1 for line in journal.split(b"\n")[:-1])]
    assert len(ends) > 16
    for end in [*ends, *(end - 5 for end in ends[1:]), 3]:
        (tmp_path / "cut.jsonl").write_bytes(journal[:end])
        groups = explore(made, world.questions, tmp_path / "cut.jsonl")
        assert files(world, groups, policy, tmp_path / "cut") == whole
        assert (tmp_path / "cut.jsonl").read_bytes() == journal


def test_what_is_journalled_is_not_asked_again(world, scripted, tmp_path):
    policy = scripted(sensible)
    made = explorers(world, policy, chunk=2)
    explore(made, world.questions[:4], tmp_path / "j")
    asked = len(policy.generator.calls)
    again = explore(made, world.questions[:4], tmp_path / "j")
    assert len(policy.generator.calls) == asked
    assert len(again) == 8
    explore(made, world.questions[:4], tmp_path / "j", iteration=2)
    assert len(policy.generator.calls) == 2 * asked
