"""Figures of a calibration run: what they say, that they are safe, and the same for the same data."""

import re
import xml.etree.ElementTree as xml

import matplotlib
import numpy as np
import pytest
from imported import modules_after

from lmtools.core.results import Interval
from lmtools.metrics.calibration import bins
from lmtools.report.calibration_plots import (
    ACROSS,
    reliability_chart,
    reliability_svg,
    risk_chart,
    risk_coverage_svg,
    risk_curve,
)
from lmtools.report.svg import panel_columns

CONFIDENCE = np.array([0.1, 0.3, 0.35, 0.8, 0.9, 1.0, 0.0])
CORRECT = np.array([0, 0, 1, 1, 0, 1, 0])
BINS = bins(CONFIDENCE, CORRECT)
HOSTILE = '<script>alert("$x$")</script> & "quoted"'


def texts(svg):
    """Every text in a figure, as a reader sees it."""
    return ["".join(node.itertext()).strip() for node in xml.fromstring(svg).iter() if "text" in node.tag]


def test_a_panel_names_its_method_its_ece_and_its_count():
    svg = reliability_svg(
        [reliability_chart("quiz", "transformer", BINS, Interval(0.25, 0.1, 0.4, 7))], "mmlu"
    )
    said = " ".join(texts(svg))
    for part in ("mmlu", "transformer", "ECE .250 [.100, .400], n = 7", "overconfident", "confidence"):
        assert part in said
    assert xml.fromstring(svg).attrib["role"] == "img"


def test_the_same_data_give_the_same_bytes():
    panels = [reliability_chart("quiz", "a", BINS), reliability_chart("quiz", "b", BINS)]
    assert reliability_svg(panels) == reliability_svg(panels)
    curve = risk_curve("a", CONFIDENCE, CORRECT)
    assert risk_coverage_svg(risk_chart([curve])) == risk_coverage_svg(risk_chart([curve]))


def test_names_are_text_and_nothing_else():
    for svg in (
        reliability_svg([reliability_chart("quiz", HOSTILE, BINS)], HOSTILE),
        risk_coverage_svg(risk_chart([risk_curve(HOSTILE, CONFIDENCE, CORRECT)]), HOSTILE),
    ):
        root = xml.fromstring(svg)
        assert not [node for node in root.iter() if node.tag.endswith("script")]
        assert any('<script>alert("$x$")' in text for text in texts(svg))
        assert "http" not in " ".join(root.attrib.values())


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ValueError, match="at least one panel"):
        reliability_svg([])
    with pytest.raises(ValueError, match="at least one curve"):
        risk_coverage_svg(risk_chart([]))


@pytest.mark.parametrize(("panels", "columns"), [(1, 1), (4, 4), (5, 3), (6, 3), (11, 4)])
def test_no_row_is_nearly_empty(panels, columns):
    assert panel_columns(panels, ACROSS) == columns


def test_fifteen_curves_look_different():
    curves = [risk_curve(f"method {n}", CONFIDENCE, CORRECT) for n in range(15)]
    svg = risk_coverage_svg(risk_chart(curves), "mmlu")
    assert {f"method {n}" for n in range(15)} <= set(texts(svg))


def test_a_file_says_nothing_of_day_or_version():
    svg = reliability_svg([reliability_chart("quiz", "a", BINS)])
    assert "date" not in svg.lower()
    assert "matplotlib" not in svg.lower()


def test_figures_on_one_page_share_names_only_for_the_same_thing():
    a, b = (reliability_svg([reliability_chart("quiz", name, BINS)], name) for name in ("mmlu", "triviaqa"))
    named = [
        {node.attrib["id"]: xml.tostring(node) for node in xml.fromstring(svg).iter() if "id" in node.attrib}
        for svg in (a, b)
    ]
    assert all(named[0][name] == named[1][name] for name in named[0].keys() & named[1].keys())
    for svg, own in zip((a, b), named, strict=True):
        assert set(re.findall(r"#([pm]\w+)[\")]", svg)) <= own.keys()


def test_the_settings_of_others_stay_as_they_are():
    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False}):
        loud = reliability_svg([reliability_chart("quiz", "a", BINS)])
    assert loud == reliability_svg([reliability_chart("quiz", "a", BINS)])
    assert dict(matplotlib.rcParams) == before
    code = "from lmtools.report.svg import draw; draw(1, 1, lambda figure: None, '')"
    assert "matplotlib.pyplot" not in modules_after(code)


@pytest.mark.parametrize(
    ("confidence", "correct"), [([1.0], [0]), ([0.0], [1]), ([0.7] * 9, [1] * 9), (CONFIDENCE, CORRECT)]
)
@pytest.mark.parametrize("mass", [False, True])
def test_odd_data_are_drawn(confidence, correct, mass):
    for svg in (
        reliability_svg([reliability_chart("quiz", "a", bins(confidence, correct, mass=mass))]),
        risk_coverage_svg(risk_chart([risk_curve("a", confidence, correct)])),
    ):
        assert "nan" not in re.sub(r"<text.*?</text>", "", svg).lower()
        xml.fromstring(svg)
