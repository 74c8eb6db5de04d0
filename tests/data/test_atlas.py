"""The bundled atlas: its files are what the builder makes; its questions have answers, but not by copying."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from atlas import path
from atlas.build import build
from atlas.ceiling import ceilings, recall, searcher, table
from atlas.questions import SPLITS, aliases

from lmtools.data.records import Question
from lmtools.data.rows import read_passages, read_questions

TOOLS = Path(__file__).resolve().parents[2] / "tools"

FILES = [
    "corpus.jsonl",
    *(f"questions.{split}.jsonl" for split in SPLITS),
    *("choices.test.jsonl", "choices.dev.jsonl", "instructions.jsonl"),
    *("preferences.train.jsonl", "preferences.targets.jsonl"),
]
YES_NO = {"yes", "no"}


@pytest.fixture(scope="module")
def corpus():
    return read_passages(path("corpus.jsonl"))


@pytest.fixture(scope="module")
def questions():
    return {split: read_questions(path(f"questions.{split}.jsonl")) for split in SPLITS}


@pytest.fixture(scope="module")
def search(corpus):
    return searcher(corpus)


# The committed files


def test_the_committed_files_are_what_the_builder_makes(tmp_path):
    build(tmp_path)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == path(name).read_bytes(), f"{name}: make it anew"


def test_the_build_does_not_depend_on_the_hash_seed(tmp_path):
    command = [sys.executable, "-m", "atlas.build", str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "4711"}
    folders = [str(TOOLS), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    subprocess.run(command, check=True, env=environment, capture_output=True)
    assert all((tmp_path / name).read_bytes() == path(name).read_bytes() for name in FILES)


def test_passages_are_many_unique_and_of_encyclopaedic_length(corpus):
    assert len(corpus) >= 3000
    assert (
        len({p.title for p in corpus})
        == len({p.id for p in corpus})
        == len({p.text for p in corpus})
        == len(corpus)
    )
    lengths = sorted(len(p.text.split()) for p in corpus)
    assert lengths[0] >= 25
    assert lengths[-1] <= 110
    assert 40 <= lengths[len(lengths) // 20] <= lengths[-len(lengths) // 20] <= 95


def test_no_passage_or_question_shows_a_hole_of_its_template(corpus, questions):
    texts = [p.text for p in corpus] + [q.question for found in questions.values() for q in found]
    faulty = re.compile(
        r"[{}]|  |(?<!Were )None|\(\)|\bthe the\b|\?\?|\.\.|^[a-z]"
        r"|\ba (?:[aio]|e(?!u))|\ban (?!der )[^aeiouAEIOU\s]"
    )
    assert [t for t in texts if faulty.search(t)] == []


def test_splits_have_their_sizes_and_kinds(questions):
    assert {split: len(found) for split, found in questions.items()} == SPLITS
    for found in questions.values():
        bridge = sum(q.kind == "bridge" for q in found) / len(found)
        assert bridge == pytest.approx(2 / 3, abs=0.01)
        assert {q.kind for q in found} == {"bridge", "comparison"}


def test_splits_share_no_question_and_no_gold_pair(questions):
    everything = [q for found in questions.values() for q in found]
    for ids in ([q.id for q in everything], [q.question for q in everything]):
        assert [i for i, count in Counter(ids).items() if count > 1] == []
    pairs = Counter(frozenset(q.supporting) for q in everything)
    assert max(pairs.values()) == 1
    assert all(len(pair) == 2 for pair in pairs)


def test_every_answer_is_in_its_gold_passages(corpus, questions):
    texts = {p.title: p.text for p in corpus}
    for q in (q for found in questions.values() for q in found):
        assert set(q.supporting) <= set(texts), q.id
        gold = " ".join(texts[t] for t in q.supporting)
        assert q.answer in YES_NO or q.answer.lower() in gold.lower(), q.id


def test_a_bridge_question_does_not_name_its_bridge(atlas, questions):
    titles = {e.title: e.name for e in atlas.entities}
    bridges = [q for found in questions.values() for q in found if q.kind == "bridge"]
    told = [q.id for q in bridges if titles[q.supporting[1]].lower() in q.question.lower()]
    assert len(told) / len(bridges) < 0.03, told


def test_the_first_gold_passage_of_a_bridge_names_the_second(atlas, corpus, questions):
    names = {e.title: e.name for e in atlas.entities}
    texts = {p.title: p.text for p in corpus}
    for q in (q for found in questions.values() for q in found if q.kind == "bridge"):
        assert names[q.supporting[1]].lower() in texts[q.supporting[0]].lower(), q.id


def test_comparisons_agree_with_the_tables(atlas, questions):
    by_title = {e.title: e for e in atlas.entities}
    decisive = {
        "person-older": ("born", min),
        "person-death": ("died", max),
        "mountain-higher": ("height", max),
        "book-older": ("year", min),
        "film-older": ("year", min),
        "element-higher": ("number", max),
    }
    seen = Counter()
    for q in (q for found in questions.values() for q in found):
        family = q.id.rsplit("-", 1)[0]
        if family in decisive:
            field, best = decisive[family]
            gold = [by_title[t] for t in q.supporting]
            assert q.answer == best(gold, key=lambda e: e.keys[field]).name, q.id
            seen[family] += 1
    assert set(seen) == set(decisive)


def test_yes_and_no_are_both_common(questions):
    answers = Counter(q.answer for found in questions.values() for q in found)
    assert 0.5 <= answers["yes"] / answers["no"] <= 2


# What plain queries reach: figures of data/README.md


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_question_alone_does_not_find_both_passages_but_titles_do(questions, search, split):
    reached = ceilings(questions[split], search)
    assert 0.45 <= reached["question@3"].overall <= 0.58
    assert reached["question@6"].overall <= 0.66
    assert reached["own title@3"].overall >= 0.95
    assert reached["question@3 + title@3"].overall >= 0.88
    bridges = ceilings([q for q in questions[split] if q.kind == "bridge"], search)
    assert bridges["question@3"].first >= 0.7
    assert bridges["question@3"].second <= 0.2
    assert bridges["own title@3"].second >= 0.92


def test_the_readme_says_what_is_measured(questions, search):
    readme = path("..").joinpath("README.md").read_text(encoding="utf-8")
    assert "\n".join(table(questions["test"], search)) in readme


def test_recall_counts_each_hop():
    asked = [Question(id=str(i), question="?", supporting=("A", "B")) for i in range(2)]
    found = recall(asked, [["A", "B", "C"], ["C", "A"]])
    assert (found.n, found.overall, found.first, found.second) == (2, 0.75, 1.0, 0.5)


@pytest.mark.parametrize(
    ("answer", "others"),
    [
        ("Vienna", ()),
        ("the Nile", ("the Nile",)),
        ("Lom, Gudbrandsdal", ("Lom",)),
        ("the Louvre, Paris", ("the Louvre, Paris", "the Louvre")),
    ],
)
def test_aliases(answer, others):
    assert aliases(answer) == others
