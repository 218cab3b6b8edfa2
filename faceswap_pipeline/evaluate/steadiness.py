"""Steadiness: does the new face tremble, flicker or pulse where the actor's does not.

In: face pairs of consecutive frames. Out: landmark jitter over the source's, flicker, wobble of the face's size.

Everything is measured in crop space, where the head's own motion is undone alike in both films.
"""

from collections import defaultdict, deque

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.evaluate.groups import (
    Findings,
    Group,
    Series,
    Subject,
    cohorts,
    root_mean_square,
    without_usual,
)
from faceswap_pipeline.evaluate.pairs import FacePair
from faceswap_pipeline.geometry import Array, decompose_similarity, fit_similarity
from faceswap_pipeline.imaging import Image, resize

CELLS = 16
"""Cells a side of a crop, whose mean colours are followed for flicker."""
NOISE = np.sqrt(6.0)
"""Deviation of the second difference of a signal with independent noise of deviation 1."""


class Steadiness(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        five = subject.mean_face.five
        self._eye_distance = float(np.linalg.norm(five[1, :2] - five[0, :2])) * subject.face_height
        self._last: dict[int, deque[tuple[int, Array, Array]]] = defaultdict(lambda: deque(maxlen=3))
        self._jumps: list[tuple[int, float, float]] = []
        self._flicker = Series()
        self._scales: list[tuple[int, int, int, float]] = []

    def see_face(self, face: FacePair) -> None:
        """Compare with the two frames before."""
        record = face.record
        fives = np.stack([face.source_five, face.result_five]) / self._eye_distance
        scale = decompose_similarity(fit_similarity(face.source_five, face.result_five)).scale
        self._scales.append((record.frame, record.track, record.person, float(np.log(max(scale, 1e-6)))))
        change = np.where(face.inside[..., None], face.result.astype(np.float32) - face.source, 0)
        last = self._last[record.track]
        last.append((record.frame, fives, cell_means(change, face.masks.get("face"))))
        if len(last) == 3 and last[0][0] == record.frame - 2:
            (_, first, first_cells), (_, second, second_cells), (_, third, third_cells) = last
            points, colours = first - 2 * second + third, first_cells - 2 * second_cells + third_cells
            before, after = (root_mean_square(np.linalg.norm(five, axis=-1)) for five in points)
            self._jumps.append((record.frame - 1, before, after))
            self._flicker.add(record.frame - 1, root_mean_square(colours[np.isfinite(colours)]) / NOISE)

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        why = "no three consecutive frames show the face"
        frames = [frame for frame, _, _ in self._jumps]
        source, result = (root_mean_square([jump[side] for jump in self._jumps]) for side in (1, 2))
        found.put("jitter", result / source if source > 0 else float("nan"), why)
        if "jitter" in found.values:
            # Not over the same frame's own source: where that stands still the ratio would say nothing.
            found.series["jitter"] = Series(frames, [after / source for _, _, after in self._jumps])
        found.details["landmark_noise"] = {"source": source, "result": result} if self._jumps else {}
        if self._flicker.values:
            found.series["flicker"] = self._flicker
        found.put("flicker", root_mean_square(self._flicker.values), why)
        frames, tracks, persons, scales = zip(*self._scales, strict=True) if self._scales else ((), (), (), ())
        sizes = Series()
        for frame, value in zip(frames, without_usual(np.array(scales), cohorts(tracks, persons)), strict=True):
            sizes.add(frame, 100 * abs(value))
        found.put("scale_wobble", root_mean_square(sizes.values), "too few faces are seen to tell what is usual")
        if sizes.values:
            found.series["scale_wobble"] = sizes
        found.details["face_scale"] = float(np.exp(np.median(scales))) if scales else None
        return found


def cell_means(change: NDArray[np.float32], mask: Image | None) -> Array:
    """Mean of a picture (S, S, 3) in each of 16 x 16 cells, (256, 3); NaN in cells that lie less than half inside."""
    means = resize(change, (CELLS, CELLS)).reshape(-1, 3).astype(np.float64)
    if mask is not None:
        means[resize(mask, (CELLS, CELLS)).reshape(-1) < 128] = np.nan
    return means
