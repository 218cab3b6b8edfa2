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
        pace = Pace()
        last = pace.begin

        def advance(amount: float) -> None:
            nonlocal last
            pace.add(amount)
            if pace.now - last >= self._interval:
                last = pace.now
                print(progress_line(name, pace.done, total, unit, pace.speed), file=self._out, flush=True)

        yield advance
        print(end_line(name, pace.done, unit, time.monotonic() - pace.begin), file=self._out, flush=True)

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
        pace = Pace()
        with Bars(*columns, console=self._console, transient=True, refresh_per_second=4) as bars:
            task = bars.add_task(name, total=total, speed="")

            def advance(amount: float) -> None:
                pace.add(amount)
                bars.update(task, advance=amount, speed=_pace_text(pace.speed, unit).lstrip(", "))

            yield advance
        self.note(end_line(name, pace.done, unit, time.monotonic() - pace.begin))

    def note(self, text: str) -> None:
        """One line above the bar."""
        self._console.print(text, markup=False)

    def warn(self, text: str) -> None:
        """One line on standard error; while a bar is shown, above it."""
        print(f"warning: {text}", file=sys.stderr)


class Pace:
    """How much of a phase is done, and how fast it goes.

    The speed counts from the first advance on: before it networks are compiled, which says nothing of what is left.
    """

    def __init__(self) -> None:
        self.begin = self.now = time.monotonic()
        self.done = 0.0
        self._first: tuple[float, float] | None = None

    def add(self, amount: float) -> None:
        """So much more is done now."""
        self.now = time.monotonic()
        self.done += amount
        if self._first is None and amount > 0:
            self._first = (self.now, self.done)

    @property
    def speed(self) -> float:
        """Units a second; 0 while that is not known."""
        began, done = self._first or (self.now, self.done)
        return (self.done - done) / (self.now - began) if self.now > began else 0.0


def progress_line(name: str, done: float, total: float | None, unit: str, speed: float) -> str:
    """`detecting: 120 of 500 frames (24 %), 31.2 frames/s, 12 s left`; a speed of 0 is not known yet.

    Of a phase that is measured in seconds, how much of the time is over.
    """
    pace = _pace_text(speed, unit)
    if not total:
        return f"{name}: {_amount(done, unit)}{pace}"
    done = min(done, total)  # the last step of a time limit may outlast it
    left = f", {time_text((total - done) / speed)} left" if speed > 0 else ""
    so_far = time_text(done) if unit == "s" else f"{done:g}"
    return f"{name}: {so_far} of {_amount(total, unit)} ({100 * done / total:.0f} %){pace}{left}"


def end_line(name: str, done: float, unit: str, elapsed: float) -> str:
    """`detecting: 500 frames in 16 s, 31.2 frames/s`."""
    if unit == "s":
        return f"{name}: {time_text(elapsed)}"
    pace = _pace_text(done / elapsed, unit) if elapsed >= 1 else ""
    return f"{name}: {_amount(done, unit)} in {time_text(elapsed)}{pace}"


def _amount(number: float, unit: str) -> str:
    return time_text(number) if unit == "s" else f"{number:g} {unit}"


def _pace_text(speed: float, unit: str) -> str:
    return f", {speed:.3g} {unit}/s" if speed > 0 and unit != "s" else ""


def time_text(seconds: float) -> str:
    """`8 s`, `2 min 05 s` or `1 h 20 min`."""
    whole = round(max(seconds, 0.0))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
