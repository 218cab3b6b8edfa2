"""How far mouth and eyes open: does the new face open and shut them when the actor does.

In: face pairs. Out: the correlation over time of the openings, as the face parser gives them: the landmarks of the
inner lips, and how much there is to be seen of the eyeballs (the lids' landmarks hardly move when rendered lids shut).
"""

from collections.abc import Sequence

import numpy as np

from faceswap_pipeline.evaluate.groups import Findings, Group, Subject, cohorts, without_usual
from faceswap_pipeline.evaluate.pairs import FacePair
from faceswap_pipeline.geometry import Array
from faceswap_pipeline.imaging import Image
from faceswap_pipeline.networks.parser import CLASSES
from faceswap_pipeline.parsing import BATCH, FaceParser, Parsed

LIPS = ((61, 67), (62, 66), (63, 65))
"""Landmarks on the inner edge of the upper lip, each with the one below it."""
EYES = ((36, 39), (42, 45))
"""The corners of each eye."""
FEWEST_FACES = 24
"""Below this many faces nothing is said."""
STILL = {"mouth_opening": 0.01, "eye_opening": 0.015}
"""Openings that deviate less than this in the source are no movement that could be followed."""


class Opening(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._height = subject.face_height / subject.faces.crop_size
        self._parser = subject.parser
        self._waiting: list[Image] = []
        self._faces: list[tuple[int, int]] = []
        self._found: list[Array] = []

    def see_face(self, face: FacePair) -> None:
        """Keep how far both faces are open."""
        self._faces.append((face.record.track, face.record.person))
        self._waiting += [face.source, face.result]
        if self._parser is not None and len(self._waiting) >= BATCH:
            self._measure(self._parser)

    def _measure(self, parser: FaceParser) -> None:
        if self._waiting:
            self._found.append(openings(parser.parse(self._waiting), self._height))
            self._waiting.clear()

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        if self._parser is None:
            return Findings(missing=dict.fromkeys(STILL, "without a face parser"))
        self._measure(self._parser)
        if len(self._faces) < FEWEST_FACES:
            why = f"{len(self._faces)} faces were seen, {FEWEST_FACES} are needed"
            return Findings(missing=dict.fromkeys(STILL, why))
        alike = cohorts(*([face[i] for face in self._faces] for i in (0, 1)))
        values = np.concatenate(self._found).reshape(-1, 2, len(STILL))
        source, result = (without_usual(values[:, side], alike) for side in (0, 1))
        for column, (name, still) in enumerate(STILL.items()):
            moving = source[:, column].std() >= still
            follows = correlation(source[:, column], result[:, column]) if moving else np.nan
            found.put(name, follows, "it hardly moves in the source")
        return found


def openings(parsed: Parsed, height: float) -> Array:
    """How far mouth (share of the face's height) and eyes (eyeball, share of their width squared) are open, (N, 2), of
    N parsed crops in which a face is `height` of the side high.
    """
    points = parsed.landmarks.astype(np.float64)
    eyeball = parsed.chances[..., CLASSES.index("eye")].mean((1, 2), dtype=np.float64)
    width = _apart(points, EYES) + 1e-6
    return np.stack([_apart(points, LIPS) / height, eyeball / len(EYES) / width**2], -1)


def correlation(first: Array, second: Array) -> float:
    """Pearson's of two series (N,); 0 where the second does not move at all."""
    spread = first.std() * second.std()
    return float(((first - first.mean()) * (second - second.mean())).mean() / spread) if spread > 1e-12 else 0.0


def _apart(points: Array, pairs: Sequence[tuple[int, int]]) -> Array:
    """The mean distance (N,) between pairs of points (N, 68, 2)."""
    first, second = (list(side) for side in zip(*pairs, strict=True))
    return np.linalg.norm(points[:, first] - points[:, second], axis=-1).mean(-1)
