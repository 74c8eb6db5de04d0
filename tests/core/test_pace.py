"""Work in tokens, pace in tokens a second, and what stages say of it beforehand."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.config import Config
from lmtools.core.progress import Pace, Work, at_pace, expected_seconds, tokens_after_prefix, tokens_in
from lmtools.core.run import Run

amounts = st.floats(0, 1e6)
works = st.builds(Work, amounts, amounts, amounts)
PACE = Pace(read=200, written=50, trained=100)


def test_seconds_by_hand():
    assert PACE.seconds(Work(read=1000, written=100, trained=300)) == 5 + 2 + 3


@given(works, works, st.floats(0, 10))
def test_work_adds_up(one, other, times):
    both = PACE.seconds(one + other)
    assert both == pytest.approx(PACE.seconds(one) + PACE.seconds(other))
    assert PACE.seconds(one * times) == pytest.approx(PACE.seconds(one) * times)


@given(st.text(max_size=30), st.lists(st.text(max_size=30), min_size=1, max_size=5))
def test_what_all_texts_begin_with_is_read_once(prefix, rests):
    texts = [prefix + rest for rest in rests]
    assert tokens_after_prefix(texts) <= tokens_in(texts)
    assert tokens_after_prefix(texts) <= tokens_in([prefix, *rests]) + 1e-9
    assert tokens_after_prefix(texts) >= len(max(texts, key=len)) / 4


def test_no_texts():
    assert tokens_after_prefix([]) == tokens_in([]) == 0


def test_only_a_pace_that_is_kept_foresees():
    assert expected_seconds(lambda: Work(read=1)) is None
    with at_pace(PACE):
        assert expected_seconds(lambda: Work(read=400)) == 2
        assert expected_seconds(None) is None
    with at_pace(None):
        assert expected_seconds(lambda: Work(read=400)) is None
    with pytest.raises(KeyError), at_pace(PACE):
        raise KeyError
    assert expected_seconds(lambda: Work(read=1)) is None


def test_a_stage_says_beforehand_what_it_takes_and_keeps_its_processor_time(tmp_path, capsys):
    with Run.create(
        tmp_path / "run", Config(), command=["x"], inputs={}, resume=False, seed=0
    ) as run, at_pace(PACE):  # fmt: skip
        with run.stage("read", lambda: Work(read=25_000)):
            sum(range(2_000_000))
        with run.stage("measure"):
            pass
        with run.stage("fit", lambda: Work(trained=3)):
            pass
        said = capsys.readouterr().err.splitlines()
        assert said[0] == "[read] about 2 min on this machine"
        assert re.fullmatch(r"\[read\] [\d.]+ s", said[1])
        assert said[2] == "[measure]"
        assert said[4] == "[fit] a few seconds on this machine"
        assert list(run.manifest.processor) == list(run.manifest.stages) == ["read", "measure", "fit"]
        assert 0 < run.manifest.processor["read"] <= run.manifest.stages["read"] * 8 + 0.1
