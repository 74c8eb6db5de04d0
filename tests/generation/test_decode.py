"""Stop strings and the ends of rows, on a decoder of single characters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.generation.decode import Row, cut_at_stop, pad


def decode(tokens):
    return bytes(tokens).decode("utf-8", "replace")


def encode(text):
    return list(text.encode())


@given(
    st.text("ab\n", max_size=12), st.lists(st.text("ab\n", min_size=1, max_size=3), min_size=1, max_size=3)
)
def test_a_row_ends_with_the_token_that_completes_the_first_stop_string(text, stop):
    """Token by token, the row ends exactly where the text so far first holds a stop string."""
    row = Row(0, limit=100)
    for token in encode(text):
        row.add(token, -1.0, frozenset(), stop, decode)
        if row.finished:
            break
    starts = [text.find(string) for string in stop if string in text]
    ends = [text.find(string) + len(string) for string in stop if string in text]
    assert len(row.tokens) == (min(ends) if ends else len(text))
    if starts:
        so_far = text[: min(ends)]
        assert row.text == so_far[: min(so_far.find(string) for string in stop if string in so_far)]


def test_a_stop_string_inside_a_long_token_cuts_the_text():
    pieces = {0: "The Seine", 1: ".\n\nQuestion", 2: ": no"}
    row = Row(0, limit=10)
    for token in (0, 1):
        row.add(token, -1.0, frozenset(), ["\n\n"], lambda ids: "".join(pieces[id] for id in ids))
    assert row.finished
    completion = row.completion(frozenset(), decode)
    assert (completion.text, completion.tokens, completion.finish) == ("The Seine.", (0, 1), "stop")


def test_a_stop_string_of_several_bytes_a_character():
    assert cut_at_stop(encode("naïve — so"), ["— "], decode) == "naïve "
    assert cut_at_stop(encode("naïve —"), ["— "], decode) is None


@pytest.mark.parametrize(
    ("tokens", "finish", "text"),
    [("abc", "length", "abc"), ("ab!", "stop", "ab"), ("!", "stop", "")],
)
def test_ends_and_limits(tokens, finish, text):
    ends = frozenset(encode("!"))
    row = Row(0, limit=3)
    for token in encode(tokens):
        assert not row.finished
        row.add(token, -0.5, ends, (), decode)
    assert row.finished
    completion = row.completion(ends, decode)
    assert (completion.text, completion.finish) == (text, finish)
    assert completion.tokens == tuple(encode(tokens))
    assert completion.logprobs == (-0.5,) * len(tokens)


def test_rows_are_padded_on_the_left():
    ids, valid = pad([[5, 6, 7], [8]], "cpu")
    assert ids.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert valid.tolist() == [[True] * 3, [False, False, True]]
