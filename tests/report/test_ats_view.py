"""A fit of heads on the page: methods, training curves, texts by temperature and by confidence."""

import json
import math

import pytest
from sample_page import HOSTILE
from tiny_fit import run_fit, tiny_recipe

from lmtools.core.errors import DataError, RunError
from lmtools.report.ats import VALUES, outcomes, sections
from lmtools.report.budget import ByteBudget
from lmtools.report.elements import Dots, Grid, Lines, Prose, Table, Tokens
from lmtools.report.html import Chapter, page_html
from lmtools.report.run_files import read_source


@pytest.fixture(scope="module")
def fitted(tiny_llama, tmp_path_factory):
    """A finished fit; tests that change it take a copy."""
    folder = tmp_path_factory.mktemp("fit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LMTOOLS_CACHE", str(folder / "cache"))
        run_fit(tiny_recipe(tiny_llama, folder, compare=("mlp", "vector scaling", "Platt")), folder / "run")
    return folder / "run"


@pytest.fixture
def copied(fitted, tmp_path):
    for name in ("manifest.json", "metrics.json", "recipe.yaml", "training.jsonl", "tokens.jsonl"):
        (tmp_path / name).write_bytes((fitted / name).read_bytes())
    return tmp_path


def parts(found, kind):
    flat = [part for section in found for part in section.parts]
    flat += [chart for part in flat if isinstance(part, Grid) for chart in part.charts]
    return [part for part in flat if isinstance(part, kind)]


def line(tokens, **values):
    count = len(tokens)
    columns = {name: [None] + [0.5] * (count - 1) for name in VALUES} | values
    return json.dumps({"title": "a title", "method": "linear", "tokens": tokens, **columns}) + "\n"


def test_methods_curves_and_tokens_of_a_real_fit(fitted):
    found = sections(read_source(fitted))
    assert [section.title for section in found] == [
        "Methods on held-out tokens", "Training of the heads", "Token by token",
    ]  # fmt: skip
    dots = parts(found, Dots)
    assert len(dots) == 4
    assert all(chart.strong == "transformer" for chart in dots)
    assert [name for name, _ in dots[0].rows] == ["uncalibrated", "transformer", "mlp"]
    curves = parts(found, Lines)
    assert [chart.title for chart in curves[:2]] == ["transformer", "mlp"]
    recorded = [json.loads(line) for line in (fitted / "training.jsonl").open()]
    own = [r for r in recorded if r["part"] == "mlp"]
    assert [kind.name for kind in curves[1].lines] == ["training", "validation"]
    assert curves[1].lines[0].points == [(r["step"], r["loss"]) for r in own]
    assert curves[1].lines[1].points == [(r["step"], r["validation_loss"]) for r in own]
    [table] = parts(found, Table)
    assert [row[0] for row in table.rows] == ["transformer", "mlp", "vector scaling"]
    [shown] = parts(found, Tokens)
    written = [json.loads(line) for line in (fitted / "tokens.jsonl").open(encoding="utf-8")]
    assert len(shown.texts) == len(written)
    for (_, tokens), own in zip(shown.texts, written, strict=True):
        assert [token.text for token in tokens] == own["tokens"]
        assert [token.values for token in tokens] == list(zip(*(own[name] for name in VALUES), strict=True))
    assert len(shown.measures) == len(VALUES)
    temperature = shown.measures[0]
    assert temperature.low < 1 < temperature.high
    assert temperature.middle == 1
    assert outcomes(read_source(fitted)) == {}


def test_an_older_run_says_how_to_get_the_rest(copied):
    (copied / "tokens.jsonl").unlink()
    (copied / "training.jsonl").unlink()
    found = sections(read_source(copied))
    assert [section.title for section in found] == ["Methods on held-out tokens", "Token by token"]
    assert "lmtools ats fit" in parts(found[1:], Prose)[0].text
    (copied / "metrics.json").unlink()  # killed on its way: nothing is promised
    assert sections(read_source(copied)) == []


