"""What every options dataclass shares: stated ranges, checked when built, and JSON there and back.

An option is one field of a frozen dataclass, with its unit in the docstring line below it. Flags, help texts, TOML and
JSON all follow from the field; nothing else repeats it.
"""

import dataclasses
import math
import re
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from faceswap_pipeline.errors import OptionError

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Between:
    """The inclusive range of a number option, used as `Annotated[float, Between(0, 1)]`."""

    low: float
    high: float

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"at least {_number(self.low)}"
        return (
            f"at most {_number(self.high)}" if math.isinf(self.low) else f"{_number(self.low)} to {_number(self.high)}"
        )


@dataclass(frozen=True)
class Duration:
    """Marks a text option as a duration that `seconds` reads, or empty; used as `Annotated[str, Duration()]`."""


def flag(name: str) -> str:
    """The command-line spelling of a field name: `min_face` becomes `--min-face`, `continue_` becomes `--continue`."""
    return "--" + name.rstrip("_").replace("_", "-")


def seconds(text: str) -> float:
    """Seconds from a duration such as `90s`, `20m`, `1.5h` or `2d`; a bare number counts seconds.

    Raises OptionError when the text is no duration.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd]?)\s*", text)
    if match is None:
        raise OptionError(f"'{text}' is no duration: write a number and a unit, such as 90s, 20m, 11h or 2d")
    return float(match[1]) * _SECONDS[match[2] or "s"]


@dataclass(frozen=True)
class Options:
    """Base of the options of a stage. Building one checks every field that states a range or a choice."""

    def __post_init__(self) -> None:
        hints = typing.get_type_hints(type(self), include_extras=True)
        for field in dataclasses.fields(self):
            _check(field.name, getattr(self, field.name), hints[field.name])

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The options that `to_json` wrote. Unknown names raise OptionError."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise OptionError(f"unknown option {', '.join(unknown)}: expected one of {', '.join(sorted(known))}")
        return cls(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})

    def differences(self, other: Self) -> list[str]:
        """One line `--flag: ours, theirs` for every field in which `other` differs."""
        ours, theirs = self.to_json(), other.to_json()
        return [f"{flag(name)}: {ours[name]}, was {theirs[name]}" for name in ours if ours[name] != theirs[name]]


def _check_duration(name: str, text: str) -> None:
    try:
        seconds(text)
    except OptionError as error:
        raise OptionError(f"{flag(name)}: {error}") from error


def _number(value: float) -> str:
    """Without an exponent: 100000000, not 1e+08."""
    return str(int(value)) if value == int(value) else f"{value:g}"


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | str | bool) or value is None else str(value)


def _check(name: str, value: Any, hint: Any) -> None:
    """Raise OptionError when `value` breaks the range or choice that the field's annotation states."""
    if typing.get_origin(hint) is Annotated:
        for extra in hint.__metadata__:
            if isinstance(extra, Between) and value is not None and not extra.low <= value <= extra.high:
                raise OptionError(f"{flag(name)} is {value}: expected {extra}")
            if isinstance(extra, Duration) and value:
                _check_duration(name, value)
        hint = hint.__origin__
    if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
        raise OptionError(f"{flag(name)} is '{value}': expected one of {', '.join(map(str, typing.get_args(hint)))}")
