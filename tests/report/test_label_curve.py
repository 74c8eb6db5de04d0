"""Figures of accuracy against the number of labels."""

import doctest
import re
import xml.etree.ElementTree as xml
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from lmtools.core.results import Interval
from lmtools.report import label_curves
from lmtools.report.label_curves import ACROSS, label_chart, label_curves_svg, label_line, spread
from lmtools.report.svg import GREY, STYLE, VERMILION, panel_columns

COUNTS = (0, 1, 2, 5, 10, 16, 32, 64)
HOSTILE = '<script>alert("$x$")</script> & "quoted"'


def curve(name, start=0.6, counts=COUNTS, step=0.02):
    """Rises by ``step`` from one number of labels to the next."""
    values = [start + step * turn for turn in range(len(counts))]
    points = [(n, Interval(v, v - 0.03, v + 0.03, 100)) for n, v in zip(counts, values, strict=True)]
    return label_line(name, tuple(points))


def draw_panels(panels, metric="accuracy", main=""):
    """The figure of (title, curves) of one metric."""
    return label_curves_svg([label_chart(title, curves, metric, main) for title, curves in panels])


def texts(svg):
    """Every text in a figure, as a reader sees it."""
    return ["".join(node.itertext()).strip() for node in xml.fromstring(svg).iter() if "text" in node.tag]


@pytest.fixture
def drawn(monkeypatch):
    """Draws the figure of the same arguments, and gives it back with all its places worked out."""

    def figure_of(*arguments):
        figures = []

        def keep(width, height, plot, label):
            with style.context(["default", STYLE]):
                figures.append(Figure(figsize=(width, height), dpi=72))
                FigureCanvasAgg(figures[0])
                plot(figures[0])
                figures[0].canvas.draw()
            return ""

        monkeypatch.setattr(label_curves, "draw", keep)
        draw_panels(*arguments)
        return figures[0]

    return figure_of


def lines(axes):
    """The lines of a panel by colour and dash, the one at .5 apart."""
    return [line for line in axes.get_lines() if line.get_color() != GREY]


def test_a_figure_names_targets_methods_and_axes():
    svg = draw_panels([("chat", [curve("hyre/pca"), curve("uniform/pca", counts=(0,))])], "accuracy")
    said = texts(svg)
    wanted = {"chat", "hyre/pca", "uniform/pca", "accuracy", "number of labels", "95 % interval"}
    assert wanted | {str(count) for count in COUNTS} <= set(said)
    label = xml.fromstring(svg).attrib["aria-label"]
    assert label == "accuracy against the number of labels of hyre/pca, uniform/pca; panels: chat"


def test_the_same_data_give_the_same_bytes():
    panels = [("a", [curve("x"), curve("y", 0.5)]), ("b", [curve("x", 0.7)])]
    assert draw_panels(panels, "accuracy", "x") == draw_panels(panels, "accuracy", "x")


def test_numbers_of_labels_stand_evenly_spaced_and_alike_in_every_panel(drawn):
    figure = drawn([("a", [curve("x", counts=(0, 5, 64))]), ("b", [curve("x", counts=(0, 1))])])
    for axes in figure.axes:
        assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "5", "64"]
    assert [list(lines(axes)[0].get_xdata()) for axes in figure.axes] == [[0, 2, 3], [0, 1]]


def test_what_was_measured_without_labels_only_is_a_dashed_line_across(drawn):
    [axes] = drawn([("a", [curve("x"), curve("single-head", 0.55, (0,))])]).axes
    flat = lines(axes)[1]
    assert list(flat.get_ydata()) == [0.55, 0.55]
    assert flat.get_linestyle() == "--"


def test_the_highlighted_method_is_thick_and_first_in_the_legend(drawn):
    figure = drawn([("a", [curve(name) for name in "vwxyz"])], "accuracy", "y")
    [axes] = figure.axes
    assert [line.get_color() == VERMILION for line in lines(axes)] == [False, False, False, True, False]
    widest = max(lines(axes), key=lambda line: line.get_linewidth())
    assert widest.get_color() == VERMILION
    assert len(axes.collections) == 5
    many = drawn([("a", [curve(name) for name in "stuvwxyz"])] * 3, "accuracy", "y")
    assert many.legends[0].get_texts()[0].get_text() == "A: y"
    assert len(many.axes[0].collections) == 1  # of eight bands only its own


@pytest.mark.parametrize(("methods", "bands"), [(1, 1), (6, 6), (7, 0)])
def test_few_methods_have_a_band_each(drawn, methods, bands):
    figure = drawn([("a", [curve(f"m{n}") for n in range(methods)] + [curve("flat", 0.6, (0,))])])
    assert len(figure.axes[0].collections) == bands
    entries = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert entries == ["95 % interval"] * (bands > 0)


@pytest.mark.parametrize(("panels", "names"), [(2, ["hyre/pca", "logistic", "ridge"]), (3, ["A", "B", "C"])])
def test_lines_over_each_other_end_in_their_names_one_under_the_other(drawn, panels, names):
    curves = [curve("hyre/pca"), curve("logistic"), curve("ridge", 0.7, (0,))]
    figure = drawn([(f"t{n}", curves) for n in range(panels)], "accuracy", "hyre/pca")
    for axes in figure.axes:
        ends = {text.get_text(): Text.get_window_extent(text) for text in axes.texts}
        assert list(ends) == names
        ordered = sorted(ends.values(), key=lambda box: box.y0)
        assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(ordered))
        drawn_lines = lines(axes)
        assert drawn_lines[0].get_marker() != drawn_lines[1].get_marker()


