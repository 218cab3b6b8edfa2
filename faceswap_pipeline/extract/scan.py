"""The first pass over an input: the faces of every frame, kept per segment so that a killed run goes on.

In: a video, a folder of pictures or one picture. Out: a `Scan`. A segment's result depends on its own frames and a few
before and after it only, so that a resumed scan equals an uninterrupted one.
"""

import json
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.alignment import crop_matrix, pose_at
from faceswap_pipeline.detection.cascade import Detection, FaceDetector, Pyramid
from faceswap_pipeline.detection.finder import CUT_CONTEXT, FaceFinder, FrameFaces, with_cuts
from faceswap_pipeline.detection.meanface import MeanFace, fit_pose
from faceswap_pipeline.detection.reference import PackageDetector
from faceswap_pipeline.detection.tracking import Track
from faceswap_pipeline.extract.options import ExtractOptions
from faceswap_pipeline.extract.people import SAMPLE_SIZE
from faceswap_pipeline.imaging import Image, warp
from faceswap_pipeline.progress import Progress
from faceswap_pipeline.storage import atomic_write_json, open_aside
from faceswap_pipeline.video.ahead import ahead
from faceswap_pipeline.video.images import is_image
from faceswap_pipeline.video.planes import half_rgb, shrunk, to_rgb
from faceswap_pipeline.video.reader import Frame, read_frames, times_after

SEGMENT = 500
"""Frames whose faces are kept together."""
WORK_SHORT = 720
"""Faces are looked for at most at this length of the picture's short side, px."""
SAMPLES_A_TRACK = 12
"""Small pictures kept of each track to tell persons apart."""


class Picture(Pyramid):
    """A frame, reduced for the search, that still knows where it came from; RGB is made of it at the sizes needed."""

    def __init__(self, frame: Frame, min_face: float) -> None:
        short = min(frame.width, frame.height)
        self.scale = min(1.0, max(WORK_SHORT, 20 / min_face) / short)
        """Pixels here per pixel of the frame."""
        self.width, self.height = round(frame.width * self.scale), round(frame.height * self.scale)
        self._planes = shrunk(frame.planes, self.width, self.height) if self.scale < 1 else frame.planes
        self._levels = {}
        self.frame = frame.index
        self.pts = frame.pts
        self.skipped: list[tuple[int, Fraction]] = []
        """Index and time of the frames before this one, from the picture before it on, that are not looked at."""
        self.full = (frame.width, frame.height)

    def to_frame(self, points: NDArray[Any]) -> NDArray[np.float32]:
        """Points (..., 2) of this picture in pixels of the frame."""
        ratio = np.array([self.full[0] / self.width, self.full[1] / self.height])
        return ((np.asarray(points, np.float64) + 0.5) * ratio - 0.5).astype(np.float32)

    def _made(self, level: int) -> Image:
        if level == 0:
            return np.ascontiguousarray(to_rgb(self._planes))
        return half_rgb(self._planes) if level == 1 else super()._made(level)


class FoundFaces(Sequence[list[Detection]]):
    """The faces of each frame of a film, kept as arrays: as objects those of an hour take 60 MB."""

    def __init__(self, counts: NDArray[np.integer], boxes: Any, landmarks: Any, scores: Any, spreads: Any) -> None:
        """How many faces each frame has (N,), and of all of them boxes (F, 4), landmarks (F, 5, 2) px, scores (F,) and
        spreads (F,).
        """
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._columns = boxes, landmarks, scores, spreads

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, position: Any) -> Any:
        place = range(len(self))[position]
        first, last = self._starts[place], self._starts[place + 1]
        boxes, landmarks, scores, spreads = (column[first:last] for column in self._columns)
        return list(map(Detection, boxes, landmarks, scores.tolist(), spreads.tolist()))


