"""Performance kept: does the new face do what the actor's did.

In: face pairs. Out: landmark distances, head pose, and how much of the movement of mouth and eyes is found again.

Five landmarks say nothing of an opening mouth or a closing eye. What can be said without more landmarks is how much of
the way the actor's mouth changes its looks can be read off the new mouth, whatever its shape and colour: a linear
map is learnt from one to the other on four fifths of the film and tried on the last fifth, five times.
"""

from collections import defaultdict

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.detection.meanface import fit_pose
from faceswap_pipeline.evaluate.groups import Findings, Group, Series, Subject, cohorts, without_usual
from faceswap_pipeline.evaluate.pairs import FacePair
from faceswap_pipeline.geometry import Array
from faceswap_pipeline.imaging import Image

PATCH = (24, 16)
"""Size (width, height) at which mouth and eyes are compared, px."""
COMPONENTS_READ, COMPONENTS_WANTED = 8, 4
"""Main components of the result's patch that are read, and of the source's that are to be found."""
RIDGE = 0.02
"""Shrinkage of the map from one to the other, share of the components' variance."""
FOLDS = 5
FEWEST_FACES = 24
"""Below this many faces nothing is said of movement."""
FLAT = 4.0
"""Grey levels: patches with less contrast than this are not stretched to the usual one."""
REGIONS = {"mouth_follows": "mouth", "eyes_follow": "eyes"}


class Performance(Group):
    """See the file's docstring."""

    def __init__(self, subject: Subject) -> None:
        self._mean_face = subject.mean_face
        five = subject.mean_face.five
        self._eye_distance = float(np.linalg.norm(five[1, :2] - five[0, :2])) * subject.face_height
        self._faces: list[tuple[int, int, int]] = []
        self._fives: list[tuple[Array, Array]] = []
        self._angles: list[tuple[float, float, float]] = []
        self._patches: dict[str, list[tuple[int, Image, Image]]] = defaultdict(list)

    def see_face(self, face: FacePair) -> None:
        """Keep landmarks and small pictures of mouth and eyes."""
        record = face.record
        for name, kind in REGIONS.items():
            if kind in face.masks and face.masks[kind].any():
                before, after = (patch(picture, face.masks[kind]) for picture in (face.source, face.result))
                self._patches[name].append((len(self._faces), before, after))
        self._faces.append((record.frame, record.track, record.person))
        self._fives.append((face.source_five, face.result_five))
        self._angles.append((record.yaw, record.pitch, record.roll))

    def finish(self) -> Findings:
        """The figures."""
        found = Findings()
        frames = [frame for frame, _, _ in self._faces]
        alike = cohorts(*([face[i] for face in self._faces] for i in (1, 2)))
        source, result = np.array(self._fives).reshape(-1, 2, 5, 2).transpose(1, 0, 2, 3)
        offset = (result - source) / self._eye_distance
        moving = without_usual(offset, alike)
        turned = pose_differences(self._poses(source), self._poses(result), alike)
        for name, values in (
            ("landmark_distance", np.linalg.norm(offset, axis=-1).mean(-1)),
            ("landmark_motion", np.linalg.norm(moving, axis=-1).mean(-1)),
            ("pose_difference", turned),
        ):
            series = Series()
            for frame, value in zip(frames, values, strict=True):
                series.add(frame, value)
            found.put_series(name, series, "too few faces are seen to tell what is usual")
        for name, kind in REGIONS.items():
            kept = self._patches[name]
            if len(kept) < FEWEST_FACES:
                found.missing[name] = (
                    f"{len(kept)} faces with a mask of the {kind} were seen, {FEWEST_FACES} are needed"
                )
                continue
            rows = [row for row, _, _ in kept]
            before, after = (np.array([patches[side] for patches in kept]) for side in (1, 2))
            share = movement_found(before, after, np.array(self._angles)[rows], alike[rows])
            found.values[name] = max(0.0, share)
        return found

    def _poses(self, fives: Array) -> Array:
        """Yaw, pitch, roll (N, 3) in degrees of landmarks (N, 5, 2)."""
        if not len(fives):
            return np.zeros((0, 3))
        pose = fit_pose(self._mean_face, fives)
        return np.stack([np.asarray(angle) for angle in (pose.yaw, pose.pitch, pose.roll)], -1)


