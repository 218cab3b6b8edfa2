"""Who is who: the tracks of a dataset's films grouped into persons, across cuts and films, by how their faces look.

In: small aligned pictures of each track. Out: a person number for each track, 0 for the one seen longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.detection.alignment import COVERAGE
from faceswap_pipeline.geometry import box_iou
from faceswap_pipeline.imaging import Image, middle, resize

SAMPLE_SIZE = 64
"""Side of the small aligned pictures in pixels."""
SAME = 0.115
"""Tracks nearer than this (`distance_between`) are taken for one person. Measured on filmed and rendered people: 0.01
to 0.11 between pieces of one person's film, 0.12 to 0.3 between persons."""
PAUSE_SECONDS, SAME_PLACE, CONTINUED = 1.0, 0.4, 0.25
"""A track that begins in the same shot within so long of another's end, in a box that overlaps with the other's last
one by so much (IoU), goes on with it if it is nearer than this, which replaces `SAME` there: who was covered for a
moment, or looked away, is half covered or half turned just before and after. Measured: 0.20 and 0.23 between such
pieces of one person; neighbours in a crowd 0.22 to 0.35, and nobody stood where another had just been."""
UNSURE = 0.16
"""Persons with tracks nearer than this may be one after all."""
_CELLS, _DIRECTIONS = 8, 8


@dataclass(frozen=True)
class TrackLook:
    """What is known of one track when persons are told apart."""

    source: int
    first: int
    last: int
    """First and last frame."""
    frames: int
    """How many frames the face was measured in."""
    samples: list[Image]
    """Aligned uint8 (64, 64, 3)."""
    shot: int
    """Number of the shot within the source."""
    times: tuple[float, float]
    """Of its first and last frame, seconds."""
    boxes: NDArray[np.floating]
    """(2, 4) px in its first and last frame."""


def descriptor(crop: Image) -> NDArray[np.float32]:
    """How a face looks, as a vector of length one: edge directions of the colour-normalised inner face.

    `crop` is aligned, uint8 (S, S, 3), of the usual coverage. Light and skin tone are taken out on purpose: the same
    person is filmed under several lights. Dalal and Triggs, "Histograms of oriented gradients", 2005, on a masked face.
    """
    inner = round(crop.shape[0] / COVERAGE / 2) * 2
    grey = cv2.cvtColor(crop[middle(crop.shape[:2], inner)], cv2.COLOR_RGB2GRAY)
    grey = resize(grey, (64, 64)).astype(np.float32)
    mask = np.zeros((64, 64), np.float32)
    cv2.ellipse(mask, (32, 32), (24, 31), 0, 0, 360, 1.0, -1)
    mean = float((grey * mask).sum() / mask.sum())
    spread = float(np.sqrt((((grey - mean) * mask) ** 2).sum() / mask.sum()))
    grey = (grey - mean) / max(spread, 1.0)
    down, across = np.gradient(grey)
    strength, angle = np.hypot(across, down) * mask, np.arctan2(down, across) % np.pi
    bins = np.minimum((angle / np.pi * _DIRECTIONS).astype(int), _DIRECTIONS - 1)
    cell = np.arange(64) * _CELLS // 64
    where = (cell[:, None] * _CELLS + cell[None]) * _DIRECTIONS + bins
    counts = np.bincount(where.ravel(), strength.ravel(), _CELLS * _CELLS * _DIRECTIONS)
    counts = np.sqrt(counts)
    return (counts / max(float(np.linalg.norm(counts)), 1e-9)).astype(np.float32)


def distance_between(first: Sequence[Image], second: Sequence[Image]) -> float:
    """How unlike two faces look, 0 (the same picture) to 1: the lower quartile over all pairs of their crops.

    So a face that is covered or turned away in most of its crops still shows who it is in the others.
    """
    looks = [np.array([descriptor(crop) for crop in crops]) for crops in (first, second)]
    return float(np.percentile(1 - looks[0] @ looks[1].T, 25))


