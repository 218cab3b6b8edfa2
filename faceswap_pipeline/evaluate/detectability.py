"""Detectability: can a simple program tell a small piece of a swapped face from a piece of a real one by its texture.

In: face pairs, the dataset of the person whose face was put in. Out: its accuracy on stretches of film that it has not
learnt from; one half is perfect.

A whole film of one face in one light is told from any other film without effort, swapped or not. So single pieces are
judged, and what a film does to all its faces (light, sharpness, noise, encoding) is taken out first: each figure that
describes a piece is counted from the mean and in the deviations of the real faces of the same film.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.evaluate.groups import Findings, Group, Subject
from faceswap_pipeline.evaluate.pairs import FacePair
from faceswap_pipeline.geometry import Array
from faceswap_pipeline.imaging import Image, resize
from faceswap_pipeline.records import FaceRecord

SIDE, PIECE = 192, 24
"""Pixels of the square at which faces are looked at, and of the square pieces that are judged."""
BANDS = 8
"""Rings of the spectrum."""
NEIGHBOURS = 8
MOST = 400
"""Real faces that are read at most."""
FEWEST = 12
"""Faces of each kind without which nothing is said."""
FOLDS = 5
SHRINK = 0.1
"""How far the covariance is drawn towards a multiple of the identity (Ledoit and Wolf 2004 with a fixed share)."""


class Detectability(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._other, self._missing = subject.other, subject.other_missing
        self._swapped: list[Array] = []
        self._source: list[Array] = []

    def see_face(self, face: FacePair) -> None:
        """Keep what a face's texture is described by."""
        if self._other is None or not face.closely or "face" not in face.masks:
            return
        self._swapped.append(describe(face.result, face.masks["face"]))
        self._source.append(describe(face.source, face.masks["face"]))

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        if self._other is None:
            found.missing["detected"] = f"the dataset of the new face cannot be opened ({self._missing})"
            return found
        real = [describe(self._other.crop(record), self._other.mask(record, "face")) for record in spread(self._other)]
        real, source, swapped = ([face for face in faces if len(face)] for faces in (real, self._source, self._swapped))
        fewest = min(len(real), len(swapped), len(source))
        if fewest < FEWEST:
            found.missing["detected"] = f"{fewest} faces with a mask are there to compare, {FEWEST} are needed"
            return found
        found.values["detected"] = told_apart(evened(real, real), evened(swapped, source))
        found.details = {"real_faces": len(real), "swapped_faces": len(swapped)}
        return found


def spread(dataset: FaceDataset) -> Sequence[FaceRecord]:
    """At most `MOST` records with crop and mask, spread evenly over the dataset."""
    records = [r for r in dataset.records if dataset.has_crop(r) and dataset.has_mask(r, "face")]
    chosen = np.unique(np.linspace(0, len(records) - 1, min(len(records), MOST)).astype(int))
    return [records[index] for index in chosen]


def describe(crop: Image, mask: Image) -> Array:
    """The texture of every piece of a face that lies in its mask, (pieces, 19).

    Of each piece the log power in rings of frequency, how often each rotation-invariant uniform local binary pattern
    occurs (Ojala, Pietikainen and Maenpaa 2002), both with brightness and contrast evened out, and the contrast.
    """
    grey = resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (SIDE, SIDE)).astype(np.float32)
    inside = resize(mask, (SIDE, SIDE)) > 127
    rows = []
    for y in range(0, SIDE - PIECE + 1, PIECE):
        for x in range(0, SIDE - PIECE + 1, PIECE):
            place = np.s_[y : y + PIECE, x : x + PIECE]
            if inside[place].all():
                contrast = float(grey[place].std())
                even = (grey[place] - grey[place].mean()) / max(contrast, 1.0)
                rows.append(np.concatenate([_spectrum(even), _patterns(even), [np.log(contrast + 1)]]))
    return np.array(rows, np.float64).reshape(-1, BANDS + NEIGHBOURS + 3)


def evened(faces: Sequence[Array], real: Sequence[Array]) -> list[Array]:
    """Descriptions (pieces, D) of faces, from the mean and in the deviations of the real faces of the same film."""
    pieces = np.concatenate(real)
    return [(face - pieces.mean(0)) / (pieces.std(0) + 1e-9) for face in faces]


def told_apart(first: Sequence[Array], second: Sequence[Array]) -> float:
    """Accuracy (0..1) of a linear discriminant that tells pieces of one list of faces from pieces of the other.

    Each fifth of both films in turn is judged by what was learnt from the rest, so that no face is judged by its
    neighbours in time; both kinds count alike.
    """
    rights = []
    for fold in range(FOLDS):
        held = [_fold(len(faces), fold) for faces in (first, second)]
        a, b = (
            np.concatenate([face for face, out in zip(faces, own, strict=True) if not out])
            for faces, own in zip((first, second), held, strict=True)
        )
        covariance = (np.cov(a.T) + np.cov(b.T)) / 2
        covariance = (1 - SHRINK) * covariance + SHRINK * np.trace(covariance) / len(covariance) * np.eye(a.shape[1])
        way = np.linalg.solve(covariance, b.mean(0) - a.mean(0))
        middle = way @ (a.mean(0) + b.mean(0)) / 2
        called_second = [
            np.concatenate([face for face, out in zip(faces, own, strict=True) if out]) @ way > middle
            for faces, own in zip((first, second), held, strict=True)
        ]
        rights.append((1 - called_second[0].mean() + called_second[1].mean()) / 2)
    return float(np.mean(rights))


def _fold(count: int, fold: int) -> NDArray[np.bool_]:
    held = np.zeros(count, bool)
    held[fold * count // FOLDS : (fold + 1) * count // FOLDS] = True
    return held


def _spectrum(piece: NDArray[np.float32]) -> Array:
    """Log power in rings of frequency of a piece (h, w)."""
    window = np.outer(np.hanning(piece.shape[0]), np.hanning(piece.shape[1]))
    power = np.abs(np.fft.rfft2(piece * window)) ** 2
    y, x = np.fft.fftfreq(piece.shape[0])[:, None], np.fft.rfftfreq(piece.shape[1])[None]
    ring = np.minimum((np.hypot(y, x) * 2 * BANDS).astype(int), BANDS - 1).ravel()
    counts = np.maximum(np.bincount(ring, minlength=BANDS), 1)
    return np.log(np.bincount(ring, power.ravel(), BANDS) / counts + 1e-3)


def _patterns(piece: NDArray[np.float32]) -> Array:
    """Shares of the ten rotation-invariant uniform patterns of eight neighbours in a piece."""
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    brighter = np.stack([np.roll(piece, shift, (0, 1)) >= piece for shift in around])
    changes = (brighter != np.roll(brighter, 1, 0)).sum(0)
    pattern = np.where(changes <= 2, brighter.sum(0), NEIGHBOURS + 1).ravel()
    return np.bincount(pattern, minlength=NEIGHBOURS + 2) / pattern.size
