"""Identity: for whom would one take the face in the film.

In: face pairs, the datasets of both persons, something that turns faces into directions. Out: how surely the result's
faces are the new person's, the old one's or neither's, by a probe that is checked on real faces it did not learn from.
"""

from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.evaluate.detectability import spread
from faceswap_pipeline.evaluate.groups import Findings, Group, Series, Subject
from faceswap_pipeline.evaluate.pairs import FacePair
from faceswap_pipeline.identity import BATCH, Embedder, Faces, cut_to, probe_between
from faceswap_pipeline.imaging import Image

NAMES = {"identity": 1, "old_identity": 0, "no_identity": 2}
"""Metrics by the column of the probe's chances: A is the old face, B the new one."""
FEWEST = 12
"""Faces of each person without which no probe is made."""


class Identity(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._new = masked_faces(subject.other) if subject.embedder and subject.other else []
        self._others = cycle(self._new)
        self._waiting: list[tuple[Image, Image]] = []
        self._frames: list[int] = []
        self._found: list[NDArray[np.float32]] = []

    def see_face(self, face: FacePair) -> None:
        """Keep whom the result's face looks like."""
        if not self._new or self._subject.embedder is None or not face.closely or "face" not in face.masks:
            return
        self._frames.append(face.record.frame)
        self._waiting += cut_to([(face.result, face.masks["face"])], [next(self._others)])
        if len(self._waiting) == BATCH:
            self._embed(self._subject.embedder)

    def _embed(self, embedder: Embedder) -> None:
        if self._waiting:
            self._found.append(embedder.embed(*zip(*self._waiting, strict=True)))
            self._waiting.clear()

    def finish(self) -> Findings:
        """The figures."""
        found, subject = Findings(), self._subject
        missing = _missing(subject)
        if missing or subject.embedder is None or subject.other is None:
            found.missing = dict.fromkeys(NAMES, missing)
            return found
        self._embed(subject.embedder)
        old = masked_faces(subject.faces)
        fewest = min(len(old), len(self._new))
        if fewest < FEWEST or not self._found:
            found.missing = dict.fromkeys(NAMES, f"{fewest} faces with a mask are there, {FEWEST} are needed")
            return found
        probe = probe_between(subject.embedder, old, self._new)
        found.details = {"agreement": probe.agreement, "trustworthy": probe.trustworthy}
        chances = probe.chances(np.concatenate(self._found))
        if probe.doubt:
            found.missing = dict.fromkeys(NAMES, probe.doubt)
            found.details["untrusted"] = {name: float(chances[:, column].mean()) for name, column in NAMES.items()}
            return found
        for name, column in NAMES.items():
            series = Series()
            for frame, chance in zip(self._frames, chances[:, column], strict=True):
                series.add(frame, chance)
            found.put_series(name, series, "no face was seen")
        return found


def masked_faces(dataset: FaceDataset) -> Faces:
    """A few hundred faces of a dataset, in the order of time."""
    return [(dataset.crop(record), dataset.mask(record, "face")) for record in spread(dataset)]


def _missing(subject: Subject) -> str:
    """Why nothing can be said; empty when something can."""
    if subject.other is None:
        return f"the dataset of the new face cannot be opened ({subject.other_missing})"
    return (
        "" if subject.embedder is not None else "no embedding comes with this version; --face-embedding names your own"
    )
