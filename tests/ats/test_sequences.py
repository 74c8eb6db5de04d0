"""Which tokens are responses, in every layout."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tokenizer as tiny_tokenizer
from tokenizers.processors import TemplateProcessing

from lmtools.ats.inputs import read_instructions
from lmtools.ats.recipe import AtsRecipe, DataSettings
from lmtools.ats.sequences import PLAIN, sequences
from lmtools.core.errors import DataError
from lmtools.data.records import Instruction

TOKENIZER = tiny_tokenizer()
ONE = Instruction(prompt="Name a river.", completion="The Seine")
TWO = Instruction(prompt="Name a town.", completion="Paris")


def texts(marked):
    """The whole text of a sequence, and that of its response tokens."""
    chosen = [id for id, mine in zip(marked.ids, marked.response, strict=True) if mine]
    return TOKENIZER.decode(marked.ids), TOKENIZER.decode(chosen)


def test_chat_has_one_instruction_a_sequence_and_learns_its_end():
    made = sequences(TOKENIZER, [ONE, TWO], ["chat"], 200, seed=0)
    whole, response = zip(*map(texts, made.marked), strict=True)
    assert sorted(response) == ["Paris<|im_end|>", "The Seine<|im_end|>"]
    assert "<|im_start|>user\nName a river.<|im_end|>\n<|im_start|>assistant\nThe Seine<|im_end|>" in whole


def test_plain_text_shows_several_instructions_and_learns_answers_with_their_line_ends():
    [marked] = sequences(TOKENIZER, [ONE, TWO], ["question-answer"], 500, seed=0).marked
    whole, response = texts(marked)
    first, second = (
        "Question: Name a river.\nAnswer: The Seine\n\n",
        "Question: Name a town.\nAnswer: Paris\n\n",
    )
    assert whole in (first + second, second + first)
    assert sorted(response.split("\n")) == ["", " Paris", " The Seine"]


def test_plain_text_opens_as_the_tokenizer_opens_a_text():
    opening = tiny_tokenizer()
    opening.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", opening.bos_token_id)]
    )
    [marked] = sequences(opening, [ONE, TWO], ["question-answer"], 500, seed=0).marked
    [plain] = sequences(TOKENIZER, [ONE, TWO], ["question-answer"], 500, seed=0).marked
    assert marked.ids == (opening.bos_token_id, *plain.ids)
    assert marked.response == (False, *plain.response)
    assert len(sequences(opening, [ONE, TWO], ["question-answer"], 50, seed=0).marked) == 2
    [chat, _] = sequences(opening, [ONE, TWO], ["chat"], 200, seed=0).marked
    assert chat.ids.count(opening.bos_token_id) == 2  # of the two turns


def test_a_long_sequence_is_cut_and_counted():
    made = sequences(TOKENIZER, [ONE], ["question-answer"], 22, seed=0)
    assert made.cut == 1
    assert len(made.marked[0].ids) == 22


def test_no_response_within_the_limit():
    with pytest.raises(DataError, match="max_tokens=3"):
        sequences(TOKENIZER, [ONE], ["q-a"], 3, seed=0)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), min_size=1, max_size=30).filter(
    str.strip
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=8),
    st.lists(st.sampled_from(["chat", *PLAIN]), min_size=1, unique=True),
    st.integers(0, 9),
)
def test_every_instruction_comes_once_within_the_limit_and_the_seed_decides(pairs, layouts, seed):
    instructions = [Instruction(prompt=prompt, completion=answer) for prompt, answer in pairs]
    made = sequences(TOKENIZER, instructions, layouts, 400, seed)
    assert made == sequences(TOKENIZER, instructions, layouts, 400, seed)
    assert made.cut == 0
    assert all(len(one.ids) == len(one.response) <= 400 for one in made.marked)
    # A response is a run of marked tokens; between two of them stands at least a prompt.
    runs = sum(
        b and not a for one in made.marked for a, b in zip((False, *one.response), one.response, strict=False)
    )
    assert runs == len(pairs)


def test_long_responses_are_left_out_before_the_limit_counts(tmp_path):
    path = tmp_path / "instructions.jsonl"
    rows = [{"prompt": f"p{n}", "completion": " ".join(["word"] * n)} for n in (3, 1, 2, 1)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def found(**settings):
        recipe = AtsRecipe(data=DataSettings(train=str(path), **settings))
        return [instruction.prompt for instruction in read_instructions(recipe)]

    assert found() == ["p3", "p1", "p2", "p1"]
    assert found(max_response_words=2) == ["p1", "p2", "p1"]
    assert found(max_response_words=2, limit=2) == ["p1", "p2"]
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="at most 2 words"):
        found(max_response_words=2)
