"""Tracks: which faces of a film's frames are one face going its way, within one shot.

In: the faces of every frame. Out: `Track`s; short gaps are filled and marked, long ones and cuts end a track.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from faceswap_pipeline.detection.cascade import Detection

GATE = 0.7
"""A face may be this share of its size away from where its track expects it."""
SIZE_GATE = 1.6
"""And this much larger or smaller."""


@dataclass(frozen=True)
class Track:
    """One face through consecutive frames of one shot."""

    id: int
    frames: NDArray[np.int64]
    """(N,) without holes."""
    boxes: NDArray[np.float64]
    """(N, 4) px."""
    landmarks: NDArray[np.float64]
    """(N, 5, 2) px, as measured; interpolated where filled."""
    scores: NDArray[np.float64]
    """(N,) 0..1; 0 where filled."""
    filled: NDArray[np.bool_]
    """(N,) true where nothing was measured."""


_NUMBERS = 15
"""Of a face: its box (4), its landmarks (10), its score."""


@dataclass(eq=False)
class _Open:
    """A track that may still grow. Plain numbers: as objects an hour of one face takes 60 MB."""

    frames: "array[int]" = field(default_factory=lambda: array("q"))
    values: "array[float]" = field(default_factory=lambda: array("d"))
    """`_NUMBERS` for each frame."""

    def add(self, frame: int, face: Detection) -> None:
        """The face goes on in `frame`."""
        self.frames.append(frame)
        self.values.extend([*face.box.tolist(), *face.landmarks.ravel().tolist(), face.score])

    def box(self, back: int) -> NDArray[np.float64]:
        """(4,) px of the last face (1), or of an earlier one."""
        start = len(self.values) - back * _NUMBERS
        return np.array(self.values[start : start + 4])

    def expected(self, frame: int) -> tuple[NDArray[np.float64], float]:
        """Centre (2,) and size in px that uniform motion over the last few faces gives for `frame`."""
        box = self.box(1)
        centre, size = (box[:2] + box[2:]) / 2, float(np.sqrt(np.prod(np.maximum(box[2:] - box[:2], 1e-3))))
        if len(self.frames) >= 3:
            earlier = self.box(3)
            speed = (centre - (earlier[:2] + earlier[2:]) / 2) / (self.frames[-1] - self.frames[-3])
            # Beyond a few frames uniform motion says little: heads turn back.
            centre = centre + speed * min(frame - self.frames[-1], 4)
        return centre, size


def link(frames: Sequence[Sequence[Detection]], cuts: Sequence[bool], max_gap: int) -> list[Track]:
    """The tracks of consecutive frames' faces, in the order in which they begin.

    `max_gap`: the longest stretch of frames without the face that is filled. Every face lands in exactly one track.
    """
    done: list[_Open] = []
    alive: list[_Open] = []
    for frame, faces in enumerate(frames):
        ended = [track for track in alive if cuts[frame] or frame - track.frames[-1] > max_gap + 1]
        done += ended
        alive = [track for track in alive if track not in ended]
        partners = _assign(alive, faces, frame)
        for face, partner in zip(faces, partners, strict=True):
            track = alive[partner] if partner >= 0 else _Open()
            if partner < 0:
                alive.append(track)
            track.add(frame, face)
    done += alive
    done.sort(key=lambda track: (track.frames[0], track.values[0]))
    return [_closed(number, track) for number, track in enumerate(done)]


def _assign(tracks: list[_Open], faces: Sequence[Detection], frame: int) -> list[int]:
    """For each face the index of its track, or -1: the cheapest pairing within the gates."""
    if not tracks or not faces:
        return [-1] * len(faces)
    expected = [track.expected(frame) for track in tracks]
    centres, sizes = np.array([centre for centre, _ in expected]), np.array([size for _, size in expected])
    boxes = np.array([face.box for face in faces], np.float64)
    face_centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    face_sizes = np.sqrt(np.maximum(boxes[:, 2:] - boxes[:, :2], 1e-3).prod(1))
    distance = np.linalg.norm(centres[:, None] - face_centres[None], axis=2) / np.sqrt(
        sizes[:, None] * face_sizes[None]
    )
    growth = np.abs(np.log(sizes[:, None] / face_sizes[None]))
    cost = distance + growth
    allowed = (distance < GATE) & (growth < np.log(SIZE_GATE))
    rows, columns = linear_sum_assignment(np.where(allowed, cost, 1e6))
    partners = [-1] * len(faces)
    for row, column in zip(rows, columns, strict=True):
        if allowed[row, column]:
            partners[column] = int(row)
    return partners


def _closed(number: int, track: _Open) -> Track:
    """The track with its gaps filled by interpolation."""
    measured = np.array(track.frames)
    frames = np.arange(measured[0], measured[-1] + 1)
    values = np.array(track.values).reshape(-1, _NUMBERS)
    full = np.stack([np.interp(frames, measured, column) for column in values[:, :-1].T], 1)
    filled = ~np.isin(frames, measured)
    scores = np.zeros(len(frames))
    scores[~filled] = values[:, -1]
    return Track(number, frames, full[:, :4], full[:, 4:].reshape(-1, 5, 2), scores, filled)
