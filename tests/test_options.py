"""Options: ranges and choices hold, and JSON there and back keeps every field."""

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest

from faceswap_pipeline.errors import OptionError
from faceswap_pipeline.options import Between, Options, flag, seconds


@dataclass(frozen=True)
class SampleOptions(Options):
    share: Annotated[float, Between(0, 1)] = 0.5
    """A share."""
    count: Annotated[int | None, Between(1, 9)] = None
    """A count."""
    method: Literal["fast", "slow"] = "fast"
    """How."""
    numbers: tuple[int, ...] = ()
    """Several."""


@pytest.mark.parametrize("share", [0, 1, 0.25])
def test_values_in_range_pass_with_both_ends_included(share: float) -> None:
    assert SampleOptions(share=share).share == share


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan, math.inf])
def test_out_of_range_names_option_value_and_range(share: float) -> None:
    with pytest.raises(OptionError, match=rf"--share is {share}: expected 0 to 1"):
        SampleOptions(share=share)


def test_range_of_an_optional_number_is_checked_only_when_given() -> None:
    assert SampleOptions(count=None).count is None
    with pytest.raises(OptionError, match="--count is 10: expected 1 to 9"):
        SampleOptions(count=10)


def test_choice_error_lists_the_choices() -> None:
    with pytest.raises(OptionError, match="--method is 'quick': expected one of fast, slow"):
        SampleOptions(method="quick")  # pyright: ignore[reportArgumentType]


def test_json_there_and_back_gives_equal_options() -> None:
    options = SampleOptions(share=0.1, count=3, method="slow", numbers=(1, 2))
    assert SampleOptions.from_json(options.to_json()) == options


def test_json_with_an_unknown_name_is_refused() -> None:
    with pytest.raises(OptionError, match="unknown option shade: expected one of count, method, numbers, share"):
        SampleOptions.from_json({"shade": 1})


def test_differences_name_the_flag_and_both_values() -> None:
    assert SampleOptions(share=0.1).differences(SampleOptions()) == ["--share: 0.1, was 0.5"]
    assert SampleOptions().differences(SampleOptions()) == []


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("20m", 1200), ("1.5h", 5400), ("2d", 172800), ("7", 7)])
def test_durations(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-5s", "5 weeks", "1:30"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="is no duration"):
        seconds(text)


def test_flag_spelling() -> None:
    assert flag("min_face") == "--min-face"
    assert flag("continue_") == "--continue"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0, 1, "0 to 1"), (0.01, 1e8, "0.01 to 100000000"), (1, math.inf, "at least 1"), (-math.inf, 9, "at most 9")],
)
def test_ranges_in_words(low: float, high: float, text: str) -> None:
    assert str(Between(low, high)) == text
