"""Coverage: which faces were in fact replaced, and why the other frames were passed through.

In: frame and face pairs, the dataset's list of frames. Out: the share of faces replaced, frames by what became of them.
"""

from collections import Counter

import numpy as np

from faceswap_pipeline.evaluate.groups import Findings, Group, Series, Subject
from faceswap_pipeline.evaluate.pairs import FacePair, FramePair
from faceswap_pipeline.imaging import resize

CELLS = 32
"""Cells a side of a crop, whose mean colours are compared: encoding leaves little of itself there."""
LEAST = 1.5
"""Grey levels by which a replaced face differs from the source at least, root mean square."""
NOISIER = 2.0
"""And by how much more than its surroundings do."""


class Coverage(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._reasons = {row.frame: row.reason for row in subject.faces.frame_rows() if row.source == subject.index}
        self._declared = subject.sidecar.get("frames", {})
        self._swapped = Series()
        self._passed: Counter[str] = Counter()

    def see_frame(self, pair: FramePair) -> None:
        """Count a frame without a face, by the reason."""
        if pair.closely and not pair.records:
            self._passed[self._reasons.get(pair.index) or "not looked at"] += 1

    def see_face(self, face: FacePair) -> None:
        """Look whether a face was replaced."""
        if face.closely:
            self._swapped.add(face.record.frame, float(was_replaced(face)))

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        found.put_series("swapped", self._swapped, "the film shows no face")
        left = [frame for frame, value in zip(self._swapped.frames, self._swapped.values, strict=True) if not value]
        found.details = {
            "frames_swapped": len(set(self._swapped.frames) - set(left)),
            "frames_passed_through": dict(self._passed.most_common()),
            "frames_with_the_old_face": sorted(set(left)),
            "declared_by_sidecar": self._declared,
        }
        return found


def was_replaced(face: FacePair) -> bool:
    """Whether the face differs from the source by more than encoding does."""
    change = face.result.astype(np.float32) - face.source
    energy = (resize(change, (CELLS, CELLS)) ** 2).mean(2)
    inside = resize(face.inside.astype(np.uint8) * 255, (CELLS, CELLS)) > 127
    mask = resize(face.masks["face"], (CELLS, CELLS)) > 127 if "face" in face.masks else inside
    within, around = (
        float(np.sqrt(energy[part].mean())) if part.any() else 0.0 for part in (mask & inside, ~mask & inside)
    )
    return within > max(LEAST, NOISIER * around)
