"""The report in a real browser: nothing to complain about, nothing asked of a network, readable on a phone."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser, find_browser

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium here: `apt-get install chromium` on Debian and Ubuntu"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def test_the_browser_would_tell(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text('<img src="http://127.0.0.1:9/x.png"><script>throw Error("broken")</script>')
    page = browser.open(path)
    assert page.requests == ["http://127.0.0.1:9/x.png"]
    assert any("broken" in problem or "Uncaught" in problem for problem in page.problems)


@pytest.mark.parametrize("width", [375, 1000])
def test_report_loads_nothing_and_logs_nothing(browser: Browser, report, width: int) -> None:
    page = browser.open(report.page, width)
    assert page.problems == [] and page.requests == []
    assert browser.evaluate("document.title") == "How good is video_a_swapped.mp4"
    loaded = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    assert browser.evaluate("document.images.length") > 5 and browser.evaluate(loaded)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width, "no sideways scrolling of the whole page"


def test_report_prints(browser: Browser, report) -> None:
    browser.open(report.page)
    assert base64.b64decode(browser.print_pdf()).startswith(b"%PDF-")
