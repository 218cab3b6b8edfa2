"""One face in one frame as a record, and its line of JSON; what else the dataset folder lists line by line.

In: values as the stages know them, or lines of faces.jsonl. Out: frozen records that are checked, or DatasetErrors.
"""

import json
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.errors import DatasetError
from faceswap_pipeline.video.info import VideoInfo

ARRAY_SHAPES = {"box": (4,), "landmarks_raw": (5, 2), "landmarks": (5, 2), "matrix": (2, 3)}
_TOGETHER = 2000
"""Lines that are parsed at once: as parsed JSON a record is four times as large as it is in the end."""
_INTEGERS = ("source", "frame", "track", "person")
_NUMBERS = ("score", "yaw", "pitch", "roll", "sharpness")
_TRUTHS = ("filled", "use_for_training")


class _Packed:
    """A field of a record that holds an array, kept as bytes: an array of its own takes twice as much, and a hundred
    thousand small ones between a film's frames leave memory in pieces.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name, self._kept = name, packed_name(name)
        self._shape, self._digits = ARRAY_SHAPES[name], None if name == "matrix" else 3

    def __get__(self, record: Any, owner: type) -> NDArray[np.float64]:
        if record is None:
            raise AttributeError(self._name)  # so the field has no default
        return np.frombuffer(getattr(record, self._kept)).reshape(self._shape)

    def __set__(self, record: Any, value: Any) -> None:
        value = np.array(value, np.float64)
        if value.shape != self._shape or not np.isfinite(value).all():
            raise ValueError(
                f"{self._name} of a face record: expected finite {self._shape}, got {value.shape}: {value}"
            )
        value = value if self._digits is None else np.round(value, self._digits)
        object.__setattr__(record, self._kept, value.tobytes())


def packed_name(name: str) -> str:
    """Where a record keeps the bytes of one of its arrays."""
    return f"_{name}"


@dataclass(frozen=True, eq=False, kw_only=True)
class FaceRecord:
    """One chosen face in one frame. Points are (x, y) px of the upright frame.

    Pixels are kept to 1/1000, angles and sharpness to 1/1000, the score to 1e-6, so that a record in memory equals the
    one read back; the matrix keeps every digit. Arrays are float64 and cannot be written to.
    """

    source: int
    """Index into the dataset's sources."""
    frame: int
    """Index of the decoded frame in its source, from 0."""
    pts: Fraction
    """The frame's time in seconds."""
    track: int
    """Number of the track, unique in the dataset."""
    person: int
    """Number of the person, 0 for the main one."""
    filled: bool
    """True where the tracker filled a gap and the detector saw nothing."""
    box: NDArray[np.float64] = _Packed()  # type: ignore[assignment]
    """(4,) x0 y0 x1 y1 px."""
    landmarks_raw: NDArray[np.float64] = _Packed()  # type: ignore[assignment]
    """(5, 2) px as detected: left eye, right eye, nose, mouth left, mouth right (the viewer's)."""
    landmarks: NDArray[np.float64] = _Packed()  # type: ignore[assignment]
    """(5, 2) px, smoothed over time; the alignment's."""
    score: float
    """The detector's, 0..1."""
    yaw: float
    """Degrees, > 0 towards the picture's right."""
    pitch: float
    """Degrees, > 0 down."""
    roll: float
    """Degrees, > 0 counter-clockwise."""
    sharpness: float
    """Of the crop, in squared grey levels (imaging.sharpness)."""
    marks: tuple[str, ...]
    """What was noticed: blurred, clipped, tiny, duplicate ..."""
    use_for_training: bool
    """False where a mark keeps the face out of training; it is still converted."""
    matrix: NDArray[np.float64] = _Packed()  # type: ignore[assignment]
    """(2, 3) frame px -> crop px."""

    __slots__ = tuple(packed_name(name) if name in ARRAY_SHAPES else name for name in __annotations__)

    def __post_init__(self) -> None:
        for name in _NUMBERS:
            value = round(float(getattr(self, name)), 6 if name == "score" else 3)
            if not np.isfinite(value):
                raise ValueError(f"{name} of a face record: expected a finite number, got {value}")
            object.__setattr__(self, name, value)
        for name in _INTEGERS:
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in _TRUTHS:
            object.__setattr__(self, name, bool(getattr(self, name)))
        if type(self.pts) is not Fraction:
            object.__setattr__(self, "pts", Fraction(self.pts))
        object.__setattr__(self, "marks", tuple(self.marks))

    @property
    def name(self) -> str:
        """The crop's and masks' file name without its suffix: `source_frame_track`, such as 0_000123_004."""
        return f"{self.source}_{self.frame:06d}_{self.track:03d}"

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; the time is written as "numerator/denominator" seconds."""
        values = {name: getattr(self, name) for name in _FIELDS}
        for name in ARRAY_SHAPES:
            values[name] = values[name].tolist()
        return values | {"pts": fraction_text(self.pts), "marks": list(self.marks)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The record that `to_json` wrote; unknown keys are ignored. Raises DatasetError that names the wrong field."""
        missing = [name for name in _FIELDS if name not in values]
        if missing:
            raise DatasetError(f"'{missing[0]}' is missing")
        for names, kinds in ((_INTEGERS, (int,)), (_NUMBERS, (int, float)), (_TRUTHS, (bool,))):
            for name in names:
                if type(values[name]) not in kinds:
                    raise DatasetError(f"'{name}' is {values[name]!r}, expected {kinds[-1].__name__}")
        if not isinstance(values["marks"], list) or not all(isinstance(mark, str) for mark in values["marks"]):
            raise DatasetError(f"'marks' is {values['marks']!r}, expected a list of words")
        try:
            for name in ARRAY_SHAPES:
                if np.asarray(values[name]).dtype.kind not in "if":
                    raise DatasetError(f"'{name}' is {values[name]}, expected numbers")
            fields_only: dict[str, Any] = {name: values[name] for name in _FIELDS}
            fields_only["pts"] = parse_fraction(values["pts"])
            return cls(**fields_only)
        except (ValueError, TypeError) as error:
            raise DatasetError(str(error)) from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FaceRecord):
            return NotImplemented
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in _FIELDS)

    def __hash__(self) -> int:
        return hash((self.source, self.frame, self.track))


