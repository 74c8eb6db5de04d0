"""`lmtools data`: exit codes, one message, machine-readable output, nothing half-written."""

import json

import pytest
from imported import HEAVY, modules_after

from lmtools.cli.app import run

QUESTION = '{"id": "a", "question": "Who?", "supporting": ["T"]}\n'
PASSAGE = '{"id": "1", "title": "T", "text": "x"}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "q.jsonl").write_text(QUESTION)
    (tmp_path / "c.jsonl").write_text(PASSAGE)
    return tmp_path


def test_check_tells_what_a_file_is(folder, capsys):
    assert run(["data", "check", "q.jsonl", "--corpus", "c.jsonl"]) == 0
    assert (
        capsys.readouterr().out
        == "q.jsonl: questions in the lmtools contract; 1 records, 1 questions; no faults\n"
    )


def test_check_as_json(folder, capsys):
    assert run(["data", "check", "c.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["records"], found["passages"], found["remarks"]) == ("corpus", 1, 1, [])


BAD = {
    "a missing column": ('{"id": "a", "questoin": "x"}\n', "bad.jsonl:1: question: missing"),
    "a wrong type": ('{"id": 1.5, "question": "x"}\n', "bad.jsonl:1: id: expected text, found a number"),
    "duplicate ids": (QUESTION * 2, "bad.jsonl:2: id: 'a' is the id of line 1 too"),
    "broken JSON": (QUESTION + '{"id": "b",\n', "bad.jsonl:2: broken JSON at column"),
    "a passage of 5 MB": (PASSAGE.replace('"x"', f'"{"x" * 5_000_000}"'), "bad.jsonl:1: text: 5,000,000"),
    "a NUL byte": ('{"id": "b", "question": "\x00"}\n', "bad.jsonl:1: a NUL byte at column"),
    "an escaped NUL": ('{"id": "b", "question": "\\u0000"}\n', "bad.jsonl:1: question: a NUL character"),
    "a lone surrogate": ('{"id": "b", "question": "\\ud800"}\n', "bad.jsonl:1: question: half a surrogate"),
    "an empty file": ("", "bad.jsonl: empty"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["check", "prepare"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_2_and_one_message(folder, capsys, command, name):
    text, expected = BAD[name]
    (folder / "bad.jsonl").write_text(text)
    kind = "corpus" if "title" in text else "questions"
    extra = ["--to", kind, "--out", "out.jsonl"] if command == "prepare" else []
    if (command, name) == ("prepare", "duplicate ids"):  # exact repeats are dropped there
        (folder / "bad.jsonl").write_text(text.replace("Who?", "Where?", 1))
    before = set(folder.iterdir())
    assert run(["data", command, "bad.jsonl", *extra]) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"error: {expected}")
    assert said.err.count("error:") == 1
    assert "fix:" in said.err
    assert "Traceback" not in said.err
    assert said.out == ""
    assert set(folder.iterdir()) == before


MISFITS = {
    "a gold title not in the corpus": (
        QUESTION.replace('"T"', '"Z"'),
        PASSAGE,
        "gold title 'Z' is not in the corpus",
    ),
    "a question without gold": ('{"id": "a", "question": "Who?"}\n', PASSAGE, "question 'a': no gold title"),
    "an empty corpus": (QUESTION, "", "c.jsonl: empty"),
}


@pytest.mark.parametrize("name", MISFITS)
def test_questions_and_corpus_that_do_not_fit(folder, capsys, name):
    questions, corpus, expected = MISFITS[name]
    (folder / "q.jsonl").write_text(questions)
    (folder / "c.jsonl").write_text(corpus)
    assert run(["data", "check", "q.jsonl", "--corpus", "c.jsonl"]) == 2
    assert expected in capsys.readouterr().err


def test_prepare_writes_and_counts(folder, capsys):
    (folder / "q.csv").write_text("id,question,supporting\na,Who?,T | U\n")
    assert run(["data", "prepare", "q.csv", "--to", "questions", "--out", "out.jsonl", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "source": "q.csv", "format": "questions", "out": "out.jsonl",
        "records": 1, "written": 1, "left_out": {},
    }  # fmt: skip
    assert said.err == (
        "out.jsonl: 1 questions from 1 records (questions)\n"
        "next: lmtools leret train --set data.train=out.jsonl --set data.test=TEST "
        "--set data.corpus=PASSAGES\n"
    )
    assert json.loads((folder / "out.jsonl").read_text())["supporting"] == ["T", "U"]


CHOICE = '{"id": "a", "question": "Which?", "choices": ["x", "y"], "answer": 1}\n'


def test_check_and_prepare_of_other_kinds(folder, capsys):
    (folder / "sums_test.csv").write_text("One and one?,1,2,3,4,B\n")
    assert run(["data", "check", "sums_test.csv"]) == 0
    expected = "sums_test.csv: MMLU; 1 records, 1 multiple-choice questions; no faults\n"
    assert capsys.readouterr().out == expected
    assert run(["data", "prepare", "sums_test.csv", "--to", "choices", "--out", "out.jsonl"]) == 0
    assert capsys.readouterr().err == (
        "out.jsonl: 1 multiple-choice questions from 1 records (mmlu)\n"
        "next: lmtools eval calibration --task out.jsonl\n"
    )
    assert json.loads((folder / "out.jsonl").read_text()) == {
        "id": "sums-test-0", "question": "One and one?", "choices": ["1", "2", "3", "4"],
        "answer": 1, "subject": "sums",
    }  # fmt: skip


def test_pairs_of_a_folder_become_one_file(folder, capsys):
    (folder / "users").mkdir()
    said = {
        side: f"\n\nHuman: Hi\n\nAssistant: {text}"
        for side, text in (("chosen", "Hey."), ("rejected", "No."))
    }
    for name in ("ann", "bob"):
        (folder / "users" / f"{name}.jsonl").write_text(json.dumps(said))
    assert run(["data", "prepare", "users", "--to", "preferences", "--out", "out.jsonl"]) == 0
    assert capsys.readouterr().err == (
        "out.jsonl: 2 preference pairs from 2 records (hh-rlhf)\n"
        "next: lmtools hyre train --set data.train=out.jsonl\n"
    )
    first, second = map(json.loads, (folder / "out.jsonl").read_text().splitlines())
    assert (first["distribution"], second["distribution"]) == ("ann", "bob")
    assert first["chosen"] == [{"role": "assistant", "content": "Hey."}]
    assert run(["data", "check", "out.jsonl"]) == 0
    assert "preference pairs in the lmtools contract; 2 records" in capsys.readouterr().out


def test_a_pair_without_a_prompt_ends_with_2(folder, capsys):
    (folder / "p.jsonl").write_text('{"prompt": " ", "chosen": "Yes.", "rejected": "No."}\n')
    assert run(["data", "check", "p.jsonl"]) == 2
    assert capsys.readouterr().err.startswith("error: p.jsonl:1: the prompt is empty")


def test_a_wrong_answer_index_ends_with_2(folder, capsys):
    (folder / "m.jsonl").write_text(
        CHOICE + CHOICE.replace('"a"', '"b"').replace('"answer": 1', '"answer": 2')
    )
    assert run(["data", "check", "m.jsonl"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: m.jsonl:2: answer: there is no choice 2 among 2, counted from 0")
    assert "fix: write the place of the right choice, 0 to 1" in said.err


def test_the_bundled_parts_have_names(folder, capsys):
    for part, held in [
        ("instructions", "1200 instructions"),
        ("choices", "400 multiple-choice questions"),
        ("choices.dev", "100 multiple-choice questions"),
        ("preferences", "600 preference pairs"),
        ("preferences.targets", "480 preference pairs"),
    ]:
        assert run(["data", "check", f"atlas:{part}"]) == 0
        assert f"{held}; no faults" in capsys.readouterr().out


def test_prepare_into_a_place_that_cannot_be_written_ends_with_1(folder, capsys):
    assert run(["data", "prepare", "q.jsonl", "--to", "questions", "--out", "c.jsonl/out.jsonl"]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_checking_a_file_imports_neither_torch_nor_datasets(folder):
    loaded = modules_after("from lmtools.cli.app import run; run(['data', 'check', 'q.jsonl'])")
    assert loaded.isdisjoint(HEAVY | {"numpy"})
