"""Defects put into a good swap on purpose: frames of the true swap in, spoilt frames out."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.geometry import invert_matrix
from faceswap_pipeline.imaging import Image, blur, warp

from .conftest import Clips

Frames = list[Image]


def soft_mask(clips: Clips, index: int, kind: str = "face") -> NDArray[np.float32]:
    """A mask of the dataset in the frame, (H, W, 1) 0..1, with a soft rim."""
    record = clips.faces.records[index]
    height, width = clips.source[0].shape[:2]
    mask = warp(clips.faces.mask(record, kind), invert_matrix(record.matrix), (width, height), "linear", "zero")
    return blur(mask.astype(np.float32) / 255, 1.5)[..., None]


def laid_over(below: Image, above: NDArray, mask: NDArray) -> Image:
    """`above` where the mask (H, W, 1) is 1, `below` where it is 0."""
    return np.clip(np.rint(below + mask * (above.astype(np.float32) - below)), 0, 255).astype(np.uint8)


def in_face(change: Callable[[Image, int], NDArray]) -> Callable[[Clips, Frames], Frames]:
    """A defect that shows inside the face only: `change` of the frame and its number."""

    def spoil(clips: Clips, frames: Frames) -> Frames:
        return [laid_over(frame, change(frame, i), soft_mask(clips, i)) for i, frame in enumerate(frames)]

    return spoil


def moved(frame: Image, x: float, y: float) -> Image:
    """A frame moved by so many pixels."""
    return warp(frame, [[1, 0, x], [0, 1, y]], frame.shape[1::-1], "linear")


def trembling(frame: Image, index: int) -> Image:
    """Moved by another pixel or two in every frame."""
    return moved(frame, *np.random.default_rng(index).normal(0, 1.3, 2))


def frozen_mouth(clips: Clips, frames: Frames) -> Frames:
    """The mouth of the first frame in all frames, in its place."""
    records, (height, width) = clips.faces.records, frames[0].shape[:2]
    size = clips.faces.crop_size
    first = warp(frames[0], records[0].matrix, (size, size))
    back = [warp(first, invert_matrix(record.matrix), (width, height)) for record in records]
    return [laid_over(frame, back[i], soft_mask(clips, i, "mouth")) for i, frame in enumerate(frames)]


def unswapped(clips: Clips, frames: Frames) -> Frames:
    """Every fourth frame is the source's."""
    return [clips.source[i] if i % 4 == 2 else frame for i, frame in enumerate(frames)]


def pasted_box(clips: Clips, frames: Frames) -> Frames:
    """The face's surroundings as a box, brighter than the picture around it."""
    spoilt = []
    for index, frame in enumerate(frames):
        x, y, width, height = cv2.boundingRect((soft_mask(clips, index)[..., 0] > 0.5).astype(np.uint8))
        rim = height // 8
        place = np.s_[y - rim : y + height + rim, x - rim : x + width + rim]
        box = frame.copy()
        box[place] = np.clip(box[place].astype(int) + 14, 0, 255)
        spoilt.append(box)
    return spoilt


def changed_background(clips: Clips, frames: Frames) -> Frames:
    """The left third of the picture, where no face is, grows brighter."""
    spoilt = [frame.copy() for frame in frames]
    for frame in spoilt:
        frame[:, : frame.shape[1] // 3] = np.clip(frame[:, : frame.shape[1] // 3].astype(int) + 9, 0, 255)
    return spoilt


DEFECTS: dict[str, Callable[[Clips, Frames], Frames]] = {
    "shifted face": in_face(lambda frame, _: moved(frame, 5, 3)),
    "frozen mouth": frozen_mouth,
    "added jitter": in_face(trembling),
    "colour cast": in_face(lambda frame, _: frame + np.float32([16, -4, -16])),
    "flickering light": in_face(lambda frame, i: frame + np.random.default_rng(i).normal(0, 4)),
    "unswapped frames": unswapped,
    "pasted box": pasted_box,
    "blurred face": in_face(lambda frame, _: blur(frame, 1.2)),
    "changed background": changed_background,
}


def encoded(frame: Image) -> Image:
    """What encoding leaves of a frame: a JPEG of it."""
    data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 92])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), np.uint8)
