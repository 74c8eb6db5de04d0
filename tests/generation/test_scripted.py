"""The scripted generator: tables, functions, queues, and what it remembers."""

import math

import pytest

from lmtools.core.errors import ModelError
from lmtools.generation.protocol import Sampling
from lmtools.generation.scripted import Call, Scripted, word_id


def texts(groups):
    return [[completion.text for completion in group] for group in groups]


def test_a_table_answers_by_prompt_and_sample():
    scripted = Scripted({"a": "one", "b": ["x", "y"]})
    assert texts(scripted.generate(["b", "a"], Sampling(), 3)) == [["x", "y", "x"], ["one"] * 3]


def test_a_function_answers_by_prompt_and_sample():
    scripted = Scripted(lambda prompt, sample: f"{prompt}{sample}")
    assert texts(scripted.generate(["a", "b"], Sampling(), 2)) == [["a0", "a1"], ["b0", "b1"]]


def test_a_queue_is_used_up():
    scripted = Scripted(["1", "2", "3"])
    assert texts(scripted.generate(["a"], Sampling(), 2)) == [["1", "2"]]
    scripted.generate(["b"], Sampling())
    with pytest.raises(AssertionError, match="used up at the prompt 'c'"):
        scripted.generate(["c"], Sampling())


def test_a_prompt_that_is_not_in_the_table():
    with pytest.raises(AssertionError, match="'other'"):
        Scripted({"a": "b"}).generate(["other"], Sampling())


def test_words_are_tokens_and_limits_hold():
    scripted = Scripted({"p": "to be or\nnot to be"})
    [[whole]] = scripted.generate(["p"], Sampling())
    assert whole.tokens == tuple(word_id(word) for word in ["to", "be", "or", "not", "to", "be"])
    assert whole.tokens[0] == whole.tokens[4]
    assert whole.logprobs == (-1.0,) * 6
    [[cut]] = scripted.generate(["p"], Sampling(max_tokens=2))
    assert (cut.text, cut.finish, len(cut.tokens)) == ("to be", "length", 2)
    [[stopped]] = scripted.generate(["p"], Sampling(stop=("\n", "be")))
    assert (stopped.text, stopped.finish, len(stopped.tokens)) == ("to ", "stop", 1)


def test_scores_and_options():
    scripted = Scripted(scores=lambda p, c: [-2.0] * len(c.split()), chances=lambda p, o: -float(len(o)))
    assert scripted.score([("p", "a b"), ("p", "")]) == [(-2.0, -2.0), ()]
    assert scripted.options(["p"], ["A", "BB"]) == [(-1.0, -2.0)]
    assert Scripted().options(["p"], ["A", "B"]) == [(-math.log(2),) * 2]
    with pytest.raises(ModelError, match="'two words' is 2 tokens"):
        scripted.options(["p"], ["two words"])


def test_calls_are_remembered():
    scripted = Scripted(["x"])
    scripted.generate(["a"], Sampling(seed=4), 1)
    scripted.score([("a", "b")])
    scripted.options(["a"], ["A"])
    assert scripted.calls == [
        Call("generate", ("a",), Sampling(seed=4)),
        Call("score", (("a", "b"),)),
        Call("options", ("a",), options=("A",)),
    ]
