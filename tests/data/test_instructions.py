"""Instructions in both forms of the contract, and Alpaca's."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.errors import DataError
from lmtools.core.files import write_jsonl
from lmtools.data.records import Instruction, Turn
from lmtools.data.rows import json_object
from lmtools.data.sources import load_instructions

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]


@pytest.fixture
def write(tmp_path):
    def write(*values: dict) -> str:
        write_jsonl(tmp_path / "i.jsonl", values)
        return str(tmp_path / "i.jsonl")

    return write


def test_prompts_and_conversations(write):
    assert load_instructions(write({"prompt": "Hi", "completion": "Hello.", "mine": 1})) == [
        Instruction(prompt="Hi", completion="Hello.")
    ]
    found = load_instructions(write({"messages": TURNS}))
    assert found == [Instruction(messages=tuple(Turn(**turn) for turn in TURNS))]


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"prompt": "Hi", "completion": ""}, "2: completion: is empty"),
        ({"prompt": "Hi", "complettion": "x"}, "2: completion: missing, but there is `complettion`"),
        ({"prompt": ["Hi"], "completion": "x"}, "2: prompt: expected text, found a list of 1"),
    ],
)
def test_faults_of_prompts(write, value, fault):
    with pytest.raises(DataError) as caught:
        load_instructions(write({"prompt": "Hi", "completion": "Hello."}, value))
    assert f"i.jsonl:{fault}" in str(caught.value)


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        (TURNS[:1], "2: messages: the last turn is the user's"),
        ([*TURNS, {"role": "tool", "content": "x"}], "2: messages[2].role: expected `system`, `user` or"),
        ([TURNS[0], {"role": "assistant"}], "2: messages[1].content: missing"),
        ([], "2: messages: at least 1 expected, found a list of 0"),
    ],
)
def test_faults_of_conversations(write, messages, fault):
    with pytest.raises(DataError) as caught:
        load_instructions(write({"messages": TURNS}, {"messages": messages}))
    assert f"i.jsonl:{fault}" in str(caught.value)
    assert caught.value.fix


def test_alpaca_joins_task_and_text_and_leaves_out_what_has_no_output(tmp_path):
    records = [
        {"instruction": "Name the fruit.", "input": " It is yellow. ", "output": "Banana\n"},
        {"instruction": "Say hello.", "input": "", "output": "Hello."},
        {"instruction": "Be silent.", "output": " "},
    ]
    (tmp_path / "a.json").write_text(json.dumps(records))
    assert load_instructions(str(tmp_path / "a.json")) == [
        Instruction(prompt="Name the fruit.\n\nIt is yellow.", completion="Banana"),
        Instruction(prompt="Say hello.", completion="Hello."),
    ]


def test_the_real_alpaca(shared_data):
    source = str(shared_data / "alpaca" / "alpaca_5000.json")
    found = load_instructions(source)
    assert len(found) == 4998
    assert found[0].completion == "No"
    assert found[0].prompt.splitlines()[2] == "Sentence 1: I am going to the store."
    assert load_instructions(source, limit=3) == found[:3]


filled = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=9)
turns = st.builds(Turn, role=st.sampled_from(["system", "user", "assistant"]), content=filled)
conversations = st.builds(
    lambda before, answer: Instruction(messages=(*before, Turn(role="assistant", content=answer))),
    st.lists(turns, min_size=1, max_size=4),
    filled,
)


@given(
    st.lists(st.builds(Instruction, prompt=filled, completion=filled), min_size=1, max_size=4)
    | st.lists(conversations, min_size=1, max_size=4)
)
def test_instructions_read_back_as_they_were_written(tmp_path_factory, expected):
    path = tmp_path_factory.mktemp("round") / "i.jsonl"
    write_jsonl(path, map(json_object, expected))
    assert load_instructions(str(path)) == expected
