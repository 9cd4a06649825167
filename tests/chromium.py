"""Chromium for the tests of pages: in the path, or by `playwright install chromium`."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")


@contextlib.contextmanager
def launched() -> Iterator[Any]:
    """A browser. Needs the extra `browser`."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome")
    # None: the one that `playwright install chromium` fetched.
    program = next(filter(None, map(shutil.which, names)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        browser.close()


def first_paint(tab: Any) -> float:
    """Milliseconds until something of the page was seen."""
    asked = """new Promise(done => new PerformanceObserver(list => done(list.getEntries()[0].startTime))
      .observe({type: 'paint', buffered: true}))"""
    return float(tab.evaluate(asked))


def broken_rules(tab: Any) -> list[tuple[str, str]]:
    """(rule of axe-core, the first element that breaks it)."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [(each["id"], each["nodes"][0]["html"]) for each in found]
