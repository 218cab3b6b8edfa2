"""The rendered faces as training examples: read, split by person, cut as the pipeline cuts its crops.

In: folders of rendered faces (images/, labels/, faces.jsonl). Out: `Faces`, and `Sample`s of any size.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.detection.alignment import COVERAGE, crop_matrix, pose_at
from faceswap_pipeline.detection.meanface import MeanFace, Pose, fit_pose
from faceswap_pipeline.geometry import Array, transform_points
from faceswap_pipeline.imaging import Image, warp
from faceswap_pipeline.networks.parser import MIRROR

FIRST_VALIDATION_PERSON = 480
LEAST_FACE_SHARE = 0.06
"""Pictures with less face than this (hair over it, strong profile) are left out."""
INNER_FACE = (1, 2, 4, 5, 6)
"""Classes that make up the mask of the face."""
UNIT, GAZE, TURN = 0.25, 12.0, 20.0
"""What expression weights and degrees of gaze and pose are divided by, so that all are about as large."""


class Sample(NamedTuple):
    """One picture with its truth."""

    picture: Image
    """uint8 (S, S, 3) RGB."""
    label: NDArray[np.uint8]
    """(S, S), index into CLASSES."""
    landmarks: Array
    """(68, 2) px, pixel centres at whole numbers."""
    visible: NDArray[np.bool_]
    """(68,) inside the picture and not hidden."""


@dataclass(frozen=True)
class Faces:
    """Many labelled pictures; the compressed files are kept in memory, about 25 kB each."""

    images: list[bytes]
    labels: list[bytes]
    landmarks: Array
    """(N, 68, 2) px of the whole picture, pixel centres at whole numbers."""
    visible: NDArray[np.bool_]
    """(N, 68)."""
    rotations: Array
    """(N, 3, 3) in our axes: x right, y down, z away from the viewer."""
    angles: Array
    """(N, 3) yaw, pitch, roll in degrees as `geometry.rotation_matrix` takes them."""
    boxes: Array
    """(N, 4) of the inner face, px."""
    people: NDArray[np.int64]
    """(N,) number of the person."""
    performances: NDArray[np.int64]
    """(N,) number of the performance, which several people play alike; -1: nobody else's."""
    performed: NDArray[np.float32]
    """(N, 2, K) what the face does, whoever's it is: expression units, gaze, yaw and pitch, each about 0..1 in
    size; second as a mirror shows it.
    """

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, keep) -> "Faces":
        """The chosen examples: a slice, a bool (N,) or indexes."""
        chosen = np.arange(len(self))[keep]
        return Faces(
            [self.images[i] for i in chosen],
            [self.labels[i] for i in chosen],
            self.landmarks[chosen],
            self.visible[chosen],
            self.rotations[chosen],
            self.angles[chosen],
            self.boxes[chosen],
            self.people[chosen],
            self.performances[chosen],
            self.performed[chosen],
        )

    def picture(self, index: int) -> Image:
        """uint8 (H, W, 3) RGB."""
        return np.asarray(_decode(self.images[index], cv2.IMREAD_COLOR_RGB), np.uint8)

    def label(self, index: int) -> NDArray[np.uint8]:
        """(H, W), index into CLASSES."""
        return np.asarray(_decode(self.labels[index], cv2.IMREAD_GRAYSCALE), np.uint8)


def read_faces(*folders: Path) -> Faces:
    """All usable pictures of the folders, in the files' order."""
    rows, images, labels = [], [], []
    axes = np.diag([1.0, -1.0, -1.0])
    for folder in folders:
        for line in (folder / "faces.jsonl").read_text().splitlines():
            row = json.loads(line)
            if row["face_share"] >= LEAST_FACE_SHARE:
                rows.append(row)
                images.append((folder / row["image"]).read_bytes())
                labels.append((folder / row["label"]).read_bytes())
    return Faces(
        images,
        labels,
        np.array([row["landmarks"] for row in rows]) - 0.5,
        np.array([row["visible"] for row in rows], bool),
        np.array([axes @ np.array(row["rotation"]) @ axes for row in rows]),
        np.array([[row["yaw"], row["pitch"], row["roll"]] for row in rows]),
        np.array([row["face_box"] for row in rows]) - 0.5,
        np.array([row["identity"] for row in rows]),
        np.array([row.get("performance", -1) for row in rows]),
        read_performed(rows),
    )


