"""Graded answers for property tests: confidences on edges of bins, at 0 and 1, tied, and anywhere between."""

from hypothesis import strategies as st

confidences = st.one_of(
    st.integers(0, 15).map(lambda k: k / 15),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.floats(0, 1, allow_subnormal=False),
)


def graded_answers(max_size=40):
    """Pairs (confidences, correct), lists of one length."""
    rows = st.lists(st.tuples(confidences, st.integers(0, 1)), min_size=1, max_size=max_size)
    return rows.map(lambda pairs: ([c for c, _ in pairs], [y for _, y in pairs]))
