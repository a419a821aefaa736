"""Pages as people meet them: the system's Chromium, driven by Playwright, and axe-core's judgement.

Both come with the test set-up. Where one is missing the tests that need it are skipped, and fail
where NELBO_BROWSER=required, as it is in CI.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]
WIDTHS = (360, 1440)
SCHEMES = ("light", "dark")
QUIET = [
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

CONTRAST = """selector => {
  const canvas = document.createElement("canvas");
  const pen = canvas.getContext("2d", {willReadFrequently: true});
  const rgba = colour => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = colour; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [R, G, B] = [r, g, b].map(x => x / 255)
      .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const behind = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  return [...document.querySelectorAll(selector)]
    .filter(e => e.getBoundingClientRect().width > 0)
    .map(e => {
      const style = getComputedStyle(e);
      const ink = rgba(e instanceof SVGElement ? style.fill : style.color);
      const [a, b] = [luminance(ink), luminance(behind(e))].sort((x, y) => y - x);
      return [e.textContent.trim().slice(0, 30), (a + 0.05) / (b + 0.05)];
    });
}"""


@dataclass
class Visit:
    """A page that was opened from disk without a network, and what it did that it should not."""

    page: "Page"
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def complaints(self) -> list[str]:
        """Messages of the console, uncaught errors, and requests for anything but the page."""
        return self.errors + [f"asked for {url}" for url in self.requests]

    def resize(self, width: int) -> None:
        self.page.set_viewport_size({"width": width, "height": 900})

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")

    def contrast(self, selector: str) -> dict[str, float]:
        """text -> its contrast with the nearest background, of what is drawn at the selector."""
        return dict(self.page.evaluate(CONTRAST, selector))

    def illegible(self) -> list[str]:
        """What is too wide on the screen or a sheet, breaks axe's rules, or is torn on paper."""
        faults = self.violations() + ["too wide"] * (self.overflow() > 0)
        self.page.emulate_media(media="print", color_scheme="light")
        self.resize(680)  # pixels between the margins of a sheet
        faults += ["too wide for a sheet"] * (self.overflow() > 0)
        kept = "[...document.querySelectorAll('section > h2, section > .lead')].every(e => "
        if not self.page.evaluate(f"{kept} getComputedStyle(e).breakAfter === 'avoid')"):
            faults.append("a title on another sheet than what it is of")
        return faults + self.complaints

    def violations(self) -> list[str]:
        """What axe-core finds against level A or AA, a line for each element."""
        need(AXE.is_file(), "no axe-core: make test fetches it, by npm")
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text("utf-8") + "; 0")
        result: dict[str, Any] = self.page.evaluate(
            "levels => axe.run(document, {runOnly: levels, resultTypes: ['violations']})", LEVELS
        )
        return [
            f"{broken['id']} at {' '.join(map(str, node['target']))}: {node['failureSummary']}"
            for broken in result["violations"]
            for node in broken["nodes"]
        ]


def need(there: bool, lacking: str) -> None:
    """Skips the test, or fails it where the browser is required."""
    if there:
        return
    if os.environ.get("NELBO_BROWSER") == "required":
        pytest.fail(f"{lacking}, and NELBO_BROWSER=required")
    pytest.skip(lacking)


@contextmanager
def started() -> Iterator["Browser"]:
    """The system's Chromium, headless."""
    need(EXECUTABLE is not None, f"none of {', '.join(NAMES)} is on the PATH")
    from playwright.sync_api import sync_playwright  # half of the time that other tests start in

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=EXECUTABLE, args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(
    browser: "Browser",
    path: Path,
    *,
    width: int = 1440,
    scheme: str = "light",
    javascript: bool = True,
) -> Iterator[Visit]:
    """The page at the path in a fresh context, offline."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,
        java_script_enabled=javascript,
        offline=True,
        reduced_motion="reduce",
    )
    url = path.as_uri()
    visit = Visit(context.new_page())
    context.on("request", lambda r: r.url == url or visit.requests.append(r.url))
    visit.page.on("console", lambda m: visit.errors.append(f"{m.type}: {m.text}"))
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    try:
        visit.page.goto(url)
        yield visit
    finally:
        context.close()
