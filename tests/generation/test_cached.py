"""The cache of completions: each sample has a key of its own, and only what is missing is asked for."""

import threading
from dataclasses import replace

import pytest

from lmtools.core.errors import MachineError
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
    assert cached.generate(["a"], WARM, 4) == [first[:4]]
    assert len(scripted.calls) == 1


def test_only_prompts_that_lack_samples_are_asked(scripted, path):
    cached = Cached(scripted, path)
    cached.generate(["a", "b", "a"], WARM, 2)
    [a, c, b] = cached.generate(["a", "c", "b"], WARM, 2)
    assert [group[1].text for group in (a, c, b)] == ["a 1", "c 1", "b 1"]
    cached.generate(["c", "b"], WARM, 3)
    assert prompts_passed(scripted) == [("a", "b"), ("c",), ("c", "b")]


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
    cached.options(["a"], ["B"])
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
    calls = len(scripted.calls)
    cached.generate([f"{n}" for n in range(8)], WARM, 3)
    assert len(scripted.calls) == calls == 8


def test_a_damaged_file_is_named(scripted, path):
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(MachineError, match=r"answers\.sqlite") as caught:
        Cached(scripted, path)
    assert "delete" in caught.value.fix


def test_a_folder_that_cannot_be_made(scripted, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="cannot be used"):
        Cached(scripted, tmp_path / "file" / "answers.sqlite")