@dataclass
class Scan:
    """What the first pass found in one input."""

    source: int
    rate: Fraction
    """Looked-at frames a second."""
    pictures: bool
    """The input is single pictures: neighbours have nothing to do with each other."""
    width: int
    height: int
    frames: list[int] = field(default_factory=list)
    """Index of each looked-at frame in its input; the lists below run beside it."""
    pts: list[Fraction] = field(default_factory=list)
    faces: Sequence[list[Detection]] = ()
    cuts: list[bool] = field(default_factory=list)
    samples: list[tuple[int, int, Path, int]] = field(default_factory=list)
    """Position, number of the face there, and which sample of which segment is a small aligned picture of it."""
    skipped: list[tuple[int, Fraction]] = field(default_factory=list)
    """Index and time of the frames that the options leave out."""
    warnings: list[str] = field(default_factory=list)
    key_frames: int = 0

    def samples_of(self, track: Track) -> list[Image]:
        """Small pictures of a track, at most `SAMPLES_A_TRACK`, spread over it."""
        first, last = int(track.frames[0]), int(track.frames[-1])
        own = [
            (path, row)
            for position, number, path, row in self.samples
            if first <= position <= last
            and np.allclose(track.boxes[position - first], self.faces[position][number].box, atol=1e-3)
        ]
        picks = np.unique(np.linspace(0, len(own) - 1, SAMPLES_A_TRACK).astype(int)) if own else []
        chosen = [own[pick] for pick in picks]
        read = {path: _read_samples(path) for path in dict.fromkeys(path for path, _ in chosen)}
        return [read[path][row].copy() for path, row in chosen]  # and not all that were read with it


def scan_source(
    dataset: FaceDataset, source: int, path: Path, options: ExtractOptions, mean_face: MeanFace, progress: Progress
) -> Scan:
    """The faces of every frame of one source, from the work folder where they are there, else found now."""
    info = dataset.sources[source].info
    pictures = path.is_dir() or is_image(path)
    scan = Scan(source, info.rate / options.every, pictures, info.width, info.height)
    folder = dataset.work_folder()
    end = folder / f"{source}_end.json"
    segments = _whole_segments(folder, source)
    if not end.exists():
        total = info.frames or int(info.duration * info.rate) or None
        with progress.phase(f"finding faces in {path.name}", total, "frames") as advance:
            advance(len(segments) * SEGMENT * options.every)
            ending = _Ending()
            ahead = _pictures(dataset, source, path, options, len(segments) * SEGMENT, ending)
            finder = _finder(options)
            cuts = ((picture, cut or pictures) for picture, cut in ahead)
            for number, segment in enumerate(_segments(cuts), len(segments)):
                found = []
                for item in finder.find(segment):
                    found.append(_in_frame(item, mean_face))
                    advance(options.every)
                _write_segment(_segment_path(folder, source, number), found)
        skipped = [[frame, pts.numerator, pts.denominator] for frame, pts in ending.skipped]
        atomic_write_json(end, {"warnings": ending.warnings, "skipped": skipped})
        segments = _whole_segments(folder, source)
    scan.faces = _read_segments(segments, scan)
    last = json.loads(end.read_text())
    scan.warnings = last["warnings"]
    scan.skipped += [(frame, Fraction(above, below)) for frame, above, below in last["skipped"]]
    return scan


@dataclass
class _Ending:
    """What is known once the reading is over."""

    warnings: list[str] = field(default_factory=list)
    skipped: list[tuple[int, Fraction]] = field(default_factory=list)
    """Index and time of the frames after the last picture."""


def _finder(options: ExtractOptions) -> FaceFinder:
    if options.detector == "mtcnn":
        return FaceFinder(PackageDetector(options.min_face), None)
    detector = FaceDetector(options.min_face)
    return FaceFinder(detector, detector)


def _pictures(
    dataset: FaceDataset, source: int, path: Path, options: ExtractOptions, first: int, ending: _Ending
) -> Iterator[tuple[Pyramid, bool]]:
    """The looked-at frames from position `first` on, reduced, each with its cut flag; `ending` is filled at the end."""
    start, end = dataset.sources[source].start, dataset.sources[source].end
    # Positions count frames after --start, whose index is not known beforehand: then all frames are read again.
    context = min(first, CUT_CONTEXT) if start is None else first

    def chosen() -> Iterator[Picture]:
        begin = (first - context) * options.every
        skipped: list[tuple[int, Fraction]] = []
        for frame in read_frames(path, start=begin, warnings=ending.warnings):
            if end is not None and frame.pts >= end:
                later = times_after(path, frame.pts)
                skipped += enumerate([frame.pts, *later], frame.index)
                break
            if frame.index % options.every == 0 and (start is None or frame.pts >= start):
                picture = Picture(frame, options.min_face)
                picture.skipped, skipped = skipped, []
                yield picture
            else:
                skipped.append((frame.index, frame.pts))
        ending.skipped = skipped

    # Colours, reductions and cuts are made while the networks look at the pictures before.
    return islice(ahead(with_cuts(chosen()), depth=8), context, None)


