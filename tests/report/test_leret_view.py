"""LeReT's part of a page: from files by hand with values worked out, and from runs of the real code."""

import json
from pathlib import Path

import pytest
from sample_page import HOSTILE
from small_world import write_recipe

from lmtools.core.errors import DataError
from lmtools.core.recipe import load_recipe
from lmtools.core.results import read_results
from lmtools.core.run import Run
from lmtools.leret.api import explore, train
from lmtools.leret.inputs import prepare
from lmtools.leret.recipe import LeretRecipe
from lmtools.report import leret, leret_explored, leret_questions
from lmtools.report.budget import ByteBudget
from lmtools.report.elements import Browser, Dots, Grid, Lines, Prose, Table
from lmtools.report.html import Chapter, page_html
from lmtools.report.run_files import read_source

ASKED = (("q0", ("A", "B"), "bridge"), ("q1", ("A", "B"), "bridge"), ("q2", ("C", "D"), "comparison"),
         ("q3", ("C", "D"), "comparison"), ("q4", ("C", "D"), ""))  # fmt: skip
BEFORE = {"q0": ("x", "A"), "q1": ("A", "B"), "q2": ("C", "D"), "q3": ("C", "x"), "q4": ("x", "y")}
AFTER = {"q0": ("A", "B"), "q1": ("x", "y"), "q2": ("D", "C"), "q3": ("x", "D"), "q4": ("C", "D")}
"""The passage that each of two hops adds."""


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def trace(name, row, found, queries=("one", "two")):
    hops = [[[title.lower(), title]] for title in found]
    return {"question_id": name, "row": row, "queries": list(queries), "found": hops,
            "titles": [list(found[: place + 1]) for place in range(len(found))]}  # fmt: skip


@pytest.fixture
def source(tmp_path):
    """``source()``: an empty run, read again at each call."""
    recipe = LeretRecipe.model_validate({})
    Run.create(tmp_path / "run", recipe, command=["lmtools"], inputs={}, resume=False, seed=0).close()
    return lambda: read_source(tmp_path / "run")


@pytest.fixture
def evaluated(source):
    """Five questions, the base model before and the trained policy after."""
    folder = source().path("traces")
    write(folder / "questions.jsonl", [
        {"id": name, "question": f"Question {name}?", "answer": "42", "supporting": gold, "kind": kind}
        for name, gold, kind in ASKED
    ])  # fmt: skip
    write(
        folder / "passages.jsonl", [{"id": n.lower(), "title": n, "text": f"All about {n}."} for n in "ABCD"]
    )
    write(folder / "zero-shot.jsonl", [trace(n, "zero-shot base", found) for n, found in BEFORE.items()])
    write(folder / "trained.jsonl", [trace(n, "SFT + preference", found) for n, found in AFTER.items()])
    return source


def parts(run, kind):
    found = [part for section in leret.sections(run) for part in section.parts]
    found += [chart for part in found if isinstance(part, Grid) for chart in part.charts]
    return [part for part in found if isinstance(part, kind)]


def browser(run):
    [found] = parts(run, Browser)
    return found


def notes(run):
    return " ".join(part.text for part in parts(run, Prose) if part.kind == "note")


def test_a_run_of_another_system_has_no_part_of_it(source):
    assert leret.sections(source()) == []
    assert leret.outcomes(source()) == {}


def test_outcomes_worked_by_hand(evaluated):
    found = leret.outcomes(evaluated())
    assert list(found) == ["zero-shot base", "SFT + preference"]
    assert found["zero-shot base"]["recall@hop1"] == {"q0": 0, "q1": 0.5, "q2": 0.5, "q3": 0.5, "q4": 0}
    assert found["zero-shot base"]["recall@hop2"] == {"q0": 0.5, "q1": 1, "q2": 1, "q3": 0.5, "q4": 0}
    assert found["zero-shot base"]["ap@hop2"]["q0"] == pytest.approx(
        0.25
    )  # second of two places, of two gold
    assert found["SFT + preference"]["recall@hop2"] == {"q0": 1, "q1": 0, "q2": 1, "q3": 0.5, "q4": 1}