def read_performed(rows: Sequence[dict[str, Any]]) -> NDArray[np.float32]:
    """What each face does, (N, 2, K), from the lines of `faces.jsonl`: as seen, and as a mirror shows it.

    NaN for lines that do not say.
    """
    units = sorted({side for row in rows for name in row.get("expression", {}) for side in (name, _mirrored(name))})
    made = np.full((len(rows), 2, len(units) + 4), np.nan, np.float32)
    order = [units.index(_mirrored(name)) for name in units]
    for index, row in enumerate(rows):
        if "expression" in row and "gaze_deg" in row:
            weights = np.array([row["expression"].get(name, 0.0) for name in units]) / UNIT
            gaze, turn = np.mean(row["gaze_deg"], 0) / GAZE, np.array([row["pitch"], row["yaw"]]) / TURN
            made[index, 0] = [*weights, *gaze, *turn]
            made[index, 1] = [*weights[order], *(gaze * [1, -1]), *(turn * [1, -1])]
    return made


def _mirrored(unit: str) -> str:
    """The name of the expression unit that a mirror shows."""
    swap = {"left": "right", "right": "left"}
    return "-".join(swap.get(word, word) for word in unit.split("-"))


def split_by_person(faces: Faces) -> tuple[Faces, Faces]:
    """Training and validation people (0480 to 0539), never mixed."""
    held = faces.people >= FIRST_VALIDATION_PERSON
    return faces[~held], faces[held]


def five_of(landmarks: Array) -> Array:
    """Where a detector would put its five points, (..., 5, 2), from 68 landmarks (..., 68, 2)."""
    eyes = [landmarks[..., 36:42, :].mean(-2), landmarks[..., 42:48, :].mean(-2)]
    return np.stack([*eyes, landmarks[..., 30, :], landmarks[..., 48, :], landmarks[..., 54, :]], -2)


def draw_matrices(
    mean_face: MeanFace, landmarks: Array, size: int, randoms: Sequence[np.random.Generator] | None
) -> list[Array]:
    """Picture px -> crop px, each (2, 3), as the pipeline would cut the faces of landmarks (N, 68, 2).

    With `randoms`, one a face, the five points are as unsure as a detector's and the crop is shaken in turn, size and
    place; without, it is the plain crop.
    """
    five = five_of(landmarks)
    if randoms is None:
        poses = fit_pose(mean_face, five)
        return [crop_matrix(pose_at(poses, i), size, COVERAGE) for i in range(len(five))]
    reach = np.ptp(landmarks[:, :, 1], axis=1)
    unsure = np.stack([random.normal(0, 0.012, (5, 2)) for random in randoms]) * reach[:, None, None]
    poses = fit_pose(mean_face, five + unsure)
    return [crop_matrix(shaken(pose_at(poses, i), random), size, COVERAGE) for i, random in enumerate(randoms)]


def shaken(pose: Pose, random: np.random.Generator) -> Pose:
    """A pose with its roll, size and place off by a little."""
    x, y = random.normal(0, 0.03, 2) * float(pose.scale)
    roll, scale = random.normal(0, 5), np.exp(random.normal(0, 0.06))
    return pose._replace(roll=pose.roll + roll, scale=pose.scale * scale, x=pose.x + x, y=pose.y + y)


def cut(faces: Faces, index: int, matrix: Array, size: int) -> Sample:
    """The example through a picture -> crop matrix."""
    landmarks = transform_points(matrix, faces.landmarks[index])
    inside = ((landmarks >= -0.5) & (landmarks <= size - 0.5)).all(1)
    return Sample(
        warp(faces.picture(index), matrix, (size, size), "linear", "reflect"),
        warp(faces.label(index), matrix, (size, size), "nearest", "reflect"),
        landmarks,
        faces.visible[index] & inside,
    )


def mirror(sample: Sample) -> Sample:
    """The sample seen in a mirror, its landmarks renamed."""
    landmarks = (sample.landmarks * [-1, 1] + [sample.picture.shape[1] - 1, 0])[MIRROR]
    return Sample(
        np.ascontiguousarray(sample.picture[:, ::-1]),
        np.ascontiguousarray(sample.label[:, ::-1]),
        landmarks,
        sample.visible[MIRROR],
    )


def _decode(data: bytes, mode: int) -> NDArray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), mode))
