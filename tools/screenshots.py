"""Pictures of the three systems' reports, at the width of a desk and of a phone, for docs/images/.

lmtools quickstart
python tools/screenshots.py runs/leret-quickstart docs/images

Needs the test extra and a Chromium (`apt install chromium`; `LMTOOLS_CHROMIUM` names another one).
"""

import io
import os
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lmtools.report.page import write_report

WIDTHS = {"desktop": 1100, "phone": 390}
HEIGHT = 1400
"""Pixels of a picture at most."""
COLOURS = 200


@dataclass(frozen=True)
class Shot:
    """A picture: of which run inside the quickstart, from which heading on, with what opened first."""

    name: str
    run: str
    heading: str
    press: str = ""
    """A selector of what is pressed before."""


SHOTS = (
    Shot("leret", ".", "What came out"),
    Shot("leret-questions", ".", "Question by question", ".browser td > button"),
    Shot("ats", "ats-eval", "Reliability"),
    Shot("ats-tokens", "ats", "Token by token"),
    Shot("hyre", "hyre-eval", "What came out"),
)


def main(run: Path, folder: Path) -> None:
    """Write every picture that the run has the heading for; says which it has not."""
    from playwright.sync_api import sync_playwright

    browser_path = os.environ.get("LMTOOLS_CHROMIUM") or shutil.which("chromium")
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as started, tempfile.TemporaryDirectory() as place:
        browser = started.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for shot in SHOTS:
            if not (run / shot.run / "manifest.json").is_file():
                print(f"{shot.name}: no run {run / shot.run}", file=sys.stderr)
                continue
            page_file = write_report([run / shot.run], Path(place) / f"{shot.name}.html")
            for kind, width in WIDTHS.items():
                picture = taken(browser, page_file, shot, width)
                if picture is None:
                    print(f"{shot.name}: no heading {shot.heading!r} in {run / shot.run}", file=sys.stderr)
                else:
                    save(picture, folder / f"{shot.name}-{kind}.png")
        browser.close()


def taken(browser: Any, file: Path, shot: Shot, width: int) -> bytes | None:
    """The page from the heading on, as PNG."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
    try:
        page.goto(file.resolve().as_uri())
        heading = page.get_by_role("heading", name=shot.heading).first
        if heading.count() == 0:
            return None
        if shot.press:
            page.locator(shot.press).first.click()
        page.wait_for_timeout(300)
        box = heading.evaluate("node => node.getBoundingClientRect().top + window.scrollY")
        top = 0 if shot.heading == "What came out" else box - 12
        whole = page.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": top, "width": width, "height": min(HEIGHT, whole - top)}
        return bytes(page.screenshot(full_page=True, clip=clip))
    finally:
        page.close()


def save(picture: bytes, path: Path) -> None:
    """Write a PNG of few colours, a fraction of the size."""
    from PIL import Image

    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} kB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
