"""Pairs of the contract and of the public collections; folders and files of several targets."""

import gzip
import json

import pytest

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data.check import check, prepare
from lmtools.data.readers.rm_bench import level
from lmtools.data.sources import Tally, load_preferences, load_targets, source_hash

PAIR = {"prompt": "Who?", "chosen": "I.", "rejected": "You."}
HH = {
    "chosen": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Who?\n\nAssistant: I.",
    "rejected": "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Who?\n\nAssistant: You.",
}


@pytest.fixture
def write(tmp_path):
    def write(name: str, *values: dict) -> str:
        write_jsonl(tmp_path / name, values)
        return str(tmp_path / name)

    return write


def told(pair) -> tuple:
    turns, chosen, rejected = pair.split()
    return [turn.content for turn in turns], chosen, rejected, pair.distribution


# The contract


def test_the_contract(write):
    source = write("p.jsonl", {**PAIR, "distribution": "me", "source": "mine"}, {**PAIR, "id": "a"})
    assert list(map(told, load_preferences(source))) == [
        (["Who?"], "I.", "You.", "me"),
        (["Who?"], "I.", "You.", ""),
    ]
    assert load_preferences(source)[1].key == "a"
    assert len(load_preferences(source, limit=1)) == 1


def test_pairs_without_two_answers_are_left_out_and_counted(write):
    source = write("p.jsonl", PAIR, {**PAIR, "chosen": "You. "}, {**PAIR, "rejected": ""})
    tally = Tally()
    assert len(load_preferences(source, tally=tally)) == 1
    assert (tally.records, tally.left_out) == (3, {"has the same answer twice, or an empty one": 2})


