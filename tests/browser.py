"""A headless Chromium, driven through its DevTools pipe: what a page logs, asks of the network and measures.

    with Browser() as browser:
        page = browser.open(path, width=375)
        assert page.problems == [] and page.requests == []

No package is needed, only the program; `find_browser` says where it is.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome")
_PATIENCE = 60.0
"""Seconds to wait for an answer."""


def find_browser() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Page:
    """What was seen of a page."""

    problems: list[str] = field(default_factory=list)
    """Errors and warnings of the console, exceptions, violations of the page's own policy."""
    requests: list[str] = field(default_factory=list)
    """Addresses that were asked for, but for the page's own and those that hold their data themselves."""


class Browser:
    """One browser process with one tab."""

    def __init__(self) -> None:
        self._number = 0
        self._events: list[dict[str, Any]] = []
        self._left = b""

    def __enter__(self) -> Self:
        program = find_browser()
        assert program is not None, "no browser"
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"]
        line = [program, *flags, f"--user-data-dir={self._profile.name}", "about:blank"]
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        # The browser reads commands from 3 and answers on 4; what is moved there must not lie there itself.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_read, to_write)]
        quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
        moves = [(os.POSIX_SPAWN_DUP2, end, number) for end, number in zip(ends, (3, 4), strict=True)]
        self._process = os.posix_spawn(program, line, os.environ, file_actions=[*quiet, *moves])
        for end in (to_read, to_write, *ends):
            os.close(end)
        targets = self._ask("Target.getTargets")["targetInfos"]
        tab = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable", self._session)
        return self

    def __exit__(self, *_: object) -> None:
        # Asked kindly it ends its helpers too.
        with contextlib.suppress(AssertionError, OSError):
            self._ask("Browser.close")
        end = time.monotonic() + 10
        while os.waitpid(self._process, os.WNOHANG)[0] == 0:
            time.sleep(0.05)
            if time.monotonic() > end:
                os.kill(self._process, signal.SIGKILL)
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    def open(self, path: Path, width: int = 1000) -> Page:
        """Show a file in a window of that width and wait until it is loaded."""
        screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
        self._ask("Emulation.setDeviceMetricsOverride", self._session, **screen)
        self._events.clear()
        address = path.resolve().as_uri()
        self._ask("Page.navigate", self._session, url=address)
        self._wait_for("Page.loadEventFired")
        self.evaluate("1")
        page = Page()
        for event in self._events:
            values = event["params"]
            if event["method"] == "Log.entryAdded" and values["entry"]["level"] in ("error", "warning"):
                page.problems.append(values["entry"]["text"])
            elif event["method"] == "Runtime.exceptionThrown":
                page.problems.append(values["exceptionDetails"]["text"])
            elif event["method"] == "Runtime.consoleAPICalled":
                page.problems.append(str(values["args"]))
            elif event["method"] == "Network.requestWillBeSent":
                url = values["request"]["url"]
                if url != address and not url.startswith("data:"):
                    page.requests.append(url)
        return page

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self._ask("Runtime.evaluate", self._session, expression=expression, returnByValue=True)
        return found["result"].get("value")

    def print_pdf(self) -> bytes:
        """The page as it prints, base64 of a PDF."""
        return self._ask("Page.printToPDF", self._session)["data"].encode()

    def _ask(self, method: str, session: str = "", **values: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": values} | ({"sessionId": session} if session else {})
        os.write(self._to, json.dumps(message).encode() + b"\0")
        for answer in self._messages():
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            if "method" in answer:
                self._events.append(answer)
        raise AssertionError(f"no answer to {method}")

    def _wait_for(self, method: str) -> None:
        if any(event["method"] == method for event in self._events):
            return
        for message in self._messages():
            if "method" in message:
                self._events.append(message)
                if message["method"] == method:
                    return

    def _messages(self) -> Iterator[dict[str, Any]]:
        """Messages as they come, for as long as patience lasts."""
        end = time.monotonic() + _PATIENCE
        while True:
            while b"\0" in self._left:
                message, _, self._left = self._left.partition(b"\0")
                yield json.loads(message)
            rest = end - time.monotonic()
            if rest <= 0 or not select.select([self._from], [], [], rest)[0]:
                raise AssertionError("the browser does not answer")
            data = os.read(self._from, 1 << 16)
            assert data, "the browser has gone"
            self._left += data