def test_every_question_has_its_outcome_and_great_changes_come_first(evaluated):
    found = browser(evaluated())
    told = [(entry.cells[0], entry.options["Outcome"], entry.cells[3]) for entry in found.entries]
    assert told == [
        ("Question q1?", "got worse", "2 → 0 of 2"),
        ("Question q4?", "got better", "0 → 2 of 2"),
        ("Question q0?", "got better", "1 → 2 of 2"),
        ("Question q3?", "still missing", "1 → 1 of 2"),
        ("Question q2?", "found both times", "2 → 2 of 2"),
    ]
    assert found.filters["Kind"] == ["bridge", "comparison"]
    assert "Kind" not in found.entries[1].options
    assert found.title == "Every question: zero-shot base before, SFT + preference after"
    assert all(set(entry.options) <= set(found.filters) for entry in found.entries)


def test_the_detail_says_what_each_hop_added_with_gold_marked_and_the_text(evaluated):
    entry = browser(evaluated()).entries[2]
    gold, *hops = entry.detail
    assert [item.text for item in gold.items] == ["A", "B"]
    assert "42" in gold.text
    assert [block.heading for block in hops] == [
        "Before, zero-shot base: hop 1", "Before, zero-shot base: hop 2",
        "After, SFT + preference: hop 1", "After, SFT + preference: hop 2",
    ]  # fmt: skip
    assert [[(item.text, item.mark) for item in block.items] for block in hops] == [
        [("x", "")], [("A", "gold")], [("A", "gold")], [("B", "gold")]
    ]  # fmt: skip
    assert hops[3].text == "two"
    assert hops[3].items[0].more == "All about B."


def test_a_hop_that_found_nothing_new_says_so(evaluated):
    run = evaluated()
    line = trace("q0", "SFT", ("A", "B"), ("", "again"))
    write(run.path("traces", "trained.jsonl"), [line | {"found": [line["found"][0], []]}])
    [entry] = browser(run).entries
    assert entry.cells[2] == "(an empty query) · then: again"
    assert "nothing new" in entry.detail[4].text


def test_before_is_the_question_where_no_base_was_measured(evaluated):
    run = evaluated()
    run.path("traces", "zero-shot.jsonl").rename(run.path("traces", "question.jsonl"))
    assert browser(run).entries[0].cells[1] == "the question itself"


def test_one_policy_alone_is_compared_with_nothing(evaluated):
    run = evaluated()
    run.path("traces", "zero-shot.jsonl").unlink()
    found = browser(run)
    assert found.columns == ["Question", "Query", "Gold found"]
    assert found.filters["Outcome"] == ("still missing", "found both times")
    assert {len(entry.cells) for entry in found.entries} == {3}


def test_every_outcome_is_among_the_first(evaluated, monkeypatch):
    monkeypatch.setattr(leret_questions, "EACH", 1)
    order = [entry.options["Outcome"] for entry in browser(evaluated()).entries]
    assert order == ["got worse", "got better", "still missing", "found both times", "got better"]


def test_of_very_many_questions_the_first_are_listed_and_that_is_said(evaluated, monkeypatch):
    monkeypatch.setattr(leret_questions, "MOST", 2)
    assert len(browser(evaluated()).entries) == 2
    assert "first 2 of 5 questions" in notes(evaluated())


def test_texts_are_for_the_first_entries(evaluated, monkeypatch):
    monkeypatch.setattr(leret_questions, "MOST_WITH_TEXTS", 1)
    entries = browser(evaluated()).entries
    texts = [[item.more for block in entry.detail for item in block.items if item.more] for entry in entries]
    assert texts[0] == ["All about A.", "All about B."]
    assert "All about C." not in texts[1]  # q4: only what the first entry shows is read
    assert entries[1].detail[3].items[0].text == "C"


