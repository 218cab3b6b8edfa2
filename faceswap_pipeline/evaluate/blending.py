"""Blending: does the new face belong to the picture around it.

In: face pairs with a face mask. Out: colour step and edge along the mask's rim, and sharpness, each against the
source's.

All distances are shares of the face's height; rings follow the mask's contour.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.evaluate.groups import Findings, Group, Series, Subject
from faceswap_pipeline.evaluate.pairs import FacePair
from faceswap_pipeline.imaging import Image, blur

INNER, OUTER = (0.05, 0.12), (0.01, 0.07)
"""Where colours are compared: within the contour, past the soft rim of the mask, and beyond it."""
SECTORS = 12
"""Parts of the contour, each with a colour step of its own."""
FEWEST = 12
"""Pixels that a part of a ring must have to be compared."""
RIM = (0.07, 0.25)
"""How far within and beyond the contour extra edges are looked for."""
FAINT = 3.0
"""Grey levels a pixel: extra gradients below this are noise and texture."""
SMOOTH = 0.006
"""Blur under which edges are looked for, and beyond which detail counts as sharpness."""
SHARP_INSIDE, SHARP_BEYOND = 0.08, (0.03, 0.2)
"""Where sharpness is measured: deeper than this within the contour, and in a ring beyond it."""
NO_MASK = "the dataset has no face masks: run `swap masks`"


class Rings(NamedTuple):
    """A face mask as places relative to its contour."""

    depth: NDArray[np.float32]
    """(S, S) distance to the contour, face heights; > 0 within."""
    sector: NDArray[np.int_]
    """(S, S) which part of the contour, 0 .. SECTORS - 1."""

    def between(self, low: float, high: float, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Pixels whose depth lies in a range and that lie in the frame."""
        return (self.depth > low) & (self.depth < high) & inside


class Blending(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._height = subject.face_height
        self._series = {name: Series() for name in ("seam_colour", "seam_gradient", "face_sharpness")}

    def see_face(self, face: FacePair) -> None:
        """Measure a face that is looked at closely."""
        mask = face.masks.get("face")
        if not face.closely or mask is None or not mask.any():
            return
        rings, frame = rings_of(mask, self._height), face.record.frame
        self._series["seam_colour"].add(frame, colour_step(face.source, face.result, rings, face.inside))
        self._series["seam_gradient"].add(frame, extra_edge(face.source, face.result, rings, face.inside, self._height))
        sharp = relative_sharpness(face.source, face.result, rings, face.inside, self._height)
        self._series["face_sharpness"].add(frame, sharp)

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        for name, series in self._series.items():
            found.put_series(name, series, NO_MASK)
        sharp = self._series["face_sharpness"].values
        if sharp:
            found.values["face_sharpness"] = float(np.exp(np.mean(np.log(np.maximum(sharp, 1e-3)))))
        return found


def rings_of(mask: Image, face_height: float) -> Rings:
    """Distances and directions from a mask (S, S) 0 or 255; `face_height` px."""
    solid = (mask > 127).astype(np.uint8)
    within, beyond = (cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in (solid, 1 - solid))
    depth = np.where(solid > 0, within - 0.5, 0.5 - beyond) / face_height
    rows, columns = np.nonzero(solid)
    y, x = np.indices(mask.shape, np.float32)
    angle = np.arctan2(y - rows.mean(), x - columns.mean()) / (2 * np.pi) + 0.5
    return Rings(depth.astype(np.float32), np.minimum((angle * SECTORS).astype(int), SECTORS - 1))


def colour_step(source: Image, result: Image, rings: Rings, inside: NDArray[np.bool_]) -> float:
    """How far the colour step across the contour differs from the source's: CIE 1976 difference of the steps in
    CIELAB, mean of the sectors; NaN where none can be compared.
    """
    rows = [rings.between(*INNER, inside), rings.between(-OUTER[1], -OUTER[0], inside)]
    counts = [np.bincount(rings.sector[row], minlength=SECTORS) for row in rows]
    steps = []
    for picture in (source, result):
        colours = cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2Lab)
        means = []
        for row, count in zip(rows, counts, strict=True):
            sums = [np.bincount(rings.sector[row], colours[..., c][row], minlength=SECTORS) for c in range(3)]
            means.append(np.stack(sums, 1) / np.maximum(count, 1)[:, None])
        steps.append(means[0] - means[1])
    enough = np.minimum(*counts) >= FEWEST
    differences = np.linalg.norm(steps[1] - steps[0], axis=1)[enough]
    return float(differences.mean()) if differences.size else float("nan")


def extra_edge(source: Image, result: Image, rings: Rings, inside: NDArray[np.bool_], face_height: float) -> float:
    """Height in grey levels of the edge that runs along the contour in the result and not in the source.

    The gradient beyond the source's, summed over the rim and divided by the contour's length: a step of ten levels all
    around gives about ten.
    """
    near = rings.between(-RIM[1], RIM[0], inside)
    length = max(float((np.abs(rings.depth) < 1 / face_height).sum()) / 2, 1.0)
    extra = (_gradient(result, face_height) - _gradient(source, face_height))[near]
    return float(extra[extra > FAINT].sum()) / length


def relative_sharpness(
    source: Image, result: Image, rings: Rings, inside: NDArray[np.bool_], face_height: float
) -> float:
    """Detail of the result's face over the source's, divided by the same of their surroundings: 1 as sharp."""
    face = rings.between(SHARP_INSIDE, np.inf, inside)
    around = rings.between(-SHARP_BEYOND[1], -SHARP_BEYOND[0], inside)
    if face.sum() < FEWEST or around.sum() < FEWEST:
        return float("nan")
    before, after = (_detail(picture, face_height) for picture in (source, result))
    ratios = [np.sqrt((after[part] ** 2).mean() / max((before[part] ** 2).mean(), 1e-6)) for part in (face, around)]
    return float(ratios[0] / max(ratios[1], 1e-6))


def _gradient(picture: Image, face_height: float) -> NDArray[np.float32]:
    """Length of the luma's gradient, (S, S) grey levels a pixel, a little smoothed."""
    grey = blur(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32), SMOOTH * face_height)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    return np.hypot(x, y)


def _detail(picture: Image, face_height: float) -> NDArray[np.float32]:
    """What a small blur takes from the luma, (S, S) grey levels."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return grey - blur(grey, SMOOTH * face_height)
