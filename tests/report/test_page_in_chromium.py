"""The page in a real browser: it asks for nothing, runs nothing of a run's text, answers clicks and keys."""

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, opened
from sample_page import HOSTILE, hostile_page
from written_run import write_run

from lmtools.core.results import Difference, Interval
from lmtools.report.budget import ByteBudget
from lmtools.report.elements import (  # fmt: skip
    Bars,
    Block,
    Browser,
    Dots,
    Entry,
    Grid,
    Item,
    Line,
    Lines,
    Measure,
    Prose,
    Reliability,
    Section,
    Token,
    Tokens,
)
from lmtools.report.html import Chapter, page_html
from lmtools.report.page import write_report

OUTCOMES = ("got better", "got worse", "still missing")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """Thirty questions, ten of each outcome; two diagrams whose bins open them."""
    entries = [
        Entry(
            (f"Question {n}?", f"query {n}"),
            {"outcome": OUTCOMES[n % 3], "bin": [f"head {n % 2}", f"plain {n % 2}"]},
            [Block("After", "a query", [Item("Paris", "gold", "Paris is the capital."), Item("Rome")])],
        )
        for n in range(30)
    ]
    options = [f"{method} {n}" for method in ("head", "plain") for n in range(2)]
    questions = Browser(
        "questions",
        "Questions",
        ("Question", "Query"),
        {"outcome": OUTCOMES, "bin": options},
        entries,
        ["bin"],
    )
    bins = [
        Reliability(
            method, (0, 0.5, 1), (15, 15), (0.3, 0.8), (0.5, 0.6), browser="questions",
            picks=[{"bin": f"{method} {n}"} for n in range(2)],
        )
        for method in ("head", "plain")
    ]  # fmt: skip
    measures = [Measure("temperature", 0.5, 2, middle=1), Measure("confidence before", 0, 1, "rate")]
    words = [Token("Paris", (1.5, 0.9)), Token(" is", (0.7, 0.2)), Token("\n", (None, 0.1))]
    sections = [
        Section(
            "What came out", [Prose("It works."), Dots("recall", [("SFT", Interval(0.7, 0.6, 0.8, 30))])]
        ),
        Section("Reliability", [Grid(bins), questions, Tokens("Token by token", measures, [("one", words)])]),
    ]
    path = tmp_path / "report.html"
    path.write_text(
        page_html("a run", [Chapter("a run", sections)], ByteBudget("left.jsonl")), encoding="utf-8"
    )
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 390])
def test_hostile_text_is_text_and_the_page_asks_for_nothing(
    browser: Any, tmp_path: Path, width: int, scheme: str
) -> None:
    path = hostile_page(tmp_path / "report.html")
    with opened(browser, path, width, scheme) as found:
        for kind in ("main td button, fieldset button:last-of-type", "summary", ".token", ".theme"):
            clicked = found.page.locator(kind).evaluate_all("all => all.map((node) => node.click()).length")
            assert clicked > 0
        found.page.locator(".detail summary").evaluate_all("all => all.forEach((node) => node.click())")
        found.page.wait_for_timeout(200)
        assert found.requests == [path.resolve().as_uri()]
        assert found.complaints == []
        assert found.page.locator("main script, main img, main iframe, main style, main a[ping]").count() == 0
        inside = "[...document.querySelectorAll('*')].flatMap((node) => node.getAttributeNames())"
        assert not [name for name in found.page.evaluate(inside) if name.startswith("on")]
        assert HOSTILE[2] in found.text("main")


def test_the_page_does_not_scroll_sideways_on_a_phone(browser: Any, page: Path, tmp_path: Path) -> None:
    for path in (page, hostile_page(tmp_path / "hostile.html")):
        with opened(browser, path, 360) as found:
            wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert found.page.evaluate(wide) == 0


