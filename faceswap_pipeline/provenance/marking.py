"""Frames and the watermark: the pattern goes into a frame's planes, and the luma to be read comes out of them.

In and out: `Frame`s of the video layer.
"""

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.provenance import watermark
from faceswap_pipeline.video.planes import plane_views
from faceswap_pipeline.video.reader import Frame


class Marker:
    """Puts one number into frames; patterns are made once for each size of frame."""

    def __init__(self, payload: int) -> None:
        """`payload`: 0 .. 2^PAYLOAD_BITS - 1."""
        self.payload = payload
        self._patterns: dict[tuple[int, int], NDArray[np.int8]] = {}

    def __call__(self, frame: Frame) -> Frame:
        """Put the pattern into the luma of `frame` (into each colour alike where planes are RGB); returns it.

        The planes are changed: they must be the frame's own (`Frame.copied`).
        """
        size = (frame.height, frame.width)
        if size not in self._patterns:
            self._patterns[size] = watermark.pattern(*size, self.payload)
        colors = frame.planes.format.name == "gbrp"
        for plane in plane_views(frame.planes)[: None if colors else 1]:
            plane[:] = watermark.embed(plane, self._patterns[size])
        return replace(frame)  # an RGB picture that was made of it holds no more


def payload_of(sha256: str) -> int:
    """The number that marks all films of a checkpoint: the first bits of its hash, given as hex."""
    return int(sha256[:16], 16) >> (64 - watermark.PAYLOAD_BITS)


def luma_of(frame: Frame) -> NDArray[np.uint8]:
    """The luma plane of a frame, uint8 (H, W); of RGB planes the weighted mean of BT.601."""
    if frame.planes.format.name == "gbrp":
        return np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    return plane_views(frame.planes)[0]