def test_an_old_run_says_how_to_get_the_questions(evaluated):
    run = evaluated()
    run.path("traces", "questions.jsonl").unlink()
    for kind in ("zero-shot", "trained"):
        path = run.path("traces", f"{kind}.jsonl")
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        write(path, [{key: row[key] for key in ("question_id", "queries", "titles")} for row in rows])
    assert not parts(run, Browser)
    assert "lmtools leret eval --policy" in notes(run)
    assert leret.outcomes(run) == {}


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"question_id": "q0"}', '{"question_id": 1, "queries": [], "titles": []}',
     '{"question_id": "q0", "queries": "one", "titles": [["A"]]}',
     '{"question_id": "q0", "queries": [], "titles": [["A"]]}',
     '{"question_id": "q0", "queries": ["one"], "titles": [["A"]], "found": [[["a"]]]}'],
)  # fmt: skip
def test_a_damaged_trace_is_told_with_its_line(evaluated, line):
    run = evaluated()
    with run.path("traces", "trained.jsonl").open("a") as stream:
        stream.write(f"{line}\n")
    with pytest.raises(DataError, match=r"traces/trained\.jsonl:6: damaged") as error:
        leret.sections(run)
    assert "restore" in error.value.fix


# Exploration


def sample(question, hop, prompt, query, found, reward, context=()):
    hits = [{"id": title.lower(), "title": title, "score": 1.0} for title in found]
    return {"question_id": question, "iteration": 1, "hop": hop, "context": list(context),
            "prompt_id": prompt, "query": query, "hits": hits, "reward": reward}  # fmt: skip


SAMPLES = [
    sample("q0", 1, "rule:question", "all", ("x", "A"), 0.5),
    sample("q0", 1, "temperature-1", "none", ("x",), 0.0),
    sample("q0", 1, "temperature-2", "none", ("x",), 0.0),
    sample("q0", 2, "zero-shot", "rest", ("B", "y"), 1.0, ("x", "a")),
    sample("q1", 1, "rule:question", "bad", ("x",), 0.0),
    sample("q2", 1, "rule:question", "half", ("C",), 0.5),
]


@pytest.fixture
def explored(source):
    run = source()
    write(run.path("samples.jsonl"), SAMPLES)
    write(run.path("samples.questions.jsonl"), [
        {"id": name, "question": f"Question {name}?", "answer": "", "supporting": gold, "kind": kind}
        for name, gold, kind in ASKED
    ])  # fmt: skip
    return source


def test_reward_by_prompt_and_hop(explored):
    first, second = parts(explored(), Dots)
    assert [(name, one.value, one.n) for name, one in first.rows] == [
        ("rule:question", pytest.approx(1 / 3), 3), ("temperature", 0.0, 2)
    ]  # fmt: skip
    assert [(name, one.value) for name, one in second.rows] == [("zero-shot", 1.0)]
    assert first.title.endswith("hop 1")
    assert not parts(explored(), Lines)  # there is one iteration


def test_what_was_tried_question_by_question(explored):
    found = browser(explored())
    assert [(e.cells[0], *e.cells[1:], e.options["Best query found"]) for e in found.entries] == [
        ("Question q1?", "bad", "0.0 %", "0 of 2", "1", "none of the gold"),
        ("Question q2?", "half", "50.0 %", "1 of 2", "1", "some of the gold"),
        ("Question q0?", "rest", "100.0 %", "2 of 2", "3", "all of the gold"),
    ]
    gold, hop1, hop2 = found.entries[2].detail
    assert [item.text for item in gold.items] == ["A", "B"]
    assert [(item.text, item.mark) for item in hop1.items] == [
        ("50.0 % · all · rule:question", "gold"), ("0.0 % · none · temperature", "")
    ]  # fmt: skip
    assert hop2.text == "After: x; A (gold)"
    assert hop2.items[0].more == "B (gold)\ny"


def test_the_best_of_very_many_queries_are_shown(explored, monkeypatch):
    monkeypatch.setattr(leret_explored, "MOST_QUERIES", 1)
    hop1 = browser(explored()).entries[2].detail[1]
    assert [item.text for item in hop1.items] == ["50.0 % · all · rule:question"]
    assert hop1.text == "The best 1 of 2 queries:"


