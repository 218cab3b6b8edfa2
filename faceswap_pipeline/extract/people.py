"""Who is who: the tracks of a dataset's films grouped into persons, across cuts and films, by the identity embedding.

In: what is known of each track, its direction in the embedding before all. Out: a person number for each track, 0 for
the one seen longest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.geometry import box_iou
from faceswap_pipeline.imaging import Image, resize

SAMPLE_SIZE = 64
"""Side of the small aligned pictures in pixels."""
SAME = 0.25
"""Tracks nearer than this (`distance_between`) are taken for one person. Measured on filmed people: 0.01 to 0.2 between
pieces of one person's films, up to 0.4 where the face is tiny, covered or dark; 0.2 to 0.6 between persons."""
PAUSE_SECONDS, SAME_PLACE, CONTINUED = 1.0, 0.4, 0.45
"""A track that begins in the same shot within so long of another's end, in a box that overlaps with the other's last
one by so much (IoU), goes on with it if it is nearer than this, which replaces `SAME` there: who was covered for a
moment, or looked away, is half covered or half turned just before and after. Measured: 0.39 and 0.42 between such
pieces of one person; neighbours in a crowd 0.22 to 0.55, and nobody stood where another had just been."""
UNSURE = 0.35
"""Persons with tracks nearer than this may be one after all."""


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
    direction: NDArray[np.floating]
    """(D,) of length one: where the embedding puts the person; (0,) where it was not asked."""


def mean_direction(embeddings: NDArray[np.floating]) -> NDArray[np.floating]:
    """One direction (D,) for several embeddings (N, D) of a person: their mean, of length one."""
    mean = embeddings.mean(0)
    return mean / max(float(np.linalg.norm(mean)), 1e-9)


def distance_between(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """How unlike two persons' directions (D,) are: 0 the same, 1 nothing in common."""
    return 1 - float(first @ second)


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
    distance = np.full((count, count), np.inf)
    for high in range(1, count):
        for low in range(high):
            if not _together(tracks[low], tracks[high]):
                near = distance_between(tracks[low].direction, tracks[high].direction)
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