def _segments(items: Iterable[Any]) -> Iterator[Iterator[Any]]:
    """`items` in runs of SEGMENT; each run must be used up before the next is asked for."""
    iterator = iter(items)
    for first in iterator:

        def run(first: Any = first) -> Iterator[Any]:
            yield first
            yield from islice(iterator, SEGMENT - 1)

        yield run()


@dataclass(frozen=True)
class _Found:
    """One frame's faces in pixels of the frame."""

    frame: int
    pts: Fraction
    cut: bool
    key: bool
    faces: list[Detection]
    samples: list[Image]
    """Of each face, on key frames only."""
    skipped: list[tuple[int, Fraction]]
    """Frames before this one that are not looked at."""


def _in_frame(item: FrameFaces, mean_face: MeanFace) -> _Found:
    picture = item.pyramid
    assert isinstance(picture, Picture)
    samples = []
    if item.key and item.faces:
        poses = fit_pose(mean_face, np.array([face.landmarks for face in item.faces]))
        matrices = [crop_matrix(pose_at(poses, index), SAMPLE_SIZE) for index in range(len(item.faces))]
        samples = [warp(picture.picture, matrix, (SAMPLE_SIZE, SAMPLE_SIZE)) for matrix in matrices]
    faces = [
        replace(
            face, box=picture.to_frame(face.box.reshape(2, 2)).reshape(4), landmarks=picture.to_frame(face.landmarks)
        )
        for face in item.faces
    ]
    return _Found(picture.frame, picture.pts, item.cut, item.key, faces, samples, picture.skipped)


def _segment_path(folder: Path, source: int, number: int) -> Path:
    return folder / f"{source}_{number:05d}.npz"


def _whole_segments(folder: Path, source: int) -> list[Path]:
    """The segments that are there, from the first on without a hole."""
    paths = []
    while (path := _segment_path(folder, source, len(paths))).exists() and zipfile.is_zipfile(path):
        paths.append(path)
    return paths


def _write_segment(path: Path, found: Sequence[_Found]) -> None:
    faces = [face for item in found for face in item.faces]
    skipped = [frame for item in found for frame in item.skipped]
    with open_aside(path) as file:
        np.savez(
            file,
            frames=np.array([item.frame for item in found]),
            pts=np.array([[item.pts.numerator, item.pts.denominator] for item in found]),
            skipped=np.array([[index, pts.numerator, pts.denominator] for index, pts in skipped], np.int64),
            cuts=np.array([item.cut for item in found]),
            keys=np.array([item.key for item in found]),
            counts=np.array([len(item.faces) for item in found]),
            boxes=np.array([face.box for face in faces], np.float32).reshape(-1, 4),
            landmarks=np.array([face.landmarks for face in faces], np.float32).reshape(-1, 5, 2),
            scores=np.array([face.score for face in faces]),
            spreads=np.array([face.spread for face in faces]),
            samples=np.array([s for item in found for s in item.samples], np.uint8).reshape(
                -1, SAMPLE_SIZE, SAMPLE_SIZE, 3
            ),
        )


def _read_segments(paths: Sequence[Path], scan: Scan) -> FoundFaces:
    """The faces of all segments; what else is known of their frames is added to `scan`."""
    names = ("counts", "boxes", "landmarks", "scores", "spreads")
    columns: list[list[NDArray[Any]]] = [[] for _ in names]
    for path in paths:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files if name != "samples"}
        for column, name in zip(columns, names, strict=True):
            column.append(arrays[name])
        scan.skipped += [
            (index, Fraction(above, below)) for index, above, below in arrays["skipped"].reshape(-1, 3).tolist()
        ]
        first, sample = len(scan.frames), 0
        scan.frames += arrays["frames"].tolist()
        scan.pts += [Fraction(above, below) for above, below in arrays["pts"].tolist()]
        scan.cuts += arrays["cuts"].tolist()
        scan.key_frames += int(arrays["keys"].sum())
        for row in np.flatnonzero(arrays["keys"]).tolist():
            for number in range(int(arrays["counts"][row])):
                scan.samples.append((first + row, number, path, sample))
                sample += 1
    if not paths:
        return FoundFaces(np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 5, 2)), np.zeros(0), np.zeros(0))
    return FoundFaces(*map(np.concatenate, columns))


def _read_samples(path: Path) -> NDArray[np.uint8]:
    """All small pictures of a segment, (S, 64, 64, 3)."""
    with np.load(path, allow_pickle=False) as data:
        return data["samples"]
