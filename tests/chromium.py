"""Pages in a real headless Chromium, Debian's or any other; without one the tests skip and say why.

With `LMTOOLS_TEST_PAGES` in the environment, as in continuous integration, they fail instead.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable() -> str | None:
    """The browser; `LMTOOLS_CHROMIUM` names another one."""
    return os.environ.get("LMTOOLS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def unable(reason: str) -> NoReturn:
    """Skip the test, or fail it where pages must be tested."""
    if os.environ.get("LMTOOLS_TEST_PAGES"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Opened:
    """A page, what it asked for, and what the browser complained of: script errors and broken policies."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def text(self, selector: str) -> str:
        """What is seen of the first element."""
        return str(self.page.locator(selector).first.inner_text())


@contextmanager
def chromium() -> Iterator[Any]:
    """A running browser."""
    found = executable()
    if find_spec("playwright") is None:
        unable("needs playwright: pip install '.[test]'")
    if found is None:
        unable("needs a Chromium: apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Any, path: Path, width: int = 1100, scheme: str = "light") -> Iterator[Opened]:
    """The file at ``path`` as a page of this width in pixels."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    found = Opened(page)
    page.on("request", lambda request: found.requests.append(request.url))
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    page.on("console", lambda line: found.complaints.append(line.text) if line.type == "error" else None)
    page.on("dialog", lambda dialog: (found.complaints.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.goto(path.resolve().as_uri())
    try:
        yield found
    finally:
        page.close()
