"""Seeds derived for units of work: stable, spread out, and not confused by how parts are joined."""

from hypothesis import given
from hypothesis import strategies as st

from lmtools.core.seeds import derive

parts = st.lists(st.one_of(st.text(), st.integers()), max_size=4)


def test_golden_value():
    # The first eight bytes of sha256(b"i7;s2:q1i1:2"), shifted right by one bit.
    assert derive(7, "q1", 2) == 0x15E2674F9AEF310E


@given(st.integers(), parts)
def test_is_a_63_bit_number_and_stable(seed, some):
    assert 0 <= derive(seed, *some) < 2**63
    assert derive(seed, *some) == derive(seed, *some)


@given(st.integers(0, 10), parts, st.integers(0, 10), parts)
def test_different_parts_give_different_seeds(seed, some, other_seed, others):
    key = (seed, [(type(part), part) for part in some])
    other = (other_seed, [(type(part), part) for part in others])
    assert (derive(seed, *some) == derive(other_seed, *others)) == (key == other)


def test_joining_and_type_matter():
    assert (
        len({derive(0, "ab", "c"), derive(0, "a", "bc"), derive(0, "abc"), derive(0, 1), derive(0, "1")}) == 5
    )
