"""The table: rows, names and values worked by hand, with policies that are scripts."""

import json

import pytest

from lmtools.core.errors import RunError
from lmtools.core.run import Run
from lmtools.leret import evaluate as module
from lmtools.leret.evaluate import evaluate
from lmtools.leret.inputs import LeretInputs
from lmtools.leret.policy import question_as_query, search_with
from lmtools.leret.prompts import Demonstration, Prompt, write_prompts
from lmtools.leret.recipe import HopSettings, LeretRecipe
from lmtools.retrieval.protocol import Hit

NAMES = ("question-as-query", "zero-shot base", "few-shot base", "SFT", "SFT + preference")


def name_in(asked):
    return asked.question.partition(" of ")[2].partition(",")[0]


def town_in(asked):
    return asked.found.rpartition("born in ")[2].partition(".")[0]


def base(asked):
    """Answers from passages; writes a query only after a demonstration, and finds the person at best."""
    if "search" not in asked.before + asked.found:
        return asked.found.rpartition("country of ")[2].partition(".")[0]
    return name_in(asked) if "where?" in asked.before else "nothing"


def sft(asked):
    """Finds the town of painters only."""
    if ":" not in asked.found:
        return name_in(asked)
    return town_in(asked) if "painter" in asked.question else ""


def aligned(asked):
    """Finds person and town."""
    return town_in(asked) if ":" in asked.found else name_in(asked)


POLICIES = {None: base, "sft": sft, "policy": aligned}


@pytest.fixture
def measure(world, scripted, tmp_path, monkeypatch):
    """``measure(changes)``: the results on two questions, of three scripted checkpoints."""
    opened = []

    def open_policy(spec, recipe):
        kind = spec.adapter and spec.adapter.rpartition("/")[2]
        opened.append(kind)
        return scripted(POLICIES[kind])

    monkeypatch.setattr(module, "open_policy", open_policy)
    trained = tmp_path / "trained"
    for folder in ("policy", "iterations/1/sft", "iterations/1/policy"):
        (trained / folder).mkdir(parents=True)
        (trained / folder / "adapter_config.json").write_text("{}")
    shown = Prompt("few-shot-1", (Demonstration("where?", (), "there"),))
    write_prompts(trained / "prompts.json", {"first": (shown,), "later": ()})

    def run(changes=None, resume=False, questions=world.questions[:2]):
        recipe = LeretRecipe.model_validate({"hop": {"k": 1}, "eval": {"resamples": 200, **(changes or {})}})
        setup = LeretInputs(recipe, (), questions, world.retriever, {})
        with Run.create(
            tmp_path / "run", recipe, command=["lmtools"], inputs={}, resume=resume, seed=0
        ) as opened_run:
            return evaluate(setup, opened_run, trained, "r")

    run.trained, run.opened, run.out = trained, opened, tmp_path / "run"
    return run


def values(results, metric):
    return {row.name: row.metrics[metric].value for row in results.rows}


def test_rows_by_hand(measure):
    results = measure()
    # Gold is a person and a town. The question's only words in the corpus are the person's name and craft.
    assert values(results, "recall@hop1") == dict(zip(NAMES, (0.5, 0.0, 0.5, 0.5, 0.5), strict=True))
    assert values(results, "recall@hop2") == dict(zip(NAMES, (0.5, 0.0, 0.5, 0.75, 1.0), strict=True))
    assert values(results, "ap@hop2") == values(results, "recall@hop2")  # no wrong passage before a right one
    assert {row.metrics["recall@hop2"].n for row in results.rows} == {2}


def test_differences_are_paired_with_the_last_row(measure):
    found = {(d.a, d.b, d.metric): d for d in measure().differences}
    assert {a for a, _, _ in found} == {"SFT + preference"}
    gain = found["SFT + preference", "SFT", "recall@hop2"]
    assert (gain.value, gain.n) == (0.25, 2)
    assert gain.low < 0 < 0.5 < gain.high  # of one question 0, of the other .5: that is next to nothing
    certain = found["SFT + preference", "question-as-query", "recall@hop2"]
    assert certain.value == 0.5
    assert certain.low < 0  # of both .5: no certainty


def test_answers_of_a_generator(measure):
    results = measure({"answers": True, "policies": ["zero-shot", "sft", "trained"]})
    assert values(results, "em") == {"zero-shot base": 0.0, "SFT": 0.5, "SFT + preference": 1.0}
    assert values(results, "f1") == values(results, "em")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_traces_are_left_to_read(measure):
    measure()
    assert lines(measure.out / "traces/sft.jsonl") == [
        {
            "question_id": "q0",
            "row": "SFT",
            "queries": ["Anna Berg", "Lund"],
            "titles": [["Anna Berg"], ["Anna Berg", "Lund"]],
            "found": [[["p0", "Anna Berg"]], [["t0", "Lund"]]],
        },
        {
            "question_id": "q1",
            "row": "SFT",
            "queries": ["Carl Dahl", ""],
            "titles": [["Carl Dahl"], ["Carl Dahl"]],
            "found": [[["p1", "Carl Dahl"]], []],
        },
    ]


