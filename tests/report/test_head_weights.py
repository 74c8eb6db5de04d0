"""Figures of the weights of heads."""

import re
import xml.etree.ElementTree as xml
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtools.report.hyre_weights import (
    CHARACTER,
    COLOURS,
    LEFT,
    RIGHT,
    WIDTH,
    _apart,
    _colours,
    _spots,
    head_weights_svg,
    heads_by_source,
    share_lines,
    weight_bars,
    weight_moves,
    weights_over_labels_svg,
)

SOURCES = ("pca", "pca", "random", "own")
WEIGHTS = np.array([0.5, 0.25, 0.25, 0.0])
HOSTILE = '<script>alert("$x$")</script>'


def draw_bars(weights, sources, before=None, title=""):
    return head_weights_svg(weight_bars(weights, sources, title, before))


def draw_moves(history, sources):
    """The figure of the weights before any label, after the first, ... after the last."""
    return weights_over_labels_svg(*weight_moves(range(len(history)), history, sources), len(sources))


def texts(svg):
    """Every text in a figure, as a reader sees it."""
    return ["".join(node.itertext()).strip() for node in xml.fromstring(svg).iter() if "text" in node.tag]


def bars(svg):
    """Colours of filled shapes, as often as they are there."""
    return re.findall(r'style="fill: (#\w+)"', svg)


def test_bars_are_grouped_and_named_by_source():
    said = texts(draw_bars(WEIGHTS, SOURCES, title="chat: 5 labelled pairs"))
    assert {"pca", "random", "own", "weight", "equal weights, 1/K"} <= set(said)
    assert "chat: 5 labelled pairs: 2.7 effective heads of 4" in said
    assert "most weight: pca/0 0.500, pca/1 0.250, random/2 0.250" in said


def test_heads_of_a_source_stand_together():
    mixed = heads_by_source(("pca", "random", "pca", "own"))
    assert list(mixed.items()) == [("pca", (0, 2)), ("random", (1,)), ("own", (3,))]
    assert list(_colours(list(mixed)).values()) == list(COLOURS[:3])
    # A head keeps its number: the heaviest one here is the third.
    assert any("most weight: pca/2 0.700" in text for text in texts(
        draw_bars([0.1, 0.1, 0.7, 0.1], ("pca", "random", "pca", "own"))
    ))  # fmt: skip


def test_weights_before_are_drawn_unless_they_are_all_alike():
    plain = draw_bars(WEIGHTS, SOURCES, np.full(4, 0.25))
    assert plain == draw_bars(WEIGHTS, SOURCES)
    assert "before any example" in texts(draw_bars(WEIGHTS, SOURCES, [0.4, 0.3, 0.2, 0.1]))


def test_steps_are_named_and_numbered():
    history = [np.full(4, 0.25), [0.4, 0.2, 0.2, 0.2], WEIGHTS]
    svg = draw_moves(history, SOURCES)
    said = texts(svg)
    assert {"pca/0 0.50", "pca/1 0.25", "random/2 0.25", "own/3 0.00", "2.7 of 4"} <= set(said)
    assert {"0", "1", "2", "number of labels", "effective heads", "share of weight"} <= set(said)
    assert "effective heads from 4.0 to 2.7" in xml.fromstring(svg).attrib["aria-label"]


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=12), st.integers(0, 99))
def test_areas_hold_every_head_once(sources, seed):
    share = np.random.default_rng(seed).dirichlet(np.ones(len(sources)), 3)
    lines = share_lines(range(3), share, sources)
    shares = {line.name: [y for _, y in line.points] for line in lines}
    assert len(shares) == len(lines)
    assert np.sum(list(shares.values()), axis=0) == pytest.approx(np.ones(3))
    assert sum(not line.rest for line in lines) == min(5, len(sources))
    for source, heads in heads_by_source(sources).items():
        of_source = [shares[line.name] for line in lines if line.group == source]
        assert np.sum(of_source, axis=0) == pytest.approx(share[:, heads].sum(axis=1))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30).map(sorted), st.floats(0.01, 0.2))
