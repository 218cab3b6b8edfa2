"""How long work tells what it is doing: stages talk to a `Progress`; only the command line decides how it looks.

The base class is silent, so that every stage can be called from a program without a terminal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[float], None]
"""Call with how much more is done; `advance(0)` only refreshes."""


class Progress:
    """The silent reporter; `cli.py` passes one that draws."""

    @contextmanager
    def phase(self, name: str, total: float | None, unit: str) -> Iterator[Advance]:
        """One stretch of work: `with progress.phase("detecting", 500, "frames") as advance: advance(1)`.

        `total` is None when the length is not known.
        """
        yield lambda amount: None

    def note(self, text: str) -> None:
        """One plain line that the user should see (what was found, chosen, skipped)."""

    def warn(self, text: str) -> None:
        """One line about something that went wrong but was survived."""