def test_beyond_a_number_of_samples_only_figures_are_kept(explored, monkeypatch):
    monkeypatch.setattr("lmtools.report.leret_explored.MOST", 4)
    assert [entry.cells[0] for entry in browser(explored()).entries] == ["Question q0?"]
    assert "1 of 3 questions" in notes(explored())
    assert parts(explored(), Dots)[0].rows[0][1].n == 3


def test_without_their_questions_the_samples_are_told_by_id_and_reward(explored):
    run = explored()
    run.path("samples.questions.jsonl").unlink()
    found = browser(run)
    assert [(entry.cells[0], entry.options["Best query found"]) for entry in found.entries] == [
        ("q1", "reward 0"), ("q2", "reward between 0 and 1"), ("q0", "reward 1")
    ]  # fmt: skip
    assert "lmtools leret explore" in notes(run)


def test_an_unfinished_run_shows_its_iterations(source):
    run = source()
    for number in (2, 10):
        rows = [
            row | {"iteration": number} for row in SAMPLES if number == 2 or row["prompt_id"] != "zero-shot"
        ]
        write(run.path("iterations", str(number), "samples.jsonl"), rows)
        earned = {"zero-shot": {"queries": 10.0 * number, "reward": number / 20, "best": 0.5}}
        run.path("iterations", str(number), "explorers.json").write_text(json.dumps(earned))
    [chart] = parts(run, Lines)
    means = {line.name: [point[:2] for point in line.points] for line in chart.lines}
    assert means["all prompts"] == [(2, pytest.approx(2 / 6)), (10, pytest.approx(1 / 5))]
    assert means["zero-shot"] == [(2, 1.0)]
    [table] = parts(run, Table)
    assert table.rows == [("zero-shot", "120", "43.3 %", "50.0 %")]  # (20 · .1 + 100 · .5) / 120


@pytest.mark.parametrize("change", [{"reward": None}, {"reward": True}, {"hits": 3}, {"hop": "1"}])
def test_a_damaged_sample_is_told_with_its_line(explored, change):
    run = explored()
    write(run.path("samples.jsonl"), [*SAMPLES, SAMPLES[0] | change])
    with pytest.raises(DataError, match=r"samples\.jsonl:7: damaged"):
        leret.sections(run)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": {"queries": 1}}', '{"a": 1}'])
def test_a_damaged_table_of_explorers_is_told(explored, content):
    run = explored()
    run.path("explorers.json").write_text(content)
    with pytest.raises(DataError, match=r"explorers\.json: damaged"):
        leret.sections(run)


# Training


def test_training_curves(source):
    run = source()
    steps = [{"loss": 2.0 / n, "learning_rate": 0.1, "step": n, "epoch": n / 3} for n in (1, 2, 3)]
    last = {"train_loss": 1.2, "train_runtime": 75.0, "step": 3, "epoch": 1.0}
    odd = {"loss": float("nan"), "step": 4}
    write(run.path("iterations/1/sft.log.jsonl"), [*steps, odd, last])
    write(run.path("iterations/1/policy.log.jsonl"), [last])
    loss, rate = parts(run, Lines)
    assert (loss.title, rate.title) == ("SFT: loss", "SFT: learning rate")
    assert loss.lines[0].points == [(1.0, 2.0), (2.0, 1.0), (3.0, 2.0 / 3)]
    [table] = parts(run, Table)
    assert [row[:4] for row in table.rows] == [
        ("SFT, iteration 1", "3", "1", "1.2"), ("preference, iteration 1", "3", "1", "1.2")
    ]  # fmt: skip


def test_long_curves_are_thinned_to_their_end(source):
    run = source()
    write(run.path("iterations/1/sft.log.jsonl"), [{"loss": 1.0, "step": n} for n in range(1, 5001)])
    [loss] = parts(run, Lines)
    points = loss.lines[0].points
    assert len(points) < 320
    assert (points[0][0], points[-1][0]) == (1.0, 5000.0)


# From the code that makes runs


