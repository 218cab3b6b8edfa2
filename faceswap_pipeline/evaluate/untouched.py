"""Left alone: is the picture the source's wherever nothing was to change.

In: frame pairs. Out: PSNR outside the faces' masks, and of frames without the face.
"""

import cv2
import numpy as np

from faceswap_pipeline.evaluate.groups import Findings, Group, Series, Subject
from faceswap_pipeline.evaluate.pairs import FramePair
from faceswap_pipeline.geometry import invert_matrix
from faceswap_pipeline.imaging import Image, grow_mask, warp

MARGIN = 0.04
"""How far beyond the mask a pixel must lie to count as outside, face heights: masks end softly."""


class Untouched(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._faces = subject.faces
        self._margin = round(MARGIN * subject.face_height)
        self._outside, self._whole = Series(), Series()

    def see_frame(self, pair: FramePair) -> None:
        """Measure a frame that is looked at closely."""
        if not pair.closely:
            return
        if not pair.records:
            self._whole.add(pair.index, psnr(pair.source, pair.result))
            return
        outside, size = np.full(pair.source.shape[:2], 255, np.uint8), (pair.source.shape[1], pair.source.shape[0])
        for record in pair.records:
            if not self._faces.has_mask(record, "face"):
                return
            mask = grow_mask(self._faces.mask(record, "face"), self._margin)
            outside[warp(mask, invert_matrix(record.matrix), size, "linear", "zero") > 0] = 0
        self._outside.add(pair.index, psnr(pair.source, pair.result, outside))

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        found.put_series("outside_psnr", self._outside, "no frame shows both a face with a mask and its surroundings")
        found.put_series("untouched_psnr", self._whole, "every frame that was looked at shows the face")
        return found


def psnr(first: Image, second: Image, where: Image | None = None) -> float:
    """Peak signal to noise ratio in dB of two pictures (H, W, 3), over all channels of the pixels where the mask
    `where` (H, W) is not 0. At most 138 dB, for equal pictures; NaN without a pixel.
    """
    count = first.size if where is None else 3 * cv2.countNonZero(where)
    if not count:
        return float("nan")
    squares = cv2.norm(first, second, cv2.NORM_L2SQR, where)
    return float(10 * np.log10(255**2 / max(squares / count, 1e-9)))
