"""What a group of metrics is: it sees frames and faces one by one and says at the end what it found.

In: `FramePair`s and `FacePair`s. Out: `Findings`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.dataset import FaceDataset
from faceswap_pipeline.detection.meanface import MeanFace
from faceswap_pipeline.evaluate.pairs import FacePair, FramePair
from faceswap_pipeline.geometry import Array
from faceswap_pipeline.identity import Embedder
from faceswap_pipeline.parsing import FaceParser

LONG_TRACK, FEWEST_ALIKE = 12, 5
"""Faces from which a track has a usual look of its own, and those without which nothing is usual."""


@dataclass(frozen=True)
class Subject:
    """What all groups may know of the film before its frames come."""

    faces: FaceDataset
    """The dataset of the source."""
    index: int
    """The source's number in it."""
    other: FaceDataset | None
    """The dataset of the face that was put in."""
    other_missing: str
    """Why there is none."""
    mean_face: MeanFace
    sidecar: dict[str, Any]
    embedder: Embedder | None = None
    """What tells people apart."""
    parser: FaceParser | None = None
    """What finds 68 landmarks."""

    @property
    def face_height(self) -> float:
        """Height of every face in crop space, px."""
        return self.faces.crop_size / self.faces.coverage


@dataclass
class Series:
    """One figure over the film: frame indexes and values, as many of each."""

    frames: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, frame: int, value: float) -> None:
        """Append a value; those that are no number are left out."""
        if np.isfinite(value):
            self.frames.append(int(frame))
            self.values.append(float(value))

    def to_json(self) -> dict[str, list]:
        """Both as JSON values; five digits are more than any figure is worth."""
        return {"frames": self.frames, "values": [float(f"{value:.5g}") for value in self.values]}

    def mean(self) -> float:
        """The mean; NaN when empty."""
        return float(np.mean(self.values)) if self.values else float("nan")


@dataclass
class Findings:
    """What a group of metrics found."""

    values: dict[str, float] = field(default_factory=dict)
    """Figures by metric name."""
    series: dict[str, Series] = field(default_factory=dict)
    """Of those that were measured frame by frame."""
    missing: dict[str, str] = field(default_factory=dict)
    """Metrics that could not be measured, and why."""
    details: dict[str, Any] = field(default_factory=dict)
    """What else belongs beside the figures; plain JSON."""

    def put(self, name: str, value: float, why_not: str) -> None:
        """A figure, or why there is none when it is no number."""
        if np.isfinite(value):
            self.values[name] = float(value)
        else:
            self.missing[name] = why_not

    def put_series(self, name: str, series: Series, why_not: str) -> None:
        """A figure that is the mean of a series."""
        self.put(name, series.mean(), why_not)
        if series.values:
            self.series[name] = series


class Group:
    """Base of the groups of metrics: does nothing with what it sees."""

    def see_frame(self, pair: FramePair) -> None:
        """Called with every frame that is looked at, in order."""

    def see_face(self, face: FacePair) -> None:
        """Called with every face in them, in order."""

    def finish(self) -> Findings:
        """Called once at the end."""
        return Findings()


def root_mean_square(values: ArrayLike) -> float:
    """The quadratic mean; NaN when empty."""
    array = np.asarray(values, np.float64)
    return float(np.sqrt(np.mean(array**2))) if array.size else float("nan")


def cohorts(tracks: Sequence[int], persons: Sequence[int]) -> NDArray[np.int_]:
    """A number (N,) for each face; those of one number are compared with each other: the faces of a track, and of short
    tracks (single pictures are tracks of one) all those of a person.
    """
    counts = Counter(tracks)
    return np.array([t if counts[t] >= LONG_TRACK else -1 - p for t, p in zip(tracks, persons, strict=True)], int)


def without_usual(values: Array, groups: NDArray[np.int_]) -> Array:
    """Values (N, ...) less the median of their cohort (N,): what does not change over the film is left out.

    NaN in cohorts too small to have anything usual.
    """
    left = values.astype(np.float64)
    for group in set(groups.tolist()):
        own = groups == group
        left[own] = left[own] - np.median(left[own], 0) if own.sum() >= FEWEST_ALIKE else np.nan
    return left