_FIELDS = tuple(field.name for field in fields(FaceRecord))


@dataclass(frozen=True)
class Source:
    """One input of a dataset: a video, a folder of pictures or one picture."""

    path: str
    """As it was given; it may have moved since."""
    sha256: str
    """Of the content (video.info.file_sha256)."""
    info: VideoInfo
    start: Fraction | None = None
    """Seconds; frames before were not looked at. None: from the beginning."""
    end: Fraction | None = None
    """Seconds; frames from here on were not looked at. None: to the end."""

    def to_json(self) -> dict[str, Any]:
        """The source as JSON values."""
        times = {name: fraction_text(time) if time is not None else None for name, time in self._times()}
        return {"path": self.path, "sha256": self.sha256, "info": self.info.to_json()} | times

    def _times(self) -> list[tuple[str, Fraction | None]]:
        return [("start", self.start), ("end", self.end)]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The source that `to_json` wrote."""
        start, end = (
            parse_fraction(values[name]) if values.get(name) is not None else None for name in ("start", "end")
        )
        return cls(str(values["path"]), str(values["sha256"]), VideoInfo.from_json(values["info"]), start, end)


class FrameRow(NamedTuple):
    """One line of frames.csv: an input frame, how many faces were chosen in it, and why not more."""

    source: int
    frame: int
    pts: Fraction
    """Seconds."""
    faces: int
    reason: str
    """Empty, or: no face, low score, other person, filled by the tracker, duplicate, undecodable; and for frames that
    were not looked at: before --start, after --end, left out by --every."""


class MaskMade(NamedTuple):
    """How one mask came about."""

    how: str
    """'parser' or 'landmarks'."""
    confidence: float
    """0..1."""


def parse_records(lines: list[bytes], sources: int, where: str) -> list[FaceRecord]:
    """Records of JSON lines, checked; 100 000 in about two seconds, since arrays are built for many of them at once."""
    records: list[FaceRecord] = []
    for start in range(0, len(lines), _TOGETHER):
        part = lines[start : start + _TOGETHER]
        try:
            rows = json.loads(b"[" + b",".join(part) + b"]")
            built = _build_records(rows) if len(rows) == len(part) else None
        except (ValueError, KeyError, TypeError, AttributeError, DatasetError):
            built = None
        records += _parse_slowly(part, where, start + 1) if built is None else built
    seen: set[tuple[int, int, int]] = set()
    for number, record in enumerate(records, 1):
        key = (record.source, record.frame, record.track)
        if key in seen or not 0 <= record.source < sources:
            what = "appears twice" if key in seen else f"is of source {record.source}, of {sources}"
            raise DatasetError(f"{where}, line {number}: face {record.name} {what}: remove the line, or --redo")
        seen.add(key)
    return records


def _parse_slowly(lines: list[bytes], where: str, first: int) -> list[FaceRecord]:
    """The same one by one, to say which line is wrong and why; `first` is the number of the first of them."""
    records = []
    for number, line in enumerate(lines, first):
        try:
            values = json.loads(line)
            if not isinstance(values, dict):
                raise DatasetError("it is no JSON object")
            records.append(FaceRecord.from_json(values))
        except (ValueError, DatasetError) as error:
            raise DatasetError(f"{where}, line {number} is damaged ({error}): remove the line, or --redo") from error
    return records


def _build_records(rows: list[dict[str, Any]]) -> list[FaceRecord] | None:
    """Records of parsed lines without looking at each array; None when any value is not what it should be."""
    columns: dict[str, list[Any]] = {name: [row[name] for row in rows] for name in _FIELDS}
    for names, kinds in ((_INTEGERS, {int}), (_NUMBERS, {int, float}), (_TRUTHS, {bool}), (("marks",), {list})):
        if any(not set(map(type, columns[name])) <= kinds for name in names):
            return None
    if set(map(type, (mark for marks in columns["marks"] for mark in marks))) - {str}:
        return None
    for name, shape in ARRAY_SHAPES.items():
        block = np.array(columns[name]).reshape(-1, *shape) if not rows else np.array(columns[name])
        if block.shape != (len(rows), *shape) or block.dtype.kind not in "fi" or not np.isfinite(block).all():
            return None
        block = block.astype(np.float64)
        block = block if name == "matrix" else np.round(block, 3)
        columns[name] = [row.tobytes() for row in block]
    numbers = np.array([columns[name] for name in _NUMBERS], np.float64)
    if not np.isfinite(numbers).all():
        return None
    for name, values in zip(_NUMBERS, numbers, strict=True):
        columns[name] = np.round(values, 6 if name == "score" else 3).tolist()
    times = {text: parse_fraction(text) for text in set(columns["pts"])}
    columns["pts"] = [times[text] for text in columns["pts"]]
    columns["marks"] = [tuple(marks) for marks in columns["marks"]]
    records = [object.__new__(FaceRecord) for _ in rows]
    for name in _FIELDS:
        kept = packed_name(name) if name in ARRAY_SHAPES else name
        for record, value in zip(records, columns[name], strict=True):
            object.__setattr__(record, kept, value)  # past the guard of a frozen class
    return records


def parse_fraction(text: str) -> Fraction:
    """The fraction of a text such as '1001/30000' or '25'. Raises DatasetError."""
    try:
        above, _, below = text.partition("/")
        return Fraction(int(above), int(below or 1))
    except (ValueError, AttributeError, ZeroDivisionError) as error:
        raise DatasetError(f"{text!r} is no fraction: expected a text such as '1001/30000'") from error


def fraction_text(value: Fraction) -> str:
    """A fraction as 'numerator/denominator'."""
    return f"{value.numerator}/{value.denominator}"
