import pytest

from lmtools.calibration.scoring import GeneratorScorer
from lmtools.core.errors import ModelError
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.scripted import Call, Scripted


def test_an_answer_that_brings_its_log_probabilities_is_not_scored_again():
    generator = Scripted({"Who?": "Ada Lovelace"}, scores=lambda prompt, text: [-0.5, -0.25])
    reader = GeneratorScorer(generator)
    [[answer]] = reader.generate(["Who?"], Sampling())
    assert reader.score(["Who?"], [answer]) == [{"uncalibrated": (-0.5, -0.25)}]
    assert [call.method for call in generator.calls] == ["generate"]


def test_answers_without_log_probabilities_are_scored_in_their_places():
    def chance(prompt, text):
        return [-float(len(prompt))] * len(text.split())

    generator = Scripted(scores=chance)
    reader = GeneratorScorer(generator)
    answers = [Completion("one two"), Completion("known", (7,), (-0.125,)), Completion(""), Completion("x")]
    read = reader.score(["a", "bb", "ccc", "dddd"], answers)
    assert [row["uncalibrated"] for row in read] == [(-1.0, -1.0), (-0.125,), (), (-4.0,)]
    assert generator.calls == [Call("score", (("a", "one two"), ("ccc", ""), ("dddd", "x")))]


def test_nothing_is_asked_where_nothing_is_to_be_scored():
    generator = Scripted()
    assert GeneratorScorer(generator).score([], []) == []
    assert generator.calls == []


def test_prompts_and_answers_must_be_as_many():
    with pytest.raises(ValueError, match="argument 2 is"):
        GeneratorScorer(Scripted()).score(["a", "b"], [Completion("x")])


def test_options_come_under_the_name_of_the_method():
    chances = {" A": -0.1, " B": -2.5}
    reader = GeneratorScorer(Scripted(chances=lambda prompt, option: chances[option]), method="transformer")
    assert reader.methods == ("transformer",)
    assert reader.options(["p", "q"], [" A", " B"]) == [{"transformer": (-0.1, -2.5)}] * 2
    with pytest.raises(ModelError, match="is 2 tokens"):
        reader.options(["p"], ["two words"])


def test_a_probability_stays_as_it_is_and_closing_reaches_the_generator():
    generator = Scripted()
    reader = GeneratorScorer(generator)
    assert [reader.adjust("uncalibrated", p) for p in (0.0, 0.3, 1.0)] == [0.0, 0.3, 1.0]
    reader.close()
    assert generator.closed
