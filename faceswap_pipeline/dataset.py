"""The dataset folder, the contract between extraction and everything after it.

In: faces found in videos and pictures. Out: records, crops and masks in plain files that survive kills and hand edits.
docs/formats.md describes the files. `FaceDataset` is the only code that builds a path inside the folder.
"""

import csv
import gc
import hashlib
import io
import json
import os
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import __version__
from faceswap_pipeline.errors import DatasetError
from faceswap_pipeline.storage import (
    FolderLock,
    LineFile,
    atomic_write_bytes,
    atomic_write_json,
    folder_bytes,
    make_folder,
    open_aside,
    remove_folder,
    storage_errors,
    sync_file,
    sync_folder,
    whole_lines,
)
from faceswap_pipeline.video.info import VideoInfo

FORMAT = "faceswap-dataset"
VERSION = 1

_SHAPES = {"box": (4,), "landmarks_raw": (5, 2), "landmarks": (5, 2), "matrix": (2, 3)}
_INTEGERS = ("source", "frame", "track", "person")
_NUMBERS = ("score", "yaw", "pitch", "roll", "sharpness")
_TRUTHS = ("filled", "use_for_training")
_SYNC_EVERY = 256


@dataclass(frozen=True, eq=False, slots=True)
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
    box: NDArray[np.float64]
    """(4,) x0 y0 x1 y1 px."""
    landmarks_raw: NDArray[np.float64]
    """(5, 2) px as detected: left eye, right eye, nose, mouth left, mouth right (the viewer's)."""
    landmarks: NDArray[np.float64]
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
    matrix: NDArray[np.float64]
    """(2, 3) frame px -> crop px."""

    def __post_init__(self) -> None:
        for name, shape in _SHAPES.items():
            value = np.array(getattr(self, name), np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise ValueError(f"{name} of a face record: expected finite {shape}, got {value.shape}: {value}")
            value = value if name == "matrix" else np.round(value, 3)
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        for name in _NUMBERS:
            value = round(float(getattr(self, name)), 6 if name == "score" else 3)
            if not np.isfinite(value):
                raise ValueError(f"{name} of a face record: expected a finite number, got {value}")
            object.__setattr__(self, name, value)
        for name in _INTEGERS:
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in _TRUTHS:
            object.__setattr__(self, name, bool(getattr(self, name)))
        object.__setattr__(self, "pts", Fraction(self.pts))
        object.__setattr__(self, "marks", tuple(self.marks))

    @property
    def name(self) -> str:
        """The crop's and masks' file name without its suffix: `source_frame_track`, such as 0_000123_004."""
        return f"{self.source}_{self.frame:06d}_{self.track:03d}"

    def to_json(self) -> dict[str, Any]:
        """The record as JSON values; the time is written as "numerator/denominator" seconds."""
        values = {name: getattr(self, name) for name in _FIELDS}
        for name in _SHAPES:
            values[name] = values[name].tolist()
        return values | {"pts": _fraction_text(self.pts), "marks": list(self.marks)}

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
            return cls(**{name: values[name] for name in _FIELDS} | {"pts": _fraction(values["pts"])})
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
        times = {name: _fraction_text(time) if time is not None else None for name, time in self._times()}
        return {"path": self.path, "sha256": self.sha256, "info": self.info.to_json()} | times

    def _times(self) -> list[tuple[str, Fraction | None]]:
        return [("start", self.start), ("end", self.end)]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The source that `to_json` wrote."""
        start, end = (_fraction(values[name]) if values.get(name) is not None else None for name in ("start", "end"))
        return cls(str(values["path"]), str(values["sha256"]), VideoInfo.from_json(values["info"]), start, end)


class FrameRow(NamedTuple):
    """One line of frames.csv: an input frame, how many faces were chosen in it, and why not more."""

    source: int
    frame: int
    pts: Fraction
    """Seconds."""
    faces: int
    reason: str
    """Empty, or: no face, low score, other person, filled by the tracker, duplicate, undecodable."""


class MaskMade(NamedTuple):
    """How one mask came about."""

    how: str
    """'parser' or 'landmarks'."""
    confidence: float
    """0..1."""


class FaceDataset:
    """A dataset folder, or its `.zip`, opened.

    Reading needs no lock. Writing needs `create` or `open(path, write=True)`, which take the folder's lock until
    `close()` (or the end of a `with` block); after that the object still reads.

        with FaceDataset.create(Path("faces_a"), sources, 256, "mean-face-1", 1.56, {"extract": options}) as dataset:
            dataset.append(record, crop)
            dataset.finish(frame_rows)

    path: the folder or zip file; sources; crop_size in px; template (name of the alignment); coverage (crop side over
    face height); options (dict by stage); state 'extracting' or 'done'; records in the order they were written;
    warnings: what was odd but survived when opening.
    """

    def __init__(self, path: Path, files: "_Files", header: dict[str, Any]) -> None:
        """Use `create` or `open`."""
        self.path = path
        self._files = files
        self._header = header
        self._lock: FolderLock | None = None
        self._lines: LineFile | None = None
        self._mask_lines: dict[str, LineFile] = {}
        self._unsynced: list[str] = []
        self._made: dict[str, dict[str, MaskMade]] = {}
        self._read_header()
        self.records: list[FaceRecord] = []
        self.warnings: list[str] = []
        self._crops: set[str] = set()

    # -- opening and closing ------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: Path,
        sources: Sequence[Source],
        crop_size: int,
        template: str,
        coverage: float,
        options: dict[str, Any],
    ) -> Self:
        """A new, empty dataset, open for writing, in state 'extracting'.

        Raises DatasetError when the folder holds anything already, StorageError when it cannot be written.
        """
        path = Path(path)
        if path.exists() and (not path.is_dir() or any(not _is_ours(item) for item in path.iterdir())):
            raise DatasetError(f"{path} exists already: choose another name with --out")
        header = {
            "format": FORMAT,
            "version": VERSION,
            "software": __version__,
            "state": "extracting",
            "sources": [source.to_json() for source in sources],
            "crop_size": crop_size,
            "template": template,
            "coverage": coverage,
            "options": options,
        }
        make_folder(path)
        dataset = cls(path, _Files(path), header)
        dataset._lock = FolderLock(path)
        make_folder(path / "crops")
        dataset._write_header()
        return dataset

    @classmethod
    def open(cls, path: Path, *, write: bool = False) -> Self:
        """A dataset folder or its zip (also found as `faces_a.zip` when `faces_a` is asked for and not there).

        `write=True` takes the lock and makes the writing methods legal. Raises DatasetError when there is none, when it
        is damaged or of another version, or cannot be written; StorageError when another process writes it.
        """
        path = _find(Path(path))
        if write and path.is_file():
            raise DatasetError(f"{path} is packed and can only be read: unpack it, or name the folder it came from")
        lock = FolderLock(path) if write else None
        try:
            files = _Zip(path) if path.is_file() else _Files(path)
            dataset = cls(path, files, _json_object(files.read("dataset.json"), f"{path}/dataset.json"))
            dataset._lock = lock
            with _no_collection():
                dataset._read_records()
        except BaseException:
            if lock is not None:
                lock.release()
            raise
        return dataset

    def close(self) -> None:
        """Flush what was appended to the disk and give the lock back; the object still reads. May be called again."""
        if self._lock is None:
            return
        try:
            self.sync()
        finally:
            for lines in [self._lines, *self._mask_lines.values()]:
                if lines is not None:
                    lines.close()
            self._lines, self._mask_lines = None, {}
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.records)

    def training_records(self) -> list[FaceRecord]:
        """The records that training may use: not marked out, and their crop not deleted by hand."""
        return [record for record in self.records if record.use_for_training and record.name in self._crops]

    @property
    def missing_crops(self) -> int:
        """How many records lost their crop (deleted by hand): out of training, still converted."""
        return sum(record.name not in self._crops for record in self.records)

    def has_crop(self, record: FaceRecord) -> bool:
        """Whether the record's crop was there when the dataset was opened, or was appended since."""
        return record.name in self._crops

    def crop(self, record: FaceRecord) -> NDArray[np.uint8]:
        """The record's crop, uint8 (S, S, 3) RGB. Raises DatasetError when it is missing or damaged."""
        return self._picture(f"crops/{record.name}.png", cv2.IMREAD_COLOR_RGB, (self.crop_size, self.crop_size, 3))

    def mask_kinds(self) -> list[str]:
        """The kinds of mask that are there, sorted, such as ['eyes', 'face', 'mouth']."""
        return self._files.folders("masks")

    def mask_made(self, kind: str) -> dict[str, MaskMade]:
        """How each mask of a kind was made, by record name; the names are those that have a mask."""
        if kind not in self._made:
            self._made[kind] = self._read_made(kind)
        return self._made[kind]

    def has_mask(self, record: FaceRecord, kind: str) -> bool:
        """Whether the record has a mask of this kind."""
        return record.name in self.mask_made(kind)

    def mask(self, record: FaceRecord, kind: str) -> NDArray[np.uint8]:
        """The record's mask, uint8 (S, S), 0 outside and 255 inside. Raises DatasetError when missing or damaged."""
        size = (self.crop_size, self.crop_size)
        return self._picture(f"masks/{kind}/{record.name}.png", cv2.IMREAD_GRAYSCALE, size)

    def column(self, name: str) -> NDArray[Any]:
        """One field of all records as an array (N, ...), in their order; pts as float64 seconds."""
        values = [getattr(record, name) for record in self.records]
        if name == "pts":
            values = [float(value) for value in values]
        array = np.array(values, dtype=object if name == "marks" else None)
        return array.reshape(-1, *_SHAPES[name]) if name in _SHAPES else array

    def by_frame(self, source: int) -> dict[int, list[FaceRecord]]:
        """The records of one source by frame index, in rising order; frames without a face are absent."""
        frames: dict[int, list[FaceRecord]] = {}
        for record in sorted((r for r in self.records if r.source == source), key=lambda r: (r.frame, r.track)):
            frames.setdefault(record.frame, []).append(record)
        return frames

    def frame_rows(self) -> list[FrameRow]:
        """The lines of frames.csv; empty while extracting."""
        if not self._files.exists("frames.csv"):
            return []
        rows = csv.DictReader(io.StringIO(self._files.read("frames.csv").decode(), newline=""))
        try:
            return [
                FrameRow(int(r["source"]), int(r["frame"]), _fraction(r["pts"]), int(r["faces"]), r["reason"])
                for r in rows
            ]
        except (KeyError, TypeError, ValueError, DatasetError) as error:
            raise DatasetError(f"{self.path}/frames.csv is damaged: extract again with --redo") from error

    def fingerprint(self) -> str:
        """SHA-256 over everything that training reads, but for the pixels: alignment, records, which crops are there,
        how each mask was made. Equal for a folder and its zip."""
        digest = hashlib.sha256(json.dumps([self.crop_size, self.template, self.coverage]).encode())
        for record in self.records:
            digest.update(json.dumps(record.to_json()).encode())
            digest.update(b"+" if self.has_crop(record) else b"-")
        for kind in self.mask_kinds():
            digest.update(json.dumps([kind, sorted(self.mask_made(kind).items())]).encode())
        return digest.hexdigest()

    def read_artifact(self, name: str) -> bytes:
        """The bytes of a file written by `write_artifact`. Raises DatasetError when it is not there."""
        return self._files.read(name)

    def describe(self) -> list[str]:
        """About ten lines for `swap info`: what the folder holds and what it lacks."""
        frames, used = self.frame_rows(), len(self.training_records())
        with_face = len({(record.source, record.frame) for record in self.records})
        marks = Counter(mark for record in self.records for mark in record.marks)
        masks = [f"{kind} {len(self.mask_made(kind))}" for kind in self.mask_kinds()]
        kind = "packed dataset (read only)" if self.path.is_file() else "dataset folder"
        unfinished = "extraction unfinished: run the same `swap extract` line again"
        yaw = self.column("yaw") if self.records else np.zeros(1)
        return [
            f"{self.path}: {kind}, format {VERSION}, written by {self._header['software']}",
            f"state      {'done' if self.state == 'done' else unfinished}",
            *(f"source {index}   {_source_line(source)}" for index, source in enumerate(self.sources)),
            f"frames     {len(frames) or 'not counted yet'}, {with_face} with a chosen face",
            f"faces      {len(self.records)} in {len(set(self.column('track').tolist()))} tracks, "
            f"{len(set(self.column('person').tolist()))} persons; {used} for training",
            f"pose       yaw {yaw.min():.0f} to {yaw.max():.0f} degrees",
            f"crops      {self.crop_size} px, template {self.template}, coverage {self.coverage:g}; "
            f"{self.missing_crops} deleted by hand",
            f"marks      {', '.join(f'{mark} {count}' for mark, count in marks.most_common()) or 'none'}",
            f"masks      {', '.join(masks) or 'none: run `swap masks`'}",
            f"options    {', '.join(self.options) or 'none'}; {folder_bytes(self.path) / 1e6:.1f} MB on disk",
            *(f"warning    {warning}" for warning in self.warnings),
        ]

    # -- writing ------------------------------------------------------------------------------------------------------

    def append(self, record: FaceRecord, crop: NDArray[np.uint8]) -> None:
        """Add a face: its crop, uint8 (S, S, 3) RGB, first, then its line. A kill leaves both or a crop without a line.

        Raises StorageError (nothing torn remains), DatasetError when the dataset is open for reading, ValueError for a
        crop of another size or a name that is there already.
        """
        self._need_writing()
        size = self.crop_size
        if crop.shape != (size, size, 3) or crop.dtype != np.uint8:
            raise ValueError(f"crop {record.name}: expected uint8 ({size}, {size}, 3), got {crop.dtype} {crop.shape}")
        if self.state == "done":
            raise ValueError(f"{self.path} is finished: nothing can be added")
        if record.name in self._names:
            raise ValueError(f"face {record.name} is in the dataset already")
        path = self.path / "crops" / f"{record.name}.png"
        atomic_write_bytes(path, _png(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)), sync=False)
        if self._lines is None:
            self._lines = LineFile(self.path / "faces.jsonl")
        self._lines.append(json.dumps(record.to_json()))
        self._names.add(record.name)
        self._crops.add(record.name)
        self.records.append(record)
        self._unsynced.append(f"crops/{record.name}.png")
        self._sync_sometimes()

    def write_mask(self, kind: str, record: FaceRecord, mask: NDArray[np.uint8], how: str, confidence: float) -> None:
        """Add or replace a mask, uint8 (S, S) of 0 and 255, and note that it came from 'parser' or 'landmarks'.

        Raises StorageError, DatasetError when open for reading, ValueError for a mask of another size.
        """
        self._need_writing()
        size = (self.crop_size, self.crop_size)
        if mask.shape != size or mask.dtype != np.uint8:
            raise ValueError(f"mask {record.name}: expected uint8 {size}, got {mask.dtype} {mask.shape}")
        made = self.mask_made(kind)
        folder = self.path / "masks" / _plain_name(kind)
        if kind not in self._mask_lines:
            make_folder(folder)
            self._mask_lines[kind] = LineFile(folder / "made.jsonl")
        entry = MaskMade(how, round(float(confidence), 4))
        atomic_write_bytes(folder / f"{record.name}.png", _png(mask), sync=False)
        self._mask_lines[kind].append(json.dumps({"name": record.name} | entry._asdict()))
        made[record.name] = entry
        self._unsynced.append(f"masks/{kind}/{record.name}.png")
        self._sync_sometimes()

    def rewrite_records(self, records: Iterable[FaceRecord]) -> None:
        """Replace all records at once (new marks, fewer faces). Crops and masks stay as they are.

        Raises ValueError when a record is of a face that the dataset does not hold.
        """
        self._need_writing()
        records = list(records)
        unknown = {record.name for record in records} - self._names
        if unknown or len({record.name for record in records}) < len(records):
            raise ValueError(f"unknown or repeated faces: {sorted(unknown)[:3]}")
        self.sync()
        if self._lines is not None:
            self._lines.close()
            self._lines = None
        text = "".join(json.dumps(record.to_json()) + "\n" for record in records)
        atomic_write_bytes(self.path / "faces.jsonl", text.encode())
        self.records, self._names = records, {record.name for record in records}
        if self.state == "done":
            self._header["faces"] = len(records)
            self._write_header()

    def set_options(self, stage: str, options: dict[str, Any]) -> None:
        """Record the options of a stage that wrote here."""
        self._need_writing()
        self._header["options"] = self.options | {stage: options}
        self._write_header()

    def write_artifact(self, name: str, data: bytes) -> None:
        """Write a file for people beside the data, such as people.jpg or report.html."""
        self._need_writing()
        if name in ("dataset.json", "faces.jsonl", "crops", "masks", "work"):
            raise ValueError(f"'{name}' is a part of the dataset")
        atomic_write_bytes(self.path / _plain_name(name), data)

    def work_folder(self) -> Path:
        """The folder for what a resumed extraction needs; made when missing, removed by `remove_work`."""
        self._need_writing()
        return make_folder(self.path / "work")

    def remove_work(self) -> None:
        """Remove the work folder."""
        self._need_writing()
        remove_folder(self.path / "work")

    def sync(self) -> None:
        """Flush all that was appended through to the disk, pictures before their lines. Happens by itself now and then,
        at `finish` and at `close`."""
        for name in self._unsynced:
            if (self.path / name).exists():
                sync_file(self.path / name)
        for folder in {str(PurePosixPath(name).parent) for name in self._unsynced}:
            sync_folder(self.path / folder)
        self._unsynced.clear()
        for lines in [self._lines, *self._mask_lines.values()]:
            if lines is not None:
                lines.sync()

    def finish(self, frames: Iterable[FrameRow]) -> None:
        """Write frames.csv, mark the dataset done and remove the work folder. The lock is kept until `close`."""
        self._need_writing()
        self.sync()
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(FrameRow._fields)
        writer.writerows([r.source, r.frame, _fraction_text(r.pts), r.faces, r.reason] for r in frames)
        atomic_write_bytes(self.path / "frames.csv", text.getvalue().encode())
        self._header |= {"state": "done", "faces": len(self.records)}
        self._write_header()
        self.remove_work()

    def pack(self, to: Path) -> Path:
        """Write the dataset as a zip file (stored, not compressed) that every verb reads in the folder's place.

        The same dataset gives the same bytes. Raises DatasetError while extracting or when packed already.
        """
        if self.path.is_file():
            raise DatasetError(f"{self.path} is packed already")
        if self.state != "done":
            raise DatasetError(f"{self.path} is not finished: run the same `swap extract` line again first")
        self.sync()
        names = sorted(p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())
        names = [name for name in names if not name.startswith("work/") and "/." not in f"/{name}"]
        with open_aside(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                entry = zipfile.ZipInfo(f"{self.path.resolve().name}/{name}", (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, (self.path / name).read_bytes())
        return to

    # -- inside -------------------------------------------------------------------------------------------------------

    @cached_property
    def _names(self) -> set[str]:
        return {record.name for record in self.records}

    def _need_writing(self) -> None:
        if self.path.is_file():
            raise DatasetError(f"{self.path} is packed and can only be read: unpack it first")
        if self._lock is None:
            raise DatasetError(f"{self.path} is open for reading only: open(path, write=True)")

    def _sync_sometimes(self) -> None:
        if len(self._unsynced) >= _SYNC_EVERY:
            self.sync()

    def _write_header(self) -> None:
        self._header |= {"software": __version__}
        atomic_write_json(self.path / "dataset.json", self._header)
        self._read_header()

    def _read_header(self) -> None:
        """Take the fields from the header. Raises DatasetError that says what is wrong with it."""
        header, where = self._header, f"{self.path}/dataset.json"
        if header.get("format") != FORMAT:
            raise DatasetError(f"{where} is of format {header.get('format')!r}, expected '{FORMAT}': is it a dataset?")
        if header.get("version") != VERSION:
            raise DatasetError(
                f"{self.path} has dataset version {header.get('version')}, this software reads {VERSION}: "
                "update the software, or extract again into another folder (--out)"
            )
        kinds = {"state": str, "sources": list, "crop_size": int, "template": str, "options": dict, "software": str}
        for name, kind in (kinds | {"coverage": (int, float)}).items():
            if not isinstance(header.get(name), kind):
                raise DatasetError(f"{where}: '{name}' is {header.get(name)!r}: damaged, extract again with --redo")
        try:
            self.sources = tuple(Source.from_json(source) for source in header["sources"])
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise DatasetError(f"{where}: a source is damaged ({error}): extract again with --redo") from error
        self.state: str = header["state"]
        self.crop_size: int = header["crop_size"]
        self.template: str = header["template"]
        self.coverage: float = header["coverage"]
        self.options: dict[str, Any] = header["options"]

    def _read_records(self) -> None:
        lines = whole_lines(self._files.read("faces.jsonl")) if self._files.exists("faces.jsonl") else []
        self.records = _parse_records(lines, len(self.sources), f"{self.path}/faces.jsonl")
        self._crops = self._files.pictures("crops")
        if self._lock is not None and self.state == "extracting":
            self._drop_unsynced_tail()
        promised = self._header.get("faces", len(self.records))
        if promised != len(self.records):
            self.warnings.append(f"faces.jsonl holds {len(self.records)} of {promised} faces: lines were lost")
        if self.missing_crops:
            self.warnings.append(f"{self.missing_crops} crops were deleted by hand: out of training, still converted")

    def _drop_unsynced_tail(self) -> None:
        """After a power cut a crop may be there without its bytes: take back the faces from the first such one."""
        first = max(0, len(self.records) - _SYNC_EVERY)
        for index, record in enumerate(self.records[first:], first):
            if self.has_crop(record) and not self._files.is_whole_png(f"crops/{record.name}.png"):
                kept = self.records[:index]
                text = "".join(json.dumps(record.to_json()) + "\n" for record in kept)
                atomic_write_bytes(self.path / "faces.jsonl", text.encode())
                self.records = kept
                return

    def _read_made(self, kind: str) -> dict[str, MaskMade]:
        name = f"masks/{kind}/made.jsonl"
        if not self._files.exists(name):
            return {}
        there = self._files.pictures(f"masks/{kind}")
        made: dict[str, MaskMade] = {}
        for number, line in enumerate(whole_lines(self._files.read(name)), 1):
            try:
                values = json.loads(line)
                if values["name"] in there:
                    made[values["name"]] = MaskMade(str(values["how"]), float(values["confidence"]))
            except (KeyError, TypeError, ValueError) as error:
                raise DatasetError(f"{self.path}/{name}, line {number} is damaged: run `swap masks --redo`") from error
        return made

    def _picture(self, name: str, flags: int, shape: tuple[int, ...]) -> NDArray[Any]:
        data = np.frombuffer(self._files.read(name), np.uint8)
        picture = cv2.imdecode(data, flags) if data.size else None
        if picture is None or picture.shape != shape:
            found = "no picture" if picture is None else f"{picture.shape}"
            raise DatasetError(f"{self.path}/{name} is damaged: {found}, expected {shape}; delete it to go on without")
        return picture


class _Files:
    """The files of a dataset folder, by names relative to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str) -> bytes:
        try:
            with storage_errors(self.path / name):
                return (self.path / name).read_bytes()
        except FileNotFoundError as error:
            raise DatasetError(f"{self.path / name} is missing") from error

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def pictures(self, folder: str) -> set[str]:
        """Names without suffix of the .png files in a folder."""
        names = os.listdir(self.path / folder) if (self.path / folder).is_dir() else []
        return {name[:-4] for name in names if name.endswith(".png")}

    def folders(self, folder: str) -> list[str]:
        """Sorted names of the folders in a folder."""
        inside = (self.path / folder).iterdir() if (self.path / folder).is_dir() else ()
        return sorted(item.name for item in inside if item.is_dir())

    def is_whole_png(self, name: str) -> bool:
        return self.read(name).endswith(b"IEND\xaeB`\x82")


class _Zip(_Files):
    """The same, of a packed dataset: at the top of the zip or in one folder of it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DatasetError(f"{path} is neither a dataset folder nor a whole zip of one: {error}") from error
        names = self._archive.namelist()
        roots = [name[: -len("dataset.json")] for name in names if name.endswith("dataset.json")]
        roots = [root for root in roots if root.count("/") < 2]
        if len(roots) != 1:
            raise DatasetError(f"{path} holds {len(roots)} datasets, expected one: pack it with `swap pack FOLDER`")
        self._root = roots[0]
        self._children: dict[str, list[str]] = {}
        for name in names:
            folder, _, child = name.removeprefix(self._root).rpartition("/")
            self._children.setdefault(folder, []).append(child)

    def read(self, name: str) -> bytes:
        try:
            return self._archive.read(self._root + name)
        except KeyError as error:
            raise DatasetError(f"{self.path}/{name} is missing") from error
        except (zipfile.BadZipFile, EOFError) as error:
            raise DatasetError(f"{self.path}/{name} is damaged: pack the dataset again") from error

    def exists(self, name: str) -> bool:
        folder, _, child = name.rpartition("/")
        return child in self._children.get(folder, ())

    def pictures(self, folder: str) -> set[str]:
        return {name[:-4] for name in self._children.get(folder, ()) if name.endswith(".png")}

    def folders(self, folder: str) -> list[str]:
        parts = (name.removeprefix(f"{folder}/") for name in self._children if name.startswith(f"{folder}/"))
        return sorted({part for part in parts if part and "/" not in part})


def _find(path: Path) -> Path:
    """The dataset meant by `path`: the folder, the zip, or the zip beside the missing folder."""
    packed = path.with_name(path.name + ".zip")
    if path.is_dir() and not (path / "dataset.json").exists():
        raise DatasetError(
            f"{path} is no dataset folder (it holds no dataset.json): make one with `swap extract VIDEO --out {path}`"
        )
    if path.exists() or not packed.is_file():
        if not path.exists():
            raise DatasetError(f"there is no dataset {path}: make one with `swap extract VIDEO`")
        return path
    return packed


def _parse_records(lines: list[bytes], sources: int, where: str) -> list[FaceRecord]:
    """Records of JSON lines, checked; 100 000 in about two seconds, since arrays are built for all of them at once."""
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")
        records = _build_records(rows) if len(rows) == len(lines) else None
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        records = None
    if records is None:
        records = _parse_slowly(lines, where)
    seen: set[tuple[int, int, int]] = set()
    for number, record in enumerate(records, 1):
        key = (record.source, record.frame, record.track)
        if key in seen or not 0 <= record.source < sources:
            what = "appears twice" if key in seen else f"is of source {record.source}, of {sources}"
            raise DatasetError(f"{where}, line {number}: face {record.name} {what}: remove the line, or --redo")
        seen.add(key)
    return records


def _parse_slowly(lines: list[bytes], where: str) -> list[FaceRecord]:
    """The same one by one, to say which line is wrong and why."""
    records = []
    for number, line in enumerate(lines, 1):
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
    for name, shape in _SHAPES.items():
        block = np.array(columns[name]).reshape(-1, *shape) if not rows else np.array(columns[name])
        if block.shape != (len(rows), *shape) or block.dtype.kind not in "fi" or not np.isfinite(block).all():
            return None
        block = block.astype(np.float64)
        block = block if name == "matrix" else np.round(block, 3)
        block.flags.writeable = False
        columns[name] = list(block)
    numbers = np.array([columns[name] for name in _NUMBERS], np.float64)
    if not np.isfinite(numbers).all():
        return None
    for name, values in zip(_NUMBERS, numbers, strict=True):
        columns[name] = np.round(values, 6 if name == "score" else 3).tolist()
    times = {text: _fraction(text) for text in set(columns["pts"])}
    columns["pts"] = [times[text] for text in columns["pts"]]
    columns["marks"] = [tuple(marks) for marks in columns["marks"]]
    records = [object.__new__(FaceRecord) for _ in rows]
    for name in _FIELDS:
        put = getattr(FaceRecord, name).__set__  # the slot itself: past the guard of a frozen class
        for record, value in zip(records, columns[name], strict=True):
            put(record, value)
    return records


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from walking through a million new lists again and again: halves the time to open."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _json_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise DatasetError(f"{where} is damaged ({error}): extract again with --redo") from error
    if not isinstance(value, dict):
        raise DatasetError(f"{where} is damaged (no JSON object): extract again with --redo")
    return value


def _fraction(text: str) -> Fraction:
    try:
        above, below = text.split("/")
        return Fraction(int(above), int(below))
    except (ValueError, AttributeError, ZeroDivisionError) as error:
        raise DatasetError(f"{text!r} is no fraction: expected a text such as '1001/30000'") from error


def _fraction_text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _png(image: NDArray[np.uint8]) -> bytes:
    """A grey (H, W) or BGR (H, W, 3) picture as PNG bytes."""
    return cv2.imencode(".png", image)[1].tobytes()


def _is_ours(item: Path) -> bool:
    """Whether a kill between two steps of `create` may have left this."""
    return item.name.startswith(".") or (item.name == "crops" and not any(item.iterdir()))


def _plain_name(name: str) -> str:
    """`name`, if it names something right in its folder. Raises ValueError."""
    if not name or name.startswith(".") or "/" in name or "\\" in name:
        raise ValueError(f"'{name}' is no plain file name")
    return name


def _source_line(source: Source) -> str:
    info = source.info
    part = "" if source.start is None and source.end is None else ", a part of it"
    return f"{source.path}: {info.width}x{info.height}, {float(info.duration):.1f} s{part}, {source.sha256[:12]}"