def test_labels_beside_a_figure_stay_apart(wanted, gap):
    placed = _apart(wanted, gap)
    room = min(gap, 1 / max(1, len(wanted) - 1))
    assert all(two - one >= room - 1e-9 for one, two in pairwise(placed))
    assert -1e-9 <= placed[0] <= placed[-1] <= 1
    if all(two - one >= gap for one, two in pairwise(wanted)):
        assert placed == pytest.approx(wanted)


@given(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=20), st.integers(1, 60)), min_size=1, max_size=8)
)
def test_names_under_bars_run_neither_into_each_other_nor_out(sources):
    spans = [(f"{turn}{name}", count) for turn, (name, count) in enumerate(sources)]
    heads = sum(count for _, count in spans)
    inches = WIDTH - LEFT - RIGHT
    rows = {}
    for (name, _), (middle, row) in zip(spans, _spots(spans, inches / heads), strict=True):
        half = CHARACTER * min(len(name), 20) / 2
        at = middle * inches / heads
        assert -LEFT - 1e-9 <= at - half < at + half <= inches + RIGHT
        rows.setdefault(row, []).append((at - half, at + half))
    for spans in rows.values():
        assert all(one[1] < two[0] for one, two in pairwise(spans))


def test_the_same_data_give_the_same_bytes():
    assert draw_bars(WEIGHTS, SOURCES) == draw_bars(WEIGHTS.tolist(), list(SOURCES))
    history = [WEIGHTS, WEIGHTS[::-1]]
    assert draw_moves(history, SOURCES) == draw_moves(history, SOURCES)


@pytest.mark.parametrize("weights", [np.zeros(3), [-0.5, -1.0, -0.25], [1e-300, 1.0, 0.0], [2.0, -3.0, 0.0]])
def test_odd_weights_are_drawn(weights):
    sources = ("pca",) * 3
    for svg in (
        draw_bars(weights, sources, np.zeros(3)),
        draw_moves([np.zeros(3), weights], sources),
    ):
        assert "nan" not in re.sub(r"<text.*?</text>", "", svg).lower()


def test_no_head_heard_is_all_heads_alike():
    svg = draw_moves([np.zeros(4), WEIGHTS], SOURCES)
    assert svg == draw_moves([np.full(4, 0.25), WEIGHTS], SOURCES)
    assert "4.0 effective heads of 4" in texts(draw_bars(np.zeros(4), SOURCES))


def test_four_hundred_heads_are_as_many_bars():
    weights = np.random.default_rng(0).dirichlet(np.ones(400))
    sources = ["pca"] * 150 + ["shared_base"] * 150 + ["epinet"] * 100
    colours = [colour.lower() for colour in _colours(sources).values()]
    drawn = bars(draw_bars(weights, sources))
    assert [drawn.count(colour) for colour in colours] == [150, 150, 100]


def test_names_are_text_and_nothing_else():
    for svg in (
        draw_bars(WEIGHTS, (HOSTILE,) * 4, title=HOSTILE),
        draw_moves([WEIGHTS, WEIGHTS], (HOSTILE,) * 4),
    ):
        assert not [node for node in xml.fromstring(svg).iter() if node.tag.endswith("script")]


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match="not those of 3 heads"):
        draw_bars(WEIGHTS, SOURCES[:3])
    with pytest.raises(ValueError, match="not those of 0 heads"):
        draw_bars([], ())
    with pytest.raises(ValueError, match="not those of 4 heads"):
        draw_bars(WEIGHTS, SOURCES, [1.0])
    with pytest.raises(ValueError, match="not finite"):
        draw_bars([0.5, float("nan"), 0.5, 0.0], SOURCES)
    with pytest.raises(ValueError, match="two or more steps"):
        draw_moves([WEIGHTS], SOURCES)
