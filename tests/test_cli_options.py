"""Flags, help and error lines follow from an options dataclass alone."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from cyclopts import App, CycloptsError

from faceswap_pipeline.cli_options import CommonOptions, field_docstrings, read_config, usage_line, with_option_flags
from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.options import Between, Options


@dataclass(frozen=True)
class BaseOptions(Options):
    seed: int = 0
    """Where chance
    begins."""


@dataclass(frozen=True)
class SampleOptions(BaseOptions):
    min_face: Annotated[float, Between(0, 1)] = 0.5
    """Smallest face, as a share."""
    steps: Annotated[int | None, Between(1, float("inf"))] = None
    """Stop after so many."""
    method: Literal["fast", "slow"] = "fast"
    """How."""
    persons: tuple[int, ...] = ()
    """Whom."""
    kinds: tuple[str, ...] = ("face", "eyes")
    """Which."""
    report: bool = True
    """Write a report."""


def run(*tokens: str) -> dict[str, Any]:
    """What the verb `work` receives for a command line."""
    app, got = App(name="swap", result_action="return_value"), {}

    @app.command
    @with_option_flags
    def work(*inputs: Path, out: Path | None = None, options: SampleOptions, common: CommonOptions) -> None:
        got.update(inputs=inputs, out=out, options=options)

    settings = read_config(app, tokens)
    if settings is not None:
        app.config = (settings,)
    verb, bound, _ = app.parse_args(tokens, exit_on_error=False, print_error=False)
    verb(*bound.args, **bound.kwargs)
    return got


def line_of_error(*tokens: str) -> str:
    """The one line a wrong command line is answered with."""
    with pytest.raises((CycloptsError, OptionError)) as caught:
        run(*tokens)
    line = usage_line(caught.value) if isinstance(caught.value, CycloptsError) else str(caught.value)
    assert "\n" not in line
    return line


def test_every_kind_of_field_becomes_a_flag() -> None:
    got = run(
        *"work a.mp4 b.mp4 --min-face 0.1 --steps 7 --method slow --persons 1 --persons 2 --no-report --seed 3".split()
    )
    assert got["inputs"] == (Path("a.mp4"), Path("b.mp4"))
    assert got["options"] == SampleOptions(3, 0.1, 7, "slow", (1, 2), report=False)


def test_defaults_are_those_of_the_dataclass() -> None:
    assert run("work", "a.mp4")["options"] == SampleOptions()


@pytest.mark.parametrize(
    ("tokens", "parts"),
    [
        ("work --min-face 2", ["--min-face", "2", "0 to 1"]),
        ("work --min-face wide", ["--min-face", "'wide'", "number from 0 to 1"]),
        ("work --steps 0", ["--steps", "0", "at least 1"]),
        ("work --steps 2.5", ["--steps", "'2.5'", "whole number", "at least 1"]),
        ("work --method quick", ["--method", "'quick'", "fast, slow"]),
        ("work --metod fast", ["--metod", "--method", "swap work --help"]),
        ("work --min-face", ["--min-face"]),
        ("wrok", ["wrok", "work"]),
    ],
)
def test_a_wrong_line_is_answered_with_option_value_and_what_was_expected(tokens: str, parts: list[str]) -> None:
    line = line_of_error(*tokens.split())
    assert all(part in line for part in parts), line


def test_help_shows_text_range_choices_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    app = App(name="swap")

    @app.command
    @with_option_flags
    def work(*, options: SampleOptions) -> None: ...

    app(["work", "--help"], result_action="return_value")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for part in (
        "Smallest face, as a share. [range: 0 to 1] [default: 0.5]",
        "[choices: fast, slow]",
        "[range: at least 1]",
    ):
        assert part in text
    assert "Whom. [several: repeat the flag]" in text
    assert "Which. [several: repeat the flag] [default: face, eyes]" in text
    assert "Where chance begins." in text
    assert "--no-report" in text
    assert "--empty-persons" not in text


def test_docstrings_of_base_classes_count() -> None:
    assert field_docstrings(SampleOptions)["seed"] == "Where chance begins."
    assert len(field_docstrings(SampleOptions)) == 7


def test_config_file_gives_values_and_flags_win(tmp_path: Path) -> None:
    path = tmp_path / "swap.toml"
    path.write_text('[work]\nmin-face = 0.25\nmethod = "slow"\npersons = [4, 5]\nout = "there"\nreport = false\n')
    got = run("work", "a.mp4", "--config", str(path), "--method", "fast")
    assert got["options"] == SampleOptions(min_face=0.25, method="fast", persons=(4, 5), report=False)
    assert got["out"] == Path("there")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[work]\nmin-fase = 0.25\n", "min-fase"),
        ("[work]\nmin-face = 3\n", "0 to 1"),
        ('[work]\nmin-face = "wide"\n', "--min-face is 'wide'"),
        ("[wrok]\nmin-face = 0.2\n", "'wrok' is no verb"),
        ("work", "no TOML"),
    ],
)
def test_a_wrong_config_file_is_refused(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "swap.toml"
    path.write_text(text)
    assert part in line_of_error("work", "a.mp4", f"--config={path}")


def test_a_missing_config_file_is_named() -> None:
    assert "nowhere.toml" in line_of_error("work", "--config", "nowhere.toml")
