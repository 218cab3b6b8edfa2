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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline import __version__
from faceswap_pipeline.errors import DatasetError
from faceswap_pipeline.records import (
    ARRAY_SHAPES,
    FaceRecord,
    FrameRow,
    MaskMade,
    Source,
    fraction_text,
    parse_fraction,
    parse_records,
)
from faceswap_pipeline.storage import (
    FolderLock,
    LineFile,
    atomic_write_bytes,
    atomic_write_json,
    folder_bytes,
    make_folder,
    open_aside,
    opening_lock,
    remove_folder,
    storage_errors,
    sync_file,
    sync_folder,
    whole_lines,
)

FORMAT = "faceswap-dataset"
VERSION = 1

__all__ = ["FORMAT", "VERSION", "FaceDataset", "FaceRecord", "FrameRow", "MaskMade", "Source"]

_PNG_FILTER, _NO_FILTER = 19, 8  # names since OpenCV 4.12; an older one takes no notice
_FLAT = (
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_DEFAULT,
    _PNG_FILTER,
    _NO_FILTER,
)
"""How a mask is written: flat as it is, it is read in a third of the time without PNG's filters, and is no larger."""
_SYNC_EVERY = 256
_SYNC_THREADS = 4


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
        with opening_lock(path, write) as lock:
            files = _Zip(path) if path.is_file() else _Files(path)
            dataset = cls(path, files, _json_object(files.read("dataset.json"), f"{path}/dataset.json"))
            dataset._lock = lock
            with _no_collection():
                dataset._read_records()
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
        return array.reshape(-1, *ARRAY_SHAPES[name]) if name in ARRAY_SHAPES else array

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
                FrameRow(int(r["source"]), int(r["frame"]), parse_fraction(r["pts"]), int(r["faces"]), r["reason"])
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
        path, name = self.path / "crops" / f"{record.name}.png", record.name
        atomic_write_bytes(path, _png(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)), sync=False)
        if self._lines is None:
            self._lines = LineFile(self.path / "faces.jsonl")
        self._lines.append(json.dumps(record.to_json()))
        self._names.add(name)
        self._crops.add(name)
        self.records.append(record)
        self._unsynced.append(f"crops/{name}.png")
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
        atomic_write_bytes(folder / f"{record.name}.png", _png(mask, _FLAT), sync=False)
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
        self._write_lines(records)
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
        pictures = [path for name in self._unsynced if (path := self.path / name).exists()]
        with ThreadPoolExecutor(_SYNC_THREADS) as pool:  # a disk takes several at a time
            list(pool.map(sync_file, pictures))
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
        writer.writerows([r.source, r.frame, fraction_text(r.pts), r.faces, r.reason] for r in frames)
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
        make_folder(to.parent)
        with open_aside(to) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in names:
                entry = zipfile.ZipInfo(f"{self.path.resolve().name}/{name}", (1980, 1, 1, 0, 0, 0))
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, (self.path / name).read_bytes())
        return to

    def unpack(self, to: Path) -> Path:
        """Write a packed dataset as the folder `to`, whole or not at all.

        Raises DatasetError when it is no zip or is damaged, or when `to` is there; StorageError.
        """
        if not isinstance(self._files, _Zip):
            raise DatasetError(f"{self.path} is a folder already")
        if to.exists():
            raise DatasetError(f"{to} exists already: choose another name")
        aside = to.with_name(f".{to.name}.part")
        remove_folder(aside)
        with storage_errors(to):
            self._files.write_all(make_folder(aside)).rename(to)
        remove_folder(aside)
        sync_folder(to.parent)
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
        self.records = parse_records(lines, len(self.sources), f"{self.path}/faces.jsonl")
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
                self._write_lines(kept)
                self.records = kept
                return

    def _write_lines(self, records: Iterable[FaceRecord]) -> None:
        """Replace faces.jsonl, a line at a time."""
        with open_aside(self.path / "faces.jsonl") as file:
            for record in records:
                file.write(json.dumps(record.to_json()).encode() + b"\n")

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
            raise DatasetError(
                f"{path} is neither a dataset folder nor a whole zip of one ({error}): make a dataset of a video with "
                f"`swap extract {path}`; a damaged zip has to be packed again"
            ) from error
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

    def write_all(self, folder: Path) -> Path:
        """Write the zip into a folder and return where its dataset then is. Each file's checksum is looked at."""
        try:
            self._archive.extractall(folder)
        except (zipfile.BadZipFile, EOFError) as error:
            raise DatasetError(f"{self.path} is damaged ({error}): pack the dataset again") from error
        return folder / self._root

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
    packed = path.with_name(path.name + ".zip") if path.name else path
    if path.is_dir() and not (path / "dataset.json").exists():
        raise DatasetError(
            f"{path} is no dataset folder (it holds no dataset.json): make one with `swap extract VIDEO --out {path}`"
        )
    if path.exists() or not packed.is_file():
        if not path.exists():
            raise DatasetError(f"there is no dataset {path}: make one with `swap extract VIDEO`")
        return path
    return packed


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


def _png(image: cv2.typing.MatLike, options: Sequence[int] = ()) -> bytes:
    """A grey (H, W) or BGR (H, W, 3) picture as PNG bytes."""
    return cv2.imencode(".png", image, options)[1].tobytes()


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