def test_other_runs_have_no_part_in_this_view(copied):
    (copied / "recipe.yaml").write_text("system: calibration\n")
    assert sections(read_source(copied)) == []


def test_a_fit_that_held_nothing_out_is_warned_of(copied):
    assert parts(sections(read_source(copied)), Prose)[0].kind == "note"
    (copied / "recipe.yaml").write_text("system: ats\ndata:\n  validation: 0.0\n")
    warning = parts(sections(read_source(copied)), Prose)[0]
    assert (warning.kind, "what it was fitted on" in warning.text) == ("warning", True)


@pytest.mark.parametrize(
    "damage",
    [
        "{", "[]\n", "{}\n", line(["a", "b"], temperature=[None]), line(["a", 3]),
        line(["a", "b"], after=[None, "x"]), line(["a", "b"], before=[None, math.nan]),
        line(["a", "b"], title=7), line(["a", "b"], before=None),
    ],
)  # fmt: skip
def test_damaged_texts_are_named(copied, damage):
    with (copied / "tokens.jsonl").open("w") as file:
        file.write(line(["a", "b"]) + damage)
    with pytest.raises(DataError, match=r"tokens\.jsonl:2: damaged"):
        sections(read_source(copied))


def test_a_point_that_is_no_number_and_a_torn_line_of_a_curve_are_passed_over(copied):
    good = '{"part": "mlp", "step": 1, "loss": 2.0}\n{"part": "mlp", "step": 5, "loss": 1.0}\n'
    (copied / "training.jsonl").write_text(good + '{"part": "mlp", "step": 3, "loss": NaN}\n{')
    [chart] = parts(sections(read_source(copied)), Lines)
    assert [one.points for one in chart.lines] == [[(1, 2.0), (5, 1.0)]]


@pytest.mark.parametrize("odd", ['{"part": "mlp"}', "3", '{"part": "mlp", "step": "x", "loss": 1}'])
def test_a_broken_line_of_a_curve_is_named(copied, odd):
    (copied / "training.jsonl").write_text('{"part": "mlp", "step": 1, "loss": 2.0}\n' + odd + "\n")
    with pytest.raises(RunError, match=r"training\.jsonl:2: no point of a curve"):
        sections(read_source(copied))


def test_a_long_curve_is_thinned_and_a_single_point_is_only_told(copied):
    long = [{"part": "a", "step": n, "loss": 1 / n} for n in range(1, 10_001)]
    text = "".join(json.dumps(r) + "\n" for r in [*long, {"part": "b", "step": 9, "loss": 0.5}])
    (copied / "training.jsonl").write_text(text)
    found = sections(read_source(copied))
    [chart] = parts(found, Lines)
    [only] = chart.lines
    assert (only.points[0], only.points[-1]) == ((1, 1.0), (10_000, 1e-4))
    assert len(only.points) <= 301
    [table] = parts(found, Table)
    assert table.rows[1] == ("b", "9", "0.5", "–")


def test_very_many_and_very_long_texts_are_cut(copied):
    (copied / "tokens.jsonl").write_text(line(["a", " b"] * 4000) * 100)
    [shown] = parts(sections(read_source(copied)), Tokens)
    assert len(shown.texts) == 24
    assert {len(tokens) for _, tokens in shown.texts} == {600}


def test_hostile_tokens_stay_texts(copied):
    bad = [text.replace("\ud800", "") for text in HOSTILE]
    with (copied / "tokens.jsonl").open("w", encoding="utf-8") as file:
        file.write(line(bad, title=bad[0], method=bad[2]))
    found = sections(read_source(copied))
    [shown] = parts(found, Tokens)
    assert [token.text for token in shown.texts[0][1]] == bad
    page = page_html("run", [Chapter("run", found)], ByteBudget("left.jsonl"))
    assert page.count("<script>") == 1
    assert "<img" not in page
