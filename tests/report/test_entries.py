"""How much of a list a page holds: the first entries, as many as fit; the rest, whole, beside it."""

import pytest

from lmtools.report.budget import LONGEST, ByteBudget, browser_json
from lmtools.report.elements import Block, Browser, Entry, Item


def entries(count: int, size: int = 100) -> list[Entry]:
    return [Entry((f"{n}", "x" * size), {"kind": "even" if n % 2 == 0 else "odd"}) for n in range(count)]


def browser(found: list[Entry], name: str = "b") -> Browser:
    return Browser(name, "A list", ("number", "text"), {"kind": ("even", "odd")}, found)


def test_what_fits_is_kept_whole() -> None:
    room = ByteBudget("left.jsonl")
    found = browser(entries(10))
    room.share([found])
    data = browser_json(found, room)
    assert [cells for cells, _, _ in data["entries"]] == [[f"{n}", "x" * 100] for n in range(10)]
    assert [options for _, options, _ in data["entries"]] == [[n % 2] for n in range(10)]
    assert data["left"] == 0
    assert room.left_out == []


def test_the_last_ones_are_left_out_and_written_with_their_columns() -> None:
    room = ByteBudget("left.jsonl", size=2000)
    found = browser(entries(100))
    room.share([found])
    data = browser_json(found, room)
    kept = len(data["entries"])
    assert 5 < kept < 20
    assert data["left"] == 100 - kept
    assert data["file"] == "left.jsonl"
    assert [line["number"] for line in room.left_out] == [f"{n}" for n in range(kept, 100)]
    assert room.left_out[0]["list"] == "A list"


def test_a_list_leaves_to_the_next_what_it_does_not_need() -> None:
    room = ByteBudget("left.jsonl", size=4000)
    small, large = browser(entries(2)), browser(entries(100))
    room.share([small, large])
    browser_json(small, room)
    after_small = len(browser_json(large, room)["entries"])
    alone = ByteBudget("left.jsonl", size=2000)
    alone.share([large])
    assert after_small > len(browser_json(large, alone)["entries"])


def test_a_long_text_is_kept_once() -> None:
    room = ByteBudget("left.jsonl")
    detail = [Block("hits", items=[Item("Paris", "gold", "p" * 1000)])]
    found = browser([Entry(("1", "a"), {}, detail), Entry(("2", "b"), {}, detail)])
    room.share([found])
    data = browser_json(found, room)
    assert room.texts == ["p" * 1000]
    assert [entry[2][0][2] for entry in data["entries"]] == [[["Paris", "gold", 0]]] * 2


def test_a_text_that_is_cut_is_whole_beside_the_page() -> None:
    room = ByteBudget("left.jsonl")
    whole = "y" * (LONGEST + 1)
    found = browser([Entry(("1", "a"), {}, [Block("query", whole)])])
    room.share([found])
    data = browser_json(found, room)
    cut = data["entries"][0][2][0][1]
    assert len(cut) == LONGEST
    assert cut.endswith("…")
    assert room.left_out[0]["detail"][0]["text"] == whole


def test_an_entry_may_carry_several_options_and_none() -> None:
    room = ByteBudget("left.jsonl")
    found = browser([Entry(("1", "a"), {"kind": ["odd", "even"]}), Entry(("2", "b"))])
    room.share([found])
    assert [options for _, options, _ in browser_json(found, room)["entries"]] == [[[1, 0]], [None]]


def test_an_option_that_no_filter_has_is_a_mistake_of_the_view() -> None:
    room = ByteBudget("left.jsonl")
    with pytest.raises(ValueError, match="third"):
        browser_json(browser([Entry(("1", "a"), {"kind": "third"})]), room)