def run_of(recipe_file, out, command):
    recipe = load_recipe(LeretRecipe, str(recipe_file), default="")
    setup = prepare(recipe)
    with Run.create(out, recipe, command=["lmtools"], inputs=setup.hashes, resume=False, seed=0) as run:
        run.finish(command(setup, run, "r"))
    return read_source(out)


@pytest.fixture
def small_recipe(tmp_path, tiny_llama, own_cache):
    return lambda changes=None: write_recipe(tmp_path / "world", tiny_llama, changes)


def test_outcomes_of_a_real_run_are_those_of_its_results(small_recipe, tmp_path):
    run = run_of(small_recipe(), tmp_path / "trained", train)
    results = read_results(run.path("metrics.json"))
    found = leret.outcomes(run)
    assert list(found) == [row.name for row in results.rows]
    for row in results.rows:
        for metric, values in found[row.name].items():
            assert sum(values.values()) / len(values) == pytest.approx(row.metrics[metric].value)
    titles = [section.title for section in leret.sections(run)]
    assert titles == ["Hop by hop", "Question by question", "What was tried", "Training"]
    hops = [chart for chart in parts(run, Dots) if "gold passages" in chart.title]
    assert [chart.title for chart in hops] == [f"Recall of the gold passages, hop {n}" for n in (1, 2)]
    assert [name for name, _ in hops[0].rows] == [row.name for row in results.rows]
    [questions] = parts(run, Browser)
    assert len(questions.entries) == 3
    run.path("traces", "zero-shot.jsonl").unlink()  # so that the question's own passages are those before
    [questions] = parts(run, Browser)
    passages = [item for block in questions.entries[0].detail[1:] for item in block.items if item.more]
    assert all(item.text in item.more for item in passages)  # every text of the small world says its title
    assert "gold" in {item.mark for item in passages}


def test_an_exploration_by_the_real_code(small_recipe, tmp_path):
    run = run_of(small_recipe(), tmp_path / "explored", explore)
    assert [section.title for section in leret.sections(run)] == ["What was tried"]
    found = browser(run)
    assert len(found.entries) == 5
    assert all("of 2" in entry.cells[3] for entry in found.entries)
    assert not notes(run)
    assert parts(run, Table)[0].title == "What each prompt earned"


def test_many_hops_are_one_chart(source):
    metrics = {f"recall@hop{n}": {"value": n / 10, "low": 0, "high": 1, "n": 9} for n in range(1, 11)}
    head = {"recipe": "r", "command": "c", "seed": 0, "versions": {}, "machine": {}}
    rows = [{"name": "SFT", "metrics": metrics | {"bridge/recall@hop10": metrics["recall@hop1"]}}]
    source().path("metrics.json").write_text(json.dumps({**head, "rows": rows}))
    [chart] = parts(source(), Lines)
    assert [point[0] for point in chart.lines[0].points] == list(range(1, 11))
    [table] = parts(source(), Table)
    assert (table.title, table.columns) == ("Recall after hop 10, by kind of question", ["", "bridge"])


def test_hostile_text_stays_text(evaluated, explored):
    run = evaluated()
    for name, bad in zip(BEFORE, HOSTILE, strict=False):
        for kind in ("zero-shot", "trained"):
            write(run.path("traces", f"{kind}.jsonl"), [trace(name, bad, (bad, bad + "2"), (bad, bad))])
        asked = {"id": name, "question": bad, "answer": bad, "supporting": [bad], "kind": bad}
        write(run.path("traces", "questions.jsonl"), [asked])
        [entry] = browser(run).entries
        assert entry.cells[0] == bad
        assert entry.detail[1].items[0].text == bad
        assert entry.detail[1].items[0].mark == "gold"
        page = page_html("run", [Chapter("run", leret.sections(run))], ByteBudget("left.jsonl"))
        assert bad not in page.partition('id="data"')[2].partition("</script>")[0] or "<" not in bad


def test_every_part_becomes_a_page(evaluated, explored, tmp_path: Path):
    page = page_html("run", [Chapter("run", leret.sections(evaluated()))], ByteBudget("left.jsonl"))
    assert "Every question: zero-shot base before" in page
