"""How progress looks: a bar on a terminal, a line every ten seconds elsewhere; imported by `cli.py` only.

In: phases, notes and warnings from the stages. Out: text on standard output, warnings on standard error.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from faceswap_pipeline.progress import Advance, Progress

_SECONDS_BETWEEN_LINES = 10.0


def make_progress(quiet: bool = False) -> Progress:
    """The reporter that suits standard output: drawn on a terminal, plain lines in a file, a pipe or a notebook;
    `quiet`: warnings only.
    """
    if quiet:
        return QuietProgress()
    return RichProgress() if sys.stdout.isatty() else PlainProgress()


class QuietProgress(Progress):
    """Warnings only, on standard error."""

    def warn(self, text: str) -> None:
        """One line on standard error."""
        print(f"warning: {text}", file=sys.stderr, flush=True)


class PlainProgress(Progress):
    """Whole lines only, never a carriage return; a phase that is over sooner than the interval says one line."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, interval: float = _SECONDS_BETWEEN_LINES):
        """Lines go to `out`, warnings to `err` (default: the standard ones), `interval` seconds apart."""
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._interval = interval

    @contextmanager
    def phase(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """Prints how far the phase is every interval, and once when it is over."""
        begin = last = time.monotonic()
        done = 0.0

        def advance(amount: float) -> None:
            nonlocal done, last
            done += amount
            now = time.monotonic()
            if now - last >= self._interval:
                last = now
                print(progress_line(name, done, total, unit, now - begin), file=self._out, flush=True)

        yield advance
        print(progress_line(name, done, None, unit, time.monotonic() - begin), file=self._out, flush=True)

    def note(self, text: str) -> None:
        """One line on standard output."""
        print(text, file=self._out, flush=True)

    def warn(self, text: str) -> None:
        """One line on standard error."""
        print(f"warning: {text}", file=self._err, flush=True)


class RichProgress(Progress):
    """A bar with share, speed and time left, which gives way to notes and warnings."""

    def __init__(self) -> None:
        """Draws on standard output."""
        from rich.console import Console

        self._console = Console(highlight=False, soft_wrap=True)

    @contextmanager
    def phase(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """A bar while the phase lasts; one line remains."""
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(compact=True),
        ]
        begin = time.monotonic()
        done = 0.0
        with Bars(*columns, console=self._console, transient=True, refresh_per_second=4) as bars:
            task = bars.add_task(name, total=total, speed="")

            def advance(amount: float) -> None:
                nonlocal done
                done += amount
                speed = done / max(time.monotonic() - begin, 1e-3)
                bars.update(task, advance=amount, speed=f"{speed:.3g} {unit}/s")

            yield advance
        self.note(progress_line(name, done, None, unit, time.monotonic() - begin))

    def note(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line on standard error; while a bar is shown, above it."""
        print(f"warning: {text}", file=sys.stderr)


def progress_line(name: str, done: float, total: float | None, unit: str, elapsed: float) -> str:
    """`detecting: 120 of 500 frames (24 %), 31.2 frames/s, 12 s left`; without a total: how much and how fast."""
    speed = done / elapsed if elapsed > 0 else 0.0
    pace = f", {speed:.3g} {unit}/s" if elapsed >= 1 else ""
    if not total:
        return f"{name}: {done:g} {unit} in {time_text(elapsed)}{pace}"
    left = f", {time_text((total - done) / speed)} left" if speed > 0 else ""
    return f"{name}: {done:g} of {total:g} {unit} ({100 * done / total:.0f} %){pace}{left}"


def time_text(seconds: float) -> str:
    """`8 s`, `2 min 05 s` or `1 h 20 min`."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
