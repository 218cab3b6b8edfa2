"""Progress without a terminal: whole lines, at most one per interval, and what they say is true."""

import io

import pytest

from faceswap_pipeline import cli_progress
from faceswap_pipeline.cli_progress import Pace, PlainProgress, end_line, make_progress, progress_line, time_text


def test_lines_come_at_the_interval_and_at_the_end() -> None:
    out, err = io.StringIO(), io.StringIO()
    progress = PlainProgress(out, err, interval=3600)
    with progress.phase("detecting", 500, "frames") as advance:
        for _ in range(500):
            advance(1)
    assert out.getvalue() == "detecting: 500 frames in 0 s\n"


def test_every_call_prints_when_the_interval_is_nothing() -> None:
    out = io.StringIO()
    with PlainProgress(out, out, interval=0).phase("detecting", 4, "frames") as advance:
        advance(1)
        advance(0)
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("detecting: 1 of 4 frames (25 %)") for line in lines[:2])


def test_no_carriage_returns_and_warnings_go_elsewhere() -> None:
    out, err = io.StringIO(), io.StringIO()
    progress = PlainProgress(out, err)
    progress.note("found 3 people")
    progress.warn("the file ends early")
    assert out.getvalue() == "found 3 people\n"
    assert err.getvalue() == "warning: the file ends early\n"


def test_an_error_in_a_phase_passes_through() -> None:
    with pytest.raises(ValueError, match="broken"), PlainProgress(io.StringIO()).phase("x", None, "frames"):
        raise ValueError("broken")


def test_plain_lines_where_output_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(make_progress(), PlainProgress)


def test_quiet_says_warnings_only(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(quiet=True)
    progress.note("found 3 people")
    with progress.phase("reading", 3, "frames") as advance:
        advance(3)
    progress.warn("the file ends early")
    assert capsys.readouterr() == ("", "warning: the file ends early\n")


def test_line_with_and_without_a_total() -> None:
    assert (
        progress_line("reading", 120, 480, "frames", 30) == "reading: 120 of 480 frames (25 %), 30 frames/s, 12 s left"
    )
    assert progress_line("reading", 120, None, "frames", 30) == "reading: 120 frames, 30 frames/s"
    assert progress_line("reading", 0, 480, "frames", 0) == "reading: 0 of 480 frames (0 %)"
    assert end_line("reading", 120, "frames", 4) == "reading: 120 frames in 4 s, 30 frames/s"
    assert end_line("reading", 120, "frames", 0.2) == "reading: 120 frames in 0 s"


def test_of_a_phase_in_seconds_the_time_is_said() -> None:
    assert (
        progress_line("training", 151.7, 360, "s", 1.01) == "training: 2 min 32 s of 6 min 00 s (42 %), 3 min 26 s left"
    )
    assert progress_line("training", 23, 1, "s", 0).endswith("(100 %)")
    assert end_line("training", 359.4, "s", 359.6) == "training: 6 min 00 s"


def test_what_comes_before_the_first_advance_is_not_taken_for_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(cli_progress.time, "monotonic", lambda: clock[0])
    pace = Pace()
    clock[0] += 60  # compiling
    pace.add(1)
    assert pace.speed == 0
    clock[0] += 2
    pace.add(20)
    assert (pace.done, pace.speed) == (21, 10)


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.4, "8 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (4800, "1 h 20 min"), (-1, "0 s")]
)
def test_times_in_words(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