def pose_differences(first: Array, second: Array, alike: NDArray[np.int_]) -> Array:
    """How far apart (N,) two ways of holding the head are, yaw, pitch and roll (N, 3) in degrees, less their usual
    difference in each cohort (N,): the length of the rotation between them, to first order.
    """
    apart = (second - first + 180) % 360 - 180
    return np.linalg.norm(without_usual(apart, alike), axis=1)


def patch(crop: Image, mask: Image) -> Image:
    """The part of a crop (S, S, 3) in the bounding box of a mask (S, S), grey, uint8 (16, 24)."""
    x, y, width, height = cv2.boundingRect(mask)
    grey = cv2.cvtColor(crop[y : y + height, x : x + width], cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, PATCH, interpolation=cv2.INTER_AREA), np.uint8)


def movement_found(
    source: Image, result: Image, poses: Array, alike: NDArray[np.int_], wanted: int = COMPONENTS_WANTED
) -> float:
    """Share of the movement in `source` patches (N, h, w) that can be read off the `result` ones: 1 all, 0 none.

    What the head's turn `poses` (N, 3) explains is taken out of both first, and the usual look of each cohort
    `alike` (N,). It can come
    out below 0 where chance is mistaken for movement.
    """
    causes = _pose_terms(poses, alike)
    read = _components(_less_explained(_evened(result), causes), COMPONENTS_READ)
    aim = _components(_less_explained(_evened(source), causes), wanted)
    read = read / np.maximum(read.std(0), 1e-9)
    count = len(read)
    left = whole = 0.0
    for fold in range(FOLDS):
        held = np.zeros(count, bool)
        held[fold * count // FOLDS : (fold + 1) * count // FOLDS] = True
        columns = np.column_stack([read, np.ones(count)])
        seen = columns[~held]
        shrink = RIDGE * len(seen) * np.eye(columns.shape[1])
        way = np.linalg.solve(seen.T @ seen + shrink, seen.T @ aim[~held])
        left += float(((aim[held] - columns[held] @ way) ** 2).sum())
        whole += float(((aim[held] - aim[~held].mean(0)) ** 2).sum())
    return 1 - left / max(whole, 1e-9)


def _evened(patches: Image) -> Array:
    """Patches as rows (N, h * w) of one brightness and contrast."""
    rows = patches.reshape(len(patches), -1).astype(np.float64)
    rows -= rows.mean(1, keepdims=True)
    return rows / np.maximum(rows.std(1, keepdims=True), FLAT)


def _pose_terms(poses: Array, alike: NDArray[np.int_]) -> Array:
    """Columns (N, C): one for each cohort, the angles, their squares and yaw times pitch."""
    spread = np.maximum(poses.std(0), 1.0)
    angles = (poses - poses.mean(0)) / spread
    own = [alike == cohort for cohort in sorted(set(alike.tolist()))]
    return np.column_stack([np.stack(own, 1), angles, angles**2, angles[:, 0] * angles[:, 1]]).astype(np.float64)


def _less_explained(rows: Array, causes: Array) -> Array:
    return rows - causes @ np.linalg.lstsq(causes, rows, rcond=None)[0]


def _components(rows: Array, count: int) -> Array:
    """The main components (N, count) of rows (N, D)."""
    if len(rows) < rows.shape[1]:
        left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
        return left[:, :count] * sizes[:count]
    _, vectors = np.linalg.eigh(rows.T @ rows)
    return rows @ vectors[:, ::-1][:, :count]