def group(tracks: Sequence[TrackLook]) -> list[int]:
    """A person number for each track; 0 is the person with most measured frames, and so on.

    Nearest groups are joined first (mean distance of their tracks), as long as they are near enough and no two of their
    tracks share a frame: nobody is in one picture twice.
    """
    count = len(tracks)
    distance = _distances(tracks)
    members = {index: [index] for index in range(count)}
    while len(members) > 1 and distance.min() < SAME:
        low, high = sorted(divmod(int(distance.argmin()), count))
        share = len(members[low]) / (len(members[low]) + len(members[high]))
        # Not-together stays not-together: infinity outweighs every mean.
        distance[low] = distance[:, low] = share * distance[low] + (1 - share) * distance[high]
        distance[high] = distance[:, high] = np.inf
        distance[low, low] = np.inf
        members[low] += members.pop(high)
    groups = list(members.values())
    groups.sort(key=lambda members: (-sum(tracks[i].frames for i in members), members[0]))
    persons = [0] * len(tracks)
    for number, members in enumerate(groups):
        for index in members:
            persons[index] = number
    return persons


def doubts(tracks: Sequence[TrackLook], persons: Sequence[int]) -> list[tuple[int, int, float]]:
    """Pairs of persons (numbers of `group`) who may be one, with how far apart their nearest tracks are, in order."""
    distance = _distances(tracks)
    numbers = np.array(persons)
    pairs = []
    for high in range(1, max(persons, default=-1) + 1):
        for low in range(high):
            between = distance[np.ix_(numbers == low, numbers == high)]
            # One shared picture is enough to know that they are two.
            if np.isfinite(between).all() and between.min(initial=np.inf) < UNSURE:
                pairs.append((low, high, float(between.min())))
    return sorted(pairs, key=lambda pair: pair[2])


def _distances(tracks: Sequence[TrackLook]) -> NDArray[np.float64]:
    """How unlike the faces of any two tracks are, (N, N); infinite for tracks that share a frame, and to themselves.

    Less, by `SAME / CONTINUED`, where one goes on where the other had ended.
    """
    count = len(tracks)
    looks = [np.array([descriptor(sample) for sample in track.samples]) for track in tracks]
    distance = np.full((count, count), np.inf)
    for high in range(1, count):
        for low in range(high):
            if not _together(tracks[low], tracks[high]):
                near = float(np.percentile(1 - looks[low] @ looks[high].T, 25))
                if _goes_on(tracks[low], tracks[high]):
                    near *= SAME / CONTINUED
                distance[low, high] = distance[high, low] = near
    return distance


def contact_sheet(persons: Sequence[tuple[int, int, float, Sequence[Image]]], chosen: Sequence[int]) -> Image:
    """people.jpg: a row for each person (number, frames, seconds, samples) with what `--person` calls it."""
    tile, columns = 96, 8
    rows = []
    for number, frames, seconds, samples in persons:
        picks = [samples[i] for i in np.unique(np.linspace(0, len(samples) - 1, columns).astype(int))]
        row = np.full((tile + 24, tile * columns, 3), 255, np.uint8)
        for column, sample in enumerate(picks):
            row[24:, column * tile : (column + 1) * tile] = resize(sample, (tile, tile))
        text = f"person {number}: {frames} frames, {seconds:.1f} s{', chosen' if number in chosen else ''}"
        cv2.putText(row, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        rows.append(row)
    return np.concatenate(rows)


def _together(first: TrackLook, second: TrackLook) -> bool:
    return first.source == second.source and first.first <= second.last and second.first <= first.last


def _goes_on(one: TrackLook, other: TrackLook) -> bool:
    """Whether one of them begins soon after the other has ended, in the same shot and place."""
    first, second = sorted((one, other), key=lambda track: track.first)
    pause = second.times[0] - first.times[1]
    if (first.source, first.shot) != (second.source, second.shot) or not 0 < pause <= PAUSE_SECONDS:
        return False
    return float(box_iou(first.boxes[1], second.boxes[0])[0, 0]) >= SAME_PLACE
