"""The page in a real browser: it asks for nothing, runs nothing of a run's text, answers clicks and keys."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium, opened
from sample_page import HOSTILE, hostile_page

from lmtools.core.results import Interval
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
    plain.locator("summary").first.click()
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
        assert found.page.locator("figure", has_text="gap").locator("circle").count() == 2
        assert found.page.locator("figure", has_text="bars").locator("rect.fill").count() >= 1