RUNS = {
    "leret": ("leret train", {"recall@hop1": 0.6, "recall@hop2": 0.7, "ap@hop1": 0.5, "ap@hop2": 0.6}),
    "hyre-pairs": ("hyre eval", {"accuracy": 0.7, "effective-heads": 3.5, "web/accuracy": 0.6}),
    "hyre-tables": ("hyre eval", {"rmse-ratio": 0.7, "tides/rmse": 5.5, "winds/rmse": 4.5}),
    "ats": ("ats fit", {"loss": 3.2, "nll": 2.5, "token-ece": 0.1, "multiplier": 0.9}),
    "calibration": ("eval calibration", {"quiz/ece": 0.1, "quiz/brier": 0.2, "quiz/accuracy": 0.4}),
    "reward": ("eval reward", {"accuracy": 0.7}),
}
"""Kind of run -> its command, and what it measures."""
WIDE_TABLE = {f"recall@hop{hop}": 0.5 for hop in range(1, 13)}
WIDTHS = (320, 390, 768, 1280, 1920)


def run_page(folder: Path, kind: str) -> Path:
    """The page of a run of this kind with its quickstart's inner runs, or the comparison of two."""
    if kind == "comparison":
        runs = [folder / "a", folder / "b"]
    else:
        runs = [folder / "quickstart" if kind == "quickstart" else folder / kind]
    for run in runs:
        command, metrics = RUNS.get(kind, ("quickstart", {**RUNS["leret"][1], **WIDE_TABLE}))
        write_run(run, _rows(metrics), command=("lmtools", *command.split()), differences=_gains(metrics))
    if kind == "quickstart":
        for name in ("hyre-pairs", "ats", "calibration"):
            command, metrics = RUNS[name]
            write_run(runs[0] / name, _rows(metrics), differences=_gains(metrics))
    return write_report(runs, folder / "report.html")


def _rows(metrics: dict[str, float]) -> dict[str, dict[str, float]]:
    return dict.fromkeys(("a baseline with a name of several words", "another", "the method"), metrics)


def _gains(metrics: dict[str, float]) -> list[Difference]:
    return [Difference("the method", "another", metric, 0.1, 0.05, 0.15, 80) for metric in metrics]


KINDS = (*RUNS, "quickstart", "comparison")


@pytest.mark.parametrize("kind", KINDS)
def test_every_page_begins_with_its_title_a_verdict_and_a_few_large_figures(
    browser: Any, tmp_path: Path, kind: str
) -> None:
    with opened(browser, run_page(tmp_path, kind), 1280) as found:
        assert found.complaints == []
        assert found.page.title() == found.text("h1")
        assert "2026-01-01" in found.text("header")
        assert found.text("main > p.lead").count(". ") == 0  # one sentence
        figures = found.page.locator(".large > div").all()
        assert 3 <= len(figures) <= 5
        for figure in figures:
            assert re.search(r"\d.* to .*\d", figure.inner_text())
        first = figures[0].inner_text()
        assert ("strongest baseline" in first) or (kind == "comparison" and "a: " in first)
        below = found.page.locator(".large").evaluate("node => node.getBoundingClientRect().bottom")
        assert below < 600  # all of it is on the first screen


@pytest.mark.parametrize("kind", ["leret", "quickstart", "comparison"])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_width_scrolls_sideways_and_the_contents_take_little_room(
    browser: Any, tmp_path: Path, width: int, kind: str
) -> None:
    with opened(browser, run_page(tmp_path, kind), width) as found:
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert found.page.evaluate(wide) == 0
        found.page.locator("details:not(nav details)").evaluate_all(
            "all => all.forEach((d) => d.open = true)"
        )
        assert found.page.evaluate(wide) == 0
        side, menu = found.page.locator("nav.side"), found.page.locator("nav.menu")
        assert side.is_visible() == (width >= 700)
        assert menu.is_visible() == (width < 700)
        box = (side if width >= 700 else menu).bounding_box()
        assert box["width"] <= 0.32 * width if width >= 700 else box["height"] <= 60
        # A table's first column prints words: none is broken between letters.
        broken = """[...document.querySelectorAll('main .scroll tbody th')].filter((cell) => {
            const words = cell.textContent.split(/\\s+/).length;
            const line = parseFloat(getComputedStyle(cell).lineHeight);
            return (cell.clientHeight - 12) / line > words + 0.5;
        }).map((cell) => cell.textContent)"""
        assert found.page.evaluate(broken) == []


