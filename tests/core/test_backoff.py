"""How long to wait before another attempt."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.http import LONGEST_PAUSE, pause_before, retry_seconds


def test_pause_doubles_and_jitters_over_its_second_half():
    assert pause_before(0, 0.5, None, 0.0) == 0.25
    assert pause_before(0, 0.5, None, 0.5) == 0.375
    assert pause_before(3, 0.5, None, 0.0) == 2.0
    assert pause_before(20, 0.5, None, 0.0) == LONGEST_PAUSE / 2


def test_pause_is_what_the_service_asks_for():
    assert pause_before(0, 0.5, "7", 0.9) == 7.0
    assert pause_before(4, 0.5, "0", 0.9) == 0.0
    assert pause_before(0, 0.5, "86400", 0.0) == LONGEST_PAUSE
    assert pause_before(0, 0.5, "soon", 0.0) == 0.25


@given(
    attempt=st.integers(0, 40),
    first=st.floats(0, 5),
    wished=st.one_of(st.none(), st.text(max_size=12), st.integers(0, 10**6).map(str)),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_pause_is_never_negative_nor_above_the_longest(attempt, first, wished, chance):
    assert 0.0 <= pause_before(attempt, first, wished, chance) <= LONGEST_PAUSE


def test_seconds_of_a_date():
    later = datetime.now(UTC) + timedelta(seconds=3600)
    assert 3500 < retry_seconds(format_datetime(later, usegmt=True)) <= 3600
    assert retry_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_seconds(None) is None


def test_seconds_of_a_digit_that_is_no_number():
    assert retry_seconds("\u00b2") is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("12\x1f", 12.0),
        ("\t7 ", 7.0),
        ("1.5", 1.5),
        ("9" * 5000, math.inf),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0.0),
        ("Fri, 31 Dec 9999999999 00:00:00 GMT", None),
        ("Mon, 01 Jan 2099 00:00:00 +9999", None),
        ("Mon, 01 Jan 2099 25:61:61 GMT", None),
        ("-5", None),
        ("+5", None),
        ("1e9", None),
        ("inf", None),
        ("nan", None),
        ("12\x1f3", None),
        ("\u0661\u0662", None),
        ("\xff\xb2", None),
        ("", None),
        (" ", None),
    ],
)
def test_any_header_is_seconds_or_nothing(header, seconds):
    read = retry_seconds(header)
    assert read == seconds if seconds != LONGEST_PAUSE else read > LONGEST_PAUSE


@given(
    st.from_regex(
        r"[A-Za-z]{3}, [0-9]{1,3} (Jan|Foo) [0-9]{1,12} [0-9]{1,3}:[0-9]{2}:[0-9]{2} ([+-][0-9]{1,9}|GMT|)",
        fullmatch=True,
    )
)
def test_no_date_is_an_internal_error(date):
    assert 0.0 <= pause_before(0, 0.5, date, 0.0) <= LONGEST_PAUSE


def test_pause_after_very_many_attempts():
    assert pause_before(10**6, 0.5, None, 0.0) == LONGEST_PAUSE / 2
