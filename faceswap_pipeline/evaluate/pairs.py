"""Source and result side by side: the same frames of all films, and the same faces cut out of both.

In: the films, the dataset's records. Out: a stream of `FramePair` and `FacePair`; only a few frames are held at once.

Landmarks are measured in both films alike: the detector's last network in the same box of the same crops, which follow
the dataset's smoothed poses. The records' own landmarks are not used, since they were smoothed over time and the
result's would not be.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.cascade import Pyramid
from faceswap_pipeline.errors import VideoError
from faceswap_pipeline.geometry import Array, box_centre, decompose_similarity, invert_matrix, transform_points
from faceswap_pipeline.imaging import Image, warp
from faceswap_pipeline.records import FaceRecord
from faceswap_pipeline.video.reader import Frame, read_frames

RUN_LENGTH = 3
"""Neighbouring frames that are looked at where not all are: what differs from frame to frame needs three."""
BATCH = 5
"""Faces whose landmarks are measured together: both films, six views each, fill one batch of the network."""


@dataclass(frozen=True)
class Choice:
    """Which frames are looked at: every one, or three neighbours out of every `every`."""

    every: int = 1

    def looked_at(self, frame: int) -> bool:
        """Whether anything is measured in this frame."""
        return self.every <= RUN_LENGTH or frame % self.every < RUN_LENGTH

    def closely(self, frame: int) -> bool:
        """Whether everything is measured in this frame, not only what changes from frame to frame."""
        return self.every <= RUN_LENGTH or frame % self.every == 1


def choose(frames: int, places: int) -> Choice:
    """Every frame of a short film; of a longer one, `places` places spread over it."""
    return Choice(max(1, frames // places))


@dataclass(frozen=True)
class FramePair:
    """One frame of source and result, and of what else there is to compare with; RGB uint8 (H, W, 3)."""

    index: int
    pts: Fraction
    closely: bool
    records: Sequence[FaceRecord]
    source: Image
    result: Image
    others: Mapping[str, Image]
    """By name: `truth`, `mask`, `encoded` (the true swap, encoded again)."""


@dataclass(frozen=True)
class FacePair:
    """One face of source and result in crop space: upright, centred, of one size."""

    record: FaceRecord
    closely: bool
    source: Image
    """(S, S, 3)."""
    result: Image
    """(S, S, 3)."""
    inside: NDArray[np.bool_]
    """(S, S): where a frame is; beyond its border crops are made up."""
    masks: Mapping[str, Image]
    """(S, S) 0 or 255 by kind, of those that the dataset has."""
    source_five: Array
    """(5, 2) crop px, as measured in the source."""
    result_five: Array
    """(5, 2) crop px, measured in the result in the same way."""


class Measurer(Protocol):
    """What finds landmarks in known boxes; see `cascade.FaceDetector`."""

    def measure(self, pictures: Sequence[Pyramid], boxes: Sequence[Array]) -> list[NDArray[np.float64]]:
        """Landmarks (N, 5, 2) of the faces in the boxes (N, 4) of each picture."""
        ...


def read_pairs(
    films: Mapping[str, Path], records: Mapping[int, Sequence[FaceRecord]], choice: Choice
) -> Iterator[FramePair]:
    """The chosen frames of the films side by side; `films` has `source`, `result` and any others.

    Raises VideoError when they differ in length or size of frame.
    """
    with ExitStack() as stack:
        readers = [stack.enter_context(closing(_generator(path))) for path in films.values()]
        for frames in zip_longest(*readers):
            # `encoded` is as long as `truth` and no film of the user's.
            shown = [str(path) for name, path in films.items() if name != "encoded"]
            lacking = [path for path, frame in zip(shown, frames, strict=False) if frame is None]
            first: Frame = next(frame for frame in frames if frame is not None)
            if lacking:
                raise VideoError(f"{', '.join(lacking)} ends at frame {first.index}, before the others: not its film?")
            if not choice.looked_at(first.index):
                continue
            sizes = {f"{frame.width}x{frame.height}" for frame in frames}
            if len(sizes) > 1:
                raise VideoError(f"{', '.join(shown)} differ in size: {', '.join(sorted(sizes))}")
            pictures = {name: frame.rgb for name, frame in zip(films, frames, strict=True)}
            yield FramePair(
                first.index,
                first.pts,
                choice.closely(first.index),
                records.get(first.index, ()),
                pictures.pop("source"),
                pictures.pop("result"),
                pictures,
            )


def _generator(path: Path) -> Generator[Frame, None, None]:
    yield from read_frames(path)


def read_faces(
    frames: Iterator[FramePair],
    dataset: FaceDataset,
    measurer: Measurer,
    see_frame: Callable[[FramePair], None],
    see_face: Callable[[FacePair], None],
) -> None:
    """Hand every frame pair to `see_frame` and every face pair to `see_face`, in order."""
    boxes = measuring_boxes(dataset.records)
    waiting: list[_Cuts] = []
    for pair in frames:
        see_frame(pair)
        waiting += [_cut(pair, record, dataset.crop_size) for record in pair.records]
        if len(waiting) >= BATCH:
            _measure(waiting, boxes, dataset, measurer, see_face)
            waiting.clear()
    _measure(waiting, boxes, dataset, measurer, see_face)


@dataclass(frozen=True)
class _Cuts:
    """What is taken from a frame pair for one face; the frames themselves may then be forgotten."""

    record: FaceRecord
    closely: bool
    source: Image
    result: Image
    inside: NDArray[np.bool_]


def _cut(pair: FramePair, record: FaceRecord, size: int) -> _Cuts:
    source, result = (np.asarray(warp(image, record.matrix, (size, size))) for image in (pair.source, pair.result))
    frame = (pair.source.shape[1], pair.source.shape[0])
    return _Cuts(record, pair.closely, source, result, _inside(record, frame, size))


def _measure(
    waiting: Sequence[_Cuts],
    boxes: Mapping[int, Array],
    dataset: FaceDataset,
    measurer: Measurer,
    see_face: Callable[[FacePair], None],
) -> None:
    """Measure the landmarks of some faces in one batch and hand them on."""
    pictures = [Pyramid(crop) for cuts in waiting for crop in (cuts.source, cuts.result)]
    found = measurer.measure(pictures, [boxes[cuts.record.track][None] for cuts in waiting for _ in (0, 1)])
    for cuts, before, after in zip(waiting, found[::2], found[1::2], strict=True):
        record = cuts.record
        masks = {kind: dataset.mask(record, kind) for kind in dataset.mask_kinds() if dataset.has_mask(record, kind)}
        see_face(FacePair(record, cuts.closely, cuts.source, cuts.result, cuts.inside, masks, before[0], after[0]))


def measuring_boxes(records: Sequence[FaceRecord]) -> dict[int, Array]:
    """By track the square box (4,) in crop pixels in which its landmarks are measured: the median of the detector's.

    There every face is upright, whichever way the head lies in the frame.
    """
    boxes: dict[int, Array] = {}
    for track in {record.track for record in records}:
        own = [record for record in records if record.track == track]
        centre = np.median([transform_points(record.matrix, box_centre(record.box)) for record in own], 0)
        scales = [decompose_similarity(record.matrix).scale for record in own]
        sides = [scale * (record.box[2:] - record.box[:2]).max() for scale, record in zip(scales, own, strict=True)]
        half = float(np.median(sides)) / 2
        boxes[track] = np.concatenate([centre - half, centre + half])
    return boxes


def _inside(record: FaceRecord, frame: tuple[int, int], size: int) -> NDArray[np.bool_]:
    """Which pixels of a crop lie in the frame (width, height), (size, size)."""
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).astype(np.float64)
    points = transform_points(invert_matrix(record.matrix), grid)
    return np.all((points > -0.5) & (points < np.array(frame) - 0.5), axis=-1)
