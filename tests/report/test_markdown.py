"""Tables in documents come from result files, and a stale one is noticed."""

from pathlib import Path

import pytest

from lmtools.core.errors import DataError
from lmtools.core.results import Difference, Interval, Results, Row
from lmtools.report.markdown import fill, main, markdown_table, short_interval

INTERVAL = Interval(0.745, 0.712, 0.7781, 400)
RESULTS = Results(
    "leret/x",
    "lmtools leret train",
    0,
    {},
    {},
    (
        Row("SFT", {"ap@hop2": INTERVAL, "recall@hop2": INTERVAL, "bridge/recall@hop2": INTERVAL}),
        Row("base", {}),
    ),
    (Difference("SFT", "base", "recall@hop2", 0.305, 0.25, 0.36, 400),),
)


def test_cell():
    assert short_interval(INTERVAL) == ".745 [.712, .778]"
    assert short_interval(Interval(1.0, 1.0, 1.0, 3)) == "1.000 [1.000, 1.000]"
    assert short_interval(Interval(-0.05, -0.1, 0.0, 3)) == "-.050 [-.100, .000]"
    assert short_interval(Interval(10.349, 0.5, 20.3, 3)) == "10.349 [.500, 20.300]"
    assert short_interval(None) == "–"


def test_table_has_the_asked_metrics_and_the_differences_of_the_last():
    table = markdown_table(RESULTS, ["recall@hop2"])
    assert table.splitlines() == [
        "| | recall@hop2 |",
        "|---|---|",
        "| SFT | .745 [.712, .778] |",
        "| base | – |",
        "",
        "- SFT − base: +30.5 points [+25.0, +36.0] (paired, n = 400)",
    ]


def test_differences_from_one_row_are_a_table_of_all_metrics(tmp_path: Path):
    figures = {"a/ece": INTERVAL, "b/ece": INTERVAL}
    found = tuple(
        Difference(a, b, metric, value, -0.01, 0.06, 400)
        for metric in figures
        for a, b, value in (("base", "head", 0.05), ("head", "base", -0.05), ("scalar", "head", -0.2))
        if (a, metric) != ("scalar", "b/ece")
    )
    Results("ats/x", "c", 0, {}, {}, (Row("head", figures),), found).write(tmp_path / "r.json")
    marker = "<!-- table: r.json a/ece b/ece against={} -->\nold\n<!-- end of table -->"
    assert fill(marker.format("head"), tmp_path).splitlines()[-5:-2] == [
        "|---|---|---|",
        "| base | +.050 [-.010, +.060] | +.050 [-.010, +.060] |",
        "| scalar | -.200 [-.010, +.060] | – |",
    ]
    with pytest.raises(DataError, match="no difference from 'mlp'"):
        fill(marker.format("mlp"), tmp_path)


def test_without_metrics_those_without_prefix():
    assert markdown_table(RESULTS, []).startswith("| | ap@hop2 | recall@hop2 |\n")


def test_unknown_metric_is_an_error():
    with pytest.raises(DataError, match="no row has 'ece'"):
        markdown_table(RESULTS, ["ece"])


def test_fill_then_check_then_stale(tmp_path: Path):
    RESULTS.write(tmp_path / "r.json")
    document = tmp_path / "README.md"
    document.write_text("# a\n<!-- table: r.json recall@hop2 -->\nold\n<!-- end of table -->\nb\n")
    assert main(["--check", str(document)]) == 1
    assert "old" in document.read_text()
    assert main([str(document)]) == 0
    assert "old" not in document.read_text()
    assert document.read_text().startswith("# a\n")
    assert document.read_text().endswith("-->\nb\n")
    assert main(["--check", str(document)]) == 0
    assert fill(document.read_text(), tmp_path) == document.read_text()


@pytest.mark.parametrize("arguments", [[], ["--check"]])
@pytest.mark.parametrize(
    ("marker", "message"),
    [("absent.json", "absent.json: cannot be read"), ("r.json ece", "no row has 'ece'")],
)
def test_a_marker_without_its_figures_is_exit_2_and_nothing_is_written(
    tmp_path, capsys, arguments, marker, message
):
    RESULTS.write(tmp_path / "r.json")
    text = f"<!-- table: r.json -->\n<!-- end of table -->\n<!-- table: {marker} -->\n<!-- end of table -->\n"
    (tmp_path / "a.md").write_text(text)
    assert main([*arguments, str(tmp_path / "a.md")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert (tmp_path / "a.md").read_text() == text


def test_rows_of_one_method_become_one_with_a_column_for_each_number_of_labels(tmp_path: Path):
    rows = tuple(
        Row(name, {"accuracy": INTERVAL, "a/accuracy": INTERVAL})
        for name in ("hyre/pca @0", "hyre/pca @5", "hyre/pca @16", "single-head @0")
    )
    found = (
        Difference("hyre/pca @5", "single-head @0", "accuracy", 0.05, 0.01, 0.09, 400),
        Difference("hyre/pca @5", "single-head @0", "wins", 0.7, 0.6, 0.8, 19),
        Difference("hyre/pca @16", "single-head @0", "accuracy", 0.06, 0.01, 0.09, 400),
        Difference("hyre/pca @5", "uniform @0", "accuracy", 0.3, 0.2, 0.4, 400),
    )
    Results("hyre/x", "c", 0, {}, {}, rows, found).write(tmp_path / "r.json")
    marker = "<!-- table: r.json accuracy labels=0,5 against=single-head -->\nold\n<!-- end of table -->"
    assert fill(marker, tmp_path).splitlines()[2:-2] == [
        "| | @0 | @5 |",
        "|---|---|---|",
        "| hyre/pca | .745 [.712, .778] | .745 [.712, .778] |",
        "| single-head | .745 [.712, .778] | – |",
        "",
        "| less single-head, paired | @0 | @5 |",
        "|---|---|---|",
        "| hyre/pca | – | +.050 [+.010, +.090] |",
    ]
    chosen = marker.replace("labels=0,5 against=single-head", "labels=0 rows=single*,hyre/*")
    lines = fill(chosen, tmp_path).splitlines()
    assert [line.split("|")[1] for line in lines[4:6]] == [" single-head ", " hyre/pca "]