def test_the_contents_stay_in_view_beside_the_page_and_open_as_a_menu(browser: Any, tmp_path: Path) -> None:
    path = run_page(tmp_path, "quickstart")
    with opened(browser, path, 1280) as desk, opened(browser, path, 390) as phone:
        desk.page.evaluate("window.scrollTo({top: 2000, behavior: 'instant'})")
        assert desk.page.locator("nav.side").bounding_box()["y"] == 0
        link = phone.page.locator("nav.menu a").last
        assert not link.is_visible()
        phone.page.locator("nav.menu summary").press("Enter")
        assert link.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_read_at_the_top_stands_out_from_its_ground(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    contrast = """([selector]) => {
        const rgb = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = (text) => rgb(text).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
            .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
        const ground = light(getComputedStyle(document.body).backgroundColor);
        const ink = light(getComputedStyle(document.querySelector(selector)).color);
        return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
    }"""
    with opened(browser, run_page(tmp_path, "leret"), 1280, scheme) as found:
        for selector in ("h1", ".lead", ".large dt span", ".large .value", ".large .note", "nav.side a"):
            assert found.page.evaluate(contrast, [selector]) >= 4.5


def test_lines_over_each_other_have_bands_shapes_and_names_at_their_ends(
    browser: Any, tmp_path: Path
) -> None:
    points = [(n, 0.5 + 0.05 * n, 0.45 + 0.05 * n, 0.55 + 0.05 * n) for n in (0.0, 1.0, 2.0)]
    curves = Lines("c", [Line(name, points) for name in ("hyre/pca", "logistic", "ridge")], "x", "y", "rate")
    path = tmp_path / "report.html"
    sections = [Section("One", [curves])]
    path.write_text(page_html("t", [Chapter("t", sections)], ByteBudget("l")), encoding="utf-8")
    for width, named in ((1280, True), (320, False)):
        with opened(browser, path, width) as found:
            plot = found.page.locator(".plot")
            ends = plot.locator("text.end")
            names = ends.all_text_contents()
            assert names == (["hyre/pca", "logistic", "ridge"] if named else names)
            boxes = sorted(box["y"] for box in (end.bounding_box() for end in ends.all()))
            assert all(b - a >= 12 for a, b in pairwise(boxes))
            assert plot.locator(".band").count() == 3
            shapes = {
                re.sub(r"^M\S+ [\d.]+", "", dot.get_attribute("d")) for dot in plot.locator(".dot").all()
            }
            assert len(shapes) == 3


def test_a_filter_shows_those_entries_and_search_narrows_them(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        assert "30 of 30" in found.text("[data-count]")
        found.page.get_by_role("button", name="got worse (10)").click()
        assert "10 of 30" in found.text("[data-count]")
        assert found.page.get_by_role("button", name="got worse (10)").get_attribute("aria-pressed") == "true"
        rows = found.page.locator("tbody tr td:first-child").all_inner_texts()
        assert [row.strip() for row in rows if "Question" in row][:2] == ["Question 1?", "Question 4?"]
        found.page.get_by_label("Search").fill("query 28")
        assert "1 of 30" in found.text("[data-count]")
        found.page.get_by_role("button", name="All", exact=True).click()
        found.page.get_by_label("Search").fill("no such words")
        assert "0 of 30" in found.text("[data-count]")


def test_long_lists_grow_on_demand(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        assert found.page.locator(".browser tbody tr").count() == 20
        found.page.get_by_role("button", name="Show 10 more").click()
        assert found.page.locator(".browser tbody tr").count() == 30
        assert not found.page.get_by_role("button", name="more").is_visible()


def test_a_row_opens_to_its_detail_with_the_full_text_on_demand(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        row = found.page.get_by_role("button", name="Question 3?")
        assert row.get_attribute("aria-expanded") == "false"
        row.press("Enter")
        assert row.get_attribute("aria-expanded") == "true"
        assert found.text(".detail .mark.gold") == "gold"
        assert "capital" not in found.text(".detail")
        found.page.locator(".detail summary").click()
        found.page.get_by_text("Paris is the capital.").wait_for(timeout=5000)
        row.press("Enter")
        assert not found.page.locator(".detail").is_visible()


@pytest.mark.parametrize("how", ["click", "Enter", "Space"])
def test_a_bin_shows_its_examples(browser: Any, page: Path, how: str) -> None:
    with opened(browser, page) as found:
        found.page.get_by_role("button", name="got worse (10)").click()
        last = found.page.locator("figure", has_text="plain").locator(".bin").nth(1)
        assert "15 answers" in str(last.get_attribute("aria-label"))
        last.click() if how == "click" else last.press(how)
        assert found.text("[data-count]").startswith("plain 1: 15 of 30")
        assert found.page.evaluate("document.activeElement.textContent") == "Questions"
        found.page.get_by_role("button", name="Show all again").click()
        assert "30 of 30" in found.text("[data-count]")


def test_arrow_keys_go_from_token_to_token(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        box = found.page.locator(".text")
        box.press("ArrowRight")
        assert found.text(".told") == "“Paris”: temperature 1.5, confidence before 90.0 %"
        box.press("ArrowRight")
        assert "0.7" in found.text(".told")
        before = found.page.locator(".token").nth(1).evaluate("node => node.style.backgroundColor")
        found.page.get_by_role("button", name="confidence before").click()
        after = found.page.locator(".token").nth(1).evaluate("node => node.style.backgroundColor")
        assert before
        assert after
        assert before != after


def test_light_and_dark_are_both_there_and_can_be_changed(browser: Any, page: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    with opened(browser, page, scheme="light") as light, opened(browser, page, scheme="dark") as dark:
        white, black = light.page.evaluate(ground), dark.page.evaluate(ground)
        assert white != black
        light.page.get_by_role("button", name="Dark").click()
        assert light.page.evaluate(ground) == black


def test_every_control_has_a_name_and_the_keyboard_reaches_the_page(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        found.page.keyboard.press("Tab")
        assert found.page.evaluate("document.activeElement.textContent") == "Skip to the figures"
        nameless = """[...document.querySelectorAll('button, select, input, [role=button], summary')].filter(
            (node) => !(node.textContent.trim() || node.getAttribute('aria-label') || node.labels?.length))"""
        assert found.page.evaluate(f"{nameless}.length") == 0
        assert found.page.locator("h1").count() == 1


def test_the_printed_page_has_the_figures_and_no_controls(browser: Any, page: Path) -> None:
    with opened(browser, page) as found:
        found.page.emulate_media(media="print")
        assert not found.page.locator(".controls").first.is_visible()
        assert found.page.locator("figure svg").first.is_visible()
        assert found.page.pdf()[:4] == b"%PDF"


def test_without_script_the_figures_are_there_as_tables(browser: Any, page: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    plain.goto(page.resolve().as_uri())
    plain.locator("main summary").first.click()
    assert "70.0 %" in plain.locator("details table").first.inner_text()
    context.close()


def test_what_was_not_measured_is_drawn_nowhere(browser: Any, tmp_path: Path) -> None:
    nothing = Interval(float("nan"), float("nan"), float("nan"), 0)
    charts = [
        Dots("some", [("there", Interval(0.8, 0.7, 0.9, 9)), ("missing", nothing)]),
        Dots("none", [("missing", nothing)]),
        Lines("gap", [Line("a", [(0, 0.5), (1, float("nan")), (2, 0.7)])], "x", "y", "rate"),
        Lines("empty", [], "x", "y"),
        Bars("bars", [("a", float("nan")), ("b", 1.0)], groups=["one", "two"]),
    ]
    path = tmp_path / "report.html"
    path.write_text(
        page_html("t", [Chapter("t", [Section("One", charts)])], ByteBudget("l")), encoding="utf-8"
    )
    with opened(browser, path) as found:
        assert found.complaints == []
        assert found.page.locator("figure", has_text="some").locator("circle").count() == 1
        ticks = found.page.locator("figure", has_text="some").locator("text.soft").all_text_contents()
        assert all(float(one.rstrip(" %")) > 60 for one in ticks)
        assert found.page.get_by_text("Nothing was measured.").count() == 2
        assert found.page.locator("figure", has_text="gap").locator(".plot .dot").count() == 2
        assert found.page.locator("figure", has_text="bars").locator("rect.fill").count() >= 1