FAULTS = {
    "a missing answer": ({"prompt": "Who?", "chosen": "I."}, "rejected: missing"),
    "an answer of another name": (
        {"prompt": "Who?", "chosen": "I.", "rejectd": "You."},
        "rejected: missing, but there is `rejectd`",
    ),
    "no prompt": ({**PAIR, "prompt": ""}, "no prompt"),
    "a number": ({**PAIR, "chosen": 3}, "chosen: "),
    "a turn without a role": ({**PAIR, "chosen": [{"content": "I."}]}, r"chosen\[0\]\.role: missing"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faults_name_file_line_and_field(write, name):
    value, problem = FAULTS[name]
    with pytest.raises(DataError, match=rf"p\.jsonl:2: .*{problem}") as caught:
        load_preferences(write("p.jsonl", PAIR, value))
    assert caught.value.fix


def test_an_id_twice_is_a_fault_and_none_is_none(write):
    assert len(load_preferences(write("p.jsonl", PAIR, PAIR))) == 2
    with pytest.raises(DataError, match="id: 'a' is the id of line 1 too"):
        load_preferences(write("p.jsonl", {**PAIR, "id": "a"}, {**PAIR, "id": "a"}))


def test_what_check_remarks(write):
    turned = {**PAIR, "chosen": "You.", "rejected": "I."}
    found = check(write("p.jsonl", PAIR, PAIR, turned, {**PAIR, "rejected": ""}))
    assert (found.format, found.records, found.counts()) == ("preferences", 4, ["3 preference pairs"])
    assert found.remarks == (
        "1 left out: each has the same answer twice, or an empty one",
        "1 pairs that repeat an earlier one",
        "3 pairs that another one contradicts",
    )


def test_questions_hold_no_pairs(write):
    with pytest.raises(DataError, match="no preference pairs in it"):
        load_preferences(write("q.jsonl", {"id": "a", "question": "Who?"}))


# The public collections


def test_hh_rlhf(tmp_path):
    same, empty = {**HH, "rejected": HH["chosen"]}, {**HH, "rejected": HH["rejected"].removesuffix(" You.")}
    apart = {**HH, "rejected": HH["rejected"].replace("Hello", "Hey")}
    path = tmp_path / "hh.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, [HH, same, empty, apart])).encode()))
    tally = Tally()
    assert list(map(told, load_preferences(str(path), tally=tally))) == [
        (["Hi", "Hello.", "Who?"], "I.", "You.", "")
    ]
    assert sum(tally.left_out.values()) == 3


def test_two_texts_that_are_no_dialogues_ask_for_a_prompt(write):
    with pytest.raises(DataError, match=r"p\.jsonl:1: chosen: no dialogue of the form"):
        load_preferences(write("p.jsonl", {"chosen": "I.", "rejected": HH["rejected"]}))


def test_reward_bench(write):
    value = {
        **PAIR, "chosen_model": "gpt-4", "rejected_model": "gpt-2", "subset": "llmbar-natural", "id": 7,
    }  # fmt: skip
    source = write("r.jsonl", value, {**value, "subset": "hep-go", "rejected": "They."})
    assert list(map(told, load_preferences(source))) == [
        (["Who?"], "I.", "You.", "llmbar-natural"),
        (["Who?"], "I.", "They.", "hep-go"),
    ]
    assert list(load_targets(source)) == ["llmbar-natural", "hep-go"]


def test_rm_bench(tmp_path):
    value = {"id": 8, "prompt": "Who?", "chosen": ["a", "b", "c"], "rejected": ["x", "y", "z"]}
    path = tmp_path / "rm.json"
    path.write_text(json.dumps([{**value, "domain": "math"}, {**value, "id": 9, "subset": "alpacaeval"}]))
    targets = load_targets(str(path))
    assert {name: len(pairs) for name, pairs in targets.items()} == {
        "math-normal": 3, "math-hard": 3, "math-easy": 3,
        "alpacaeval-normal": 3, "alpacaeval-hard": 3, "alpacaeval-easy": 3,
    }  # fmt: skip
    hard = {(chosen, rejected) for _, chosen, rejected, _ in map(told, targets["math-hard"])}
    assert hard == {("a", "y"), ("a", "z"), ("b", "z")}
    assert {level(place, place) for place in range(3)} == {"normal"}


def test_llmbar(tmp_path):
    value = {"input": "Who?", "output_1": "I.", "output_2": "You.", "label": 1}
    path = tmp_path / "l.json"
    path.write_text(json.dumps([value, {**value, "label": 2}]))
    assert list(map(told, load_preferences(str(path)))) == [
        (["Who?"], "I.", "You.", ""),
        (["Who?"], "You.", "I.", ""),
    ]
    path.write_text(json.dumps([{**value, "label": 0}]))
    with pytest.raises(DataError, match="record 1: label: "):
        load_preferences(str(path))


@pytest.mark.parametrize("value", [PAIR, HH, {**PAIR, "subset": "a"}], ids=["contract", "hh", "rewardbench"])
def test_what_is_written_reads_as_the_original_does_and_repeats_are_written_once(write, tmp_path, value):
    source = write("o.jsonl", value, value)
    made = prepare(source, "preferences", tmp_path / "out.jsonl")
    assert (made.written, made.left_out) == (1, {"repeats an earlier record": 1})
    assert load_preferences(str(tmp_path / "out.jsonl")) == load_preferences(source)[:1]


# Several targets


def test_a_folder_has_a_target_in_every_file(write, tmp_path):
    write("a.jsonl", {**PAIR, "id": "1", "distribution": "other"}, {**PAIR, "chosen": "He."})
    write("b.jsonl", {**PAIR, "id": "1"})
    (tmp_path / "notes.txt").write_text("nothing")
    targets = load_targets(str(tmp_path))
    assert {name: len(pairs) for name, pairs in targets.items()} == {"a": 2, "b": 1}
    assert {pair.distribution for pair in targets["a"]} == {"a"}
    assert [pair.id for pair in (*targets["a"], *targets["b"])] == ["a/1", "", "b/1"]
    assert check(str(tmp_path)).preferences == 3


def test_faults_of_a_folder_name_the_file(write, tmp_path):
    write("a.jsonl", PAIR)
    broken = write("b.jsonl", PAIR, {"prompt": "Who?"})
    with (tmp_path / "b.jsonl").open("a") as stream:
        stream.write("{\n")
    with pytest.raises(DataError) as caught:
        load_targets(str(tmp_path))
    assert f"{broken}:2: chosen: missing" in str(caught.value)
    assert f"{broken}:3: broken JSON" in str(caught.value)


def test_a_file_is_split_by_what_its_records_say(write):
    source = write("mine.jsonl", *({**PAIR, "distribution": name} for name in ("x", "", "y", "x")))
    assert {name: len(pairs) for name, pairs in load_targets(source).items()} == {"x": 2, "mine": 1, "y": 1}


def test_the_hash_of_a_folder_is_that_of_its_files(write, tmp_path):
    write("a.jsonl", PAIR)
    before = source_hash(str(tmp_path))
    (tmp_path / "notes.md").write_text("nothing")
    assert source_hash(str(tmp_path)) == before
    write("b.jsonl", PAIR)
    assert source_hash(str(tmp_path)) != before


# The real files


def test_the_real_training_pairs(shared_data):
    found = check(str(shared_data / "preferences" / "train.jsonl"))
    assert (found.format, found.records, found.preferences) == ("preferences", 4178, 4174)
    pairs = load_preferences(str(shared_data / "preferences" / "train.jsonl"))
    assert len({pair.key for pair in pairs}) == 4174
    assert {pair.split()[0][0].role for pair in pairs} == {"user"}
    assert set(load_targets(str(shared_data / "preferences" / "train.jsonl"))) == {
        "hh-helpful", "hh-harmless", "webgpt", "dsp-mixed",
    }  # fmt: skip


def test_the_real_targets_share_few_prompts_with_the_training_pairs(shared_data):
    targets = load_targets(str(shared_data / "preferences" / "targets"))
    assert len(targets) == 19
    assert sum(map(len, targets.values())) == 4634
    trained = {pair.split()[0] for pair in load_preferences(str(shared_data / "preferences" / "train.jsonl"))}
    shared = {name: sum(pair.split()[0] in trained for pair in pairs) for name, pairs in targets.items()}
    # The same but for a "Human: " before it.
    assert {name: count for name, count in shared.items() if count} == {
        "rmbench-chat": 19, "rmbench-safety-refuse": 1,
    }  # fmt: skip


def test_the_real_originals(shared_data):
    folder = shared_data / "preferences" / "original"
    found = {path.name: check(str(path)) for path in folder.iterdir()}
    counts = {name: (verdict.format, verdict.records, verdict.preferences) for name, verdict in found.items()}
    assert counts == {
        "harmless-base_test.jsonl.gz": ("hh-rlhf", 2312, 2308),
        "rm_bench_chat.json": ("rm-bench", 129, 1161),
        "llmbar_natural.json": ("llmbar", 100, 100),
    }
    pairs = (
        load_preferences(str(folder / "llmbar_natural.json")),
        load_preferences(str(shared_data / "preferences" / "targets" / "llmbar-natural.jsonl")),
    )
    original, target = ({tuple(map(str.strip, told(pair)[1:3])) for pair in found} for found in pairs)
    assert original == target