def test_questions_and_passages_are_left_beside_the_traces(measure, monkeypatch):
    monkeypatch.setattr("lmtools.leret.evaluate.LONGEST", 32)
    measure({"policies": ["sft"]})
    assert lines(measure.out / "traces/questions.jsonl")[1] == {
        "id": "q1",
        "question": "The birthplace of Carl Dahl, a composer, belongs to which state?",
        "answer": "Norway",
        "supporting": ["Carl Dahl", "Oslo"],
        "kind": "bridge",
    }
    assert lines(measure.out / "traces/passages.jsonl") == [  # once each, though two hops have p0 in context
        {"id": "p0", "title": "Anna Berg", "text": "Anna Berg was a painter born in…"},
        {"id": "t0", "title": "Lund", "text": "Lund lies in the country of Swe…"},
        {"id": "p1", "title": "Carl Dahl", "text": "Carl Dahl was a composer born i…"},
    ]


def test_a_trace_names_its_row_in_the_results(measure):
    measure.trained.joinpath("iterations/1/sft").rename(measure.trained.parent / "gone")
    results = measure({"policies": ["trained"]})
    [name] = [row.name for row in results.rows]
    assert {line["row"] for line in lines(measure.out / "traces/trained.jsonl")} == {name} == {"preference"}


def test_resumed_it_opens_no_model_again(measure):
    first = measure({"answers": True})
    opened = list(measure.opened)
    again = measure({"answers": True}, resume=True)
    assert measure.opened == opened
    assert again.rows == first.rows


@pytest.mark.parametrize(
    ("missing", "names"),
    [
        ("prompts.json", ["zero-shot base", "SFT", "SFT + preference"]),
        ("iterations/1/sft", ["zero-shot base", "few-shot base", "preference"]),
        ("iterations/1/policy", ["zero-shot base", "few-shot base", "SFT"]),
    ],
)
def test_a_row_for_what_is_there(measure, missing, names):
    gone = measure.trained / missing
    gone.rename(measure.trained.parent / "gone")
    results = measure({"policies": ["zero-shot", "few-shot", "sft", "trained"]})
    assert [row.name for row in results.rows] == names


def test_the_last_iteration_that_trained_is_measured(measure, tmp_path):
    later = measure.trained / "iterations/10/sft"
    later.mkdir(parents=True)
    assert module.last_stage(measure.trained, "sft") == later
    assert module.last_stage(measure.trained, "policy") == measure.trained / "iterations/1/policy"


def test_nothing_to_measure_is_told(measure):
    (measure.trained / "prompts.json").unlink()
    with pytest.raises(RunError, match=r"nothing of eval\.policies"):
        measure({"policies": ["few-shot"]})


def test_a_folder_without_a_policy_is_told(tmp_path):
    with pytest.raises(RunError, match="holds no trained policy") as error:
        module.checkpoint(tmp_path, "trained")
    assert "leret train" in error.value.fix


def test_kinds_of_questions_get_rows_of_their_own(measure, world):
    questions = tuple(
        question.model_copy(update={"kind": "bridge" if number < 5 else "comparison"})
        for number, question in enumerate(world.questions)
    )
    results = measure({"policies": ["sft"]}, questions=questions)
    [row] = results.rows
    assert row.metrics["bridge/recall@hop1"].n == 5
    assert row.metrics["bridge/recall@hop2"].value == pytest.approx((1.0 + 4 * 0.5) / 5)
    assert not any(name.startswith("comparison/") for name in row.metrics)  # three are too few


class Ranked:
    """Every query finds the passages a, b, c ... in this order."""

    identity = "ranked"

    def search(self, queries, k):
        return [
            [Hit(name, name.upper(), 9.0 - place) for place, name in enumerate("abcdefgh")][:k]
            for _ in queries
        ]


def test_question_as_query_has_the_same_budget_at_every_hop(world):
    [trace] = question_as_query(world.questions[:1], Ranked(), HopSettings(k=3, hops=2))
    assert [context.titles for context in trace.contexts] == [["A", "B", "C"], ["A", "B", "C", "D", "E", "F"]]
    assert trace.queries == (world.questions[0].question,) * 2


def test_a_search_goes_hop_by_hop(world, scripted):
    policy = scripted(POLICIES["policy"])
    prompts = (Prompt("one"), Prompt("two", (Demonstration("where?", (), "there"),)))
    question = world.questions[0].question
    hop = HopSettings(k=1, hops=3)
    [(queries, contexts)] = search_with(policy, prompts, [question], world.retriever, hop)
    assert queries == ("Anna Berg", "Lund", "Lund")
    assert [context.titles for context in contexts] == [
        ["Anna Berg"],
        ["Anna Berg", "Lund"],
        ["Anna Berg", "Lund"],
    ]
    demonstrations = [call.prompts[0].count("where?") for call in policy.generator.calls]
    assert demonstrations == [0, 1, 1]  # the prompt of the first hop, then that of the later ones
