"""The cache of completions: each sample is kept, and the same call is not asked twice."""

import sqlite3
import threading
from dataclasses import replace
from itertools import permutations

import pytest

from lmtools.core.errors import MachineError
from lmtools.core.sqlite_store import TABLE
from lmtools.generation.cached import Cached
from lmtools.generation.protocol import Completion, Sampling
from lmtools.generation.scripted import Scripted

WARM = Sampling(temperature=1.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "answers.sqlite"


@pytest.fixture
def scripted():
    return Scripted(lambda prompt, sample: f"{prompt} {sample}", scores=lambda p, c: [-float(len(p + c))])


def prompts_passed(scripted):
    return [call.prompts for call in scripted.calls]


def test_ten_samples_stay_ten(scripted, path):
    cached = Cached(scripted, path)
    [first] = cached.generate(["a"], WARM, 10)
    assert [completion.text for completion in first] == [f"a {sample}" for sample in range(10)]
    assert Cached(scripted, path).generate(["a"], WARM, 10) == [first]
    assert len(scripted.calls) == 1


class Rounded(Scripted):
    """As a model that reads batches: a score depends on how many are computed at once."""

    def score(self, pairs):
        return [(float(len(pairs)),) for _ in super().score(pairs)]


def test_an_answer_is_kept_for_the_prompts_it_was_computed_beside(scripted, path):
    cached = Cached(scripted, path)
    cached.generate(["a", "b", "a"], WARM, 2)
    [b, a] = cached.generate(["b", "a"], WARM, 2)
    assert [group[1].text for group in (b, a)] == ["b 1", "a 1"]
    for prompts, samples in ((["a"], 2), (["a", "b"], 1), (["a", "b"], 2), (["a", "b", "b"], 2)):
        cached.generate(prompts, WARM, samples)
    passed = [(call.prompts, call.samples) for call in scripted.calls]
    assert passed == [(("a", "b"), 2), (("b", "a"), 2), (("a",), 2), (("a", "b"), 1)]


def test_the_same_call_has_the_same_scores_whatever_was_asked_before(path):
    calls = [[(prompt, "x") for prompt in prompts] for prompts in ("a", "ab", "abc", "ba", "aab", "c")]
    for number, before in enumerate(permutations(calls, 2)):
        cached = Cached(Rounded(["x"], scores=lambda p, c: [0.0]), path.with_name(f"{number}.sqlite"))
        for pairs in (*before, *calls):
            assert cached.score(pairs) == [(float(len(set(pairs))),)] * len(pairs)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"temperature": 0.5}, {"max_tokens": 3}, {"top_p": 0.5}, {"top_k": 2}, {"stop": ("x",)}],
)
def test_every_parameter_is_part_of_the_key(scripted, path, change):
    cached = Cached(scripted, path)
    cached.generate(["a"], WARM)
    cached.generate(["a"], replace(WARM, **change))
    assert len(scripted.calls) == 2


def test_the_seed_of_greedy_choice_is_not(scripted, path):
    cached = Cached(scripted, path)
    assert cached.generate(["a"], Sampling(), 3) == cached.generate(["a"], Sampling(seed=5), 3)
    assert [call.samples for call in scripted.calls] == [1]


def test_generators_do_not_see_each_other(scripted, path):
    Cached(scripted, path).generate(["a"], WARM)
    other = Scripted(["something else"], identity="other")
    [[completion]] = Cached(other, path).generate(["a"], WARM)
    assert completion.text == "something else"


def test_scores_and_options_are_kept(scripted, path):
    cached = Cached(scripted, path)
    for _ in range(2):
        assert cached.score([("ab", "c"), ("a", "bc"), ("ab", "c")]) == [(-3.0,)] * 3
        assert len(cached.options(["a", "b"], ["A", "B"])) == 2
    cached.options(["a", "b"], ["B"])  # an option is weighed against the vocabulary, not against others
    assert [call.method for call in scripted.calls] == ["score", "options"]
    assert prompts_passed(scripted)[0] == (("ab", "c"), ("a", "bc"))
    cached.options(["a"], ["A", "C"])
    assert scripted.calls[-1].options == ("A", "C")
    assert cached.options(["a"], []) == [()]


def test_what_comes_back_is_what_went_in(path):
    completion = Completion("\ud800 half \x00 — ", (1, 2), (-0.1, float("-inf")), "length")

    class Fixed(Scripted):
        def generate(self, prompts, sampling, samples=1):
            super().generate(prompts, sampling, samples)
            return [[completion] * samples for _ in prompts]

    cached = Cached(Fixed(["x"]), path)
    assert cached.generate(["\ud800"], WARM) == [[completion]]
    assert cached.generate(["\ud800"], WARM) == [[completion]]


def test_more_keys_than_a_statement_takes(path):
    scripted = Scripted(lambda prompt, sample: f"{prompt} {sample}")
    prompts = [str(number) for number in range(700)]
    cached = Cached(scripted, path)
    first = cached.generate(prompts, WARM, 2)
    assert cached.generate(prompts, WARM, 2) == first
    assert len(scripted.calls) == 1


def test_a_failed_call_stores_nothing(path):
    cached = Cached(Scripted(["only one"]), path)
    with pytest.raises(AssertionError):
        cached.generate(["a", "b"], WARM)
    fresh = Scripted(lambda prompt, sample: prompt)
    Cached(fresh, path).generate(["a"], WARM)
    assert len(fresh.calls) == 1


def test_threads_share_a_file(scripted, path):
    cached = Cached(scripted, path)
    work = [threading.Thread(target=cached.generate, args=([f"{n}"], WARM, 3)) for n in range(8)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    for n in range(8):
        cached.generate([f"{n}"], WARM, 3)
    assert len(scripted.calls) == 8


def test_a_damaged_answer_is_asked_for_again(scripted, path, capsys):
    first = Cached(scripted, path).generate(["a", "b"], WARM)
    with sqlite3.connect(path) as store:
        store.execute(f"UPDATE {TABLE} SET value = CAST(replace(value, 'a 0', 'e 0') AS BLOB)")
    assert Cached(scripted, path).generate(["a", "b"], WARM) == first
    assert "damaged in the cache of generations" in capsys.readouterr().err
    assert Cached(scripted, path).generate(["a", "b"], WARM) == first
    assert len(scripted.calls) == 2
    assert capsys.readouterr().err == ""


def test_a_folder_that_cannot_be_made(scripted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be used"):
        Cached(scripted, tmp_path / "file" / "answers.sqlite")