@given(st.lists(st.floats(0, 1), max_size=10))
def test_names_keep_their_order_and_their_distance(ends):
    heights = spread(ends, 0.1)
    assert all(-1e-9 <= height <= 1 + 1e-9 for height in heights)
    assert all(b - a >= 0.1 - 1e-9 for a, b in pairwise(sorted(heights)))
    order = sorted(range(len(ends)), key=lambda index: ends[index])
    assert [heights[index] for index in order] == sorted(heights)


def test_a_figure_by_itself_is_dark_where_the_reader_is():
    assert "prefers-color-scheme: dark" in draw_panels([("a", [curve("x")])])


def test_a_method_looks_the_same_in_every_panel_and_sixteen_look_different(drawn):
    names = [f"method {n}" for n in range(12)]
    first = [curve(name) for name in names] + [curve(f"flat {n}", 0.6, (0,)) for n in range(4)]
    one, two = drawn([("a", first), ("b", first[::-1])], "accuracy", "method 3").axes

    def looks(axes):
        return [
            (line.get_color(), line.get_marker(), str(line._unscaled_dash_pattern)) for line in lines(axes)
        ]

    assert looks(one) == looks(two)[::-1]
    assert len(set(looks(one))) == 16


def test_chance_is_marked_for_accuracies_only(drawn):
    for ylabel, marked in (("accuracy", True), ("RMSE", False)):
        [axes] = drawn([("a", [curve("x")])], ylabel).axes
        assert (GREY in [line.get_color() for line in axes.get_lines()]) == marked
    low, high = drawn([("a", [curve("x", 0.55)])]).axes[0].get_ylim()
    assert low < 0.5 < high


def test_accuracies_share_a_range_and_other_measures_have_their_own(drawn):
    panels = [("a", [curve("x", 0.6)]), ("b", [curve("x", 0.8)]), ("c", [curve("x", 0.3, step=0.05)])]
    spans = [high - low for low, high in (axes.get_ylim() for axes in drawn(panels).axes)]
    assert spans == pytest.approx([spans[0]] * 3)
    scaled = [("a", [curve("x", 1)]), ("b", [curve("x", 4000, step=-100)])]
    one, two = drawn(scaled, "RMSE").axes
    assert one.get_ylim()[1] < 2 < 3000 < two.get_ylim()[0]


def test_one_wild_value_does_not_flatten_the_others(drawn):
    wild = label_line("ridge", ((1, Interval(900.0, 800.0, 1000.0, 9)), (2, Interval(1.0, 0.9, 1.1, 9))))
    [axes] = drawn([("a", [curve("x", 1), wild])], "RMSE", "x").axes
    assert axes.get_ylim()[1] < 3


@pytest.mark.parametrize(("panels", "methods"), [(1, 2), (1, 16), (2, 16), (3, 5), (7, 1), (20, 10)])
def test_nothing_runs_into_anything_or_out_of_the_figure(drawn, panels, methods):
    curves = [curve(f"hyre/shared_base {n}", 0.4 + n / 50) for n in range(methods)]
    figure = drawn([(f"target {n}", curves) for n in range(panels)], "accuracy", "hyre/shared_base 0")
    renderer = figure.canvas.get_renderer()
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    legends = [legend.get_window_extent(renderer) for legend in figure.legends]
    whole = figure.bbox
    for box in (*boxes, *legends):
        assert whole.x0 - 1 <= box.x0 < box.x1 <= whole.x1 + 1
        assert whole.y0 - 1 <= box.y0 < box.y1 <= whole.y1 + 1
    assert all(legend.y1 <= box.y0 for box in boxes for legend in legends)
    columns = panel_columns(panels, ACROSS)
    for left, right in pairwise(boxes[:columns]):
        assert left.x1 <= right.x0
    for above, below in zip(boxes, boxes[columns:], strict=False):
        assert below.y1 <= above.y0


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (2, 2), (5, 5), (6, 3), (19, 5), (20, 5), (21, 5)])
def test_at_most_five_side_by_side_and_no_row_nearly_empty(panels, columns):
    assert panel_columns(panels, ACROSS) == columns


def test_names_are_text_and_nothing_else():
    svg = draw_panels([(HOSTILE, [curve(HOSTILE)])], HOSTILE, HOSTILE)
    assert not [node for node in xml.fromstring(svg).iter() if node.tag.endswith("script")]
    assert any('<script>alert("$x$")' in text for text in texts(svg))


@pytest.mark.parametrize("panels", [[], [("a", [])], [("a", [label_line("x", ())])]])
def test_nothing_to_draw_is_an_error(panels):
    with pytest.raises(ValueError, match="at least one curve with a point"):
        draw_panels(panels)


def test_a_value_that_is_not_finite_is_an_error():
    bad = label_line("x", ((0, Interval(0.5, float("nan"), 0.6, 3)),))
    with pytest.raises(ValueError, match="must be finite"):
        draw_panels([("a", [bad])])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0, 3e-5, 123456.0])
@pytest.mark.parametrize("ylabel", ["accuracy", "RMSE"])
def test_odd_data_are_drawn(value, ylabel):
    if ylabel == "accuracy" and value > 1:
        return
    point = Interval(value, value, value, 1)
    for counts in ((0,), (5,), (0, 3)):
        panels = [("a", [label_line("x", tuple((n, point) for n in counts))]), ("nothing", [])]
        svg = draw_panels(panels, ylabel, "x")
        assert "nan" not in re.sub(r"<text.*?</text>", "", svg).lower()
        assert "nothing" not in texts(svg)


def test_the_examples_in_the_docstrings():
    assert doctest.testmod(label_curves).failed == 0
