"""From a track's five landmarks to a steady pose of every frame, and from a pose to the matrix that cuts its crop.

In: landmarks (N, 5, 2) px of one track. Out: `Poses`, smoothed landmarks, and frame -> crop matrices.

Five points say little about how a head is turned, and the corners of the mouth move with speech. So the turn is
smoothed first; then the mean face, turned that way, is laid on the points with less weight on the mouth, and its
place, size and roll are smoothed. All channels are relative to the face's size.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.detection import smoothing
from faceswap_pipeline.detection.meanface import MeanFace, Pose, fit_in_plane, fit_pose
from faceswap_pipeline.geometry import Array, invert_matrix, similarity_matrix, transform_points

TEMPLATE = "mean-face-1"
COVERAGE = 1.56
"""Side of the crop over the height of the inner face: room for the training warps, chin and forehead."""
POINT_WEIGHTS = (1.0, 1.0, 1.0, 0.3, 0.3)
"""Trust in eyes, nose and mouth corners when the posed face is laid on them."""

TURN_LIMITS = (2.5, 0.5)
"""Fastest yaw and pitch believed, Hz. Five points hardly show pitch, and most of what they show is the mouth."""
PITCH_TRUST = 0.5
"""Share of the measured departure from the track's usual pitch that is believed."""
PLACE_LIMITS = (3.0, 3.0, 1.5, 3.0)
"""Fastest change of place x, place y, size and roll believed, Hz."""
SHAPE_LIMIT = 5.0
"""The same for the landmarks in the face's own frame: mouths are quick."""


class Aligned(NamedTuple):
    """A track, steadied."""

    pose: Pose
    """Every field (N,)."""
    landmarks: NDArray[np.float64]
    """(N, 5, 2) px."""


def crop_matrix(pose: Pose, crop_size: int, coverage: float = COVERAGE) -> Array:
    """Frame px -> crop px, (2, 3): upright, the face `crop_size / coverage` px high, its origin in the middle."""
    scale = crop_size / coverage / float(pose.scale)
    # Roll counts counter-clockwise; undoing it turns clockwise, which is the positive sense of a picture's angle.
    turn = similarity_matrix(scale, float(pose.roll), 0, 0)
    middle = (crop_size - 1) / 2
    turn[:, 2] = middle - turn[:, :2] @ [float(pose.x), float(pose.y)]
    return turn


def align_track(mean_face: MeanFace, landmarks: ArrayLike, measured: ArrayLike, rate: float) -> Aligned:
    """Steady poses and landmarks of one track: landmarks (N, 5, 2) px, measured (N,) false where they were filled.

    `rate`: frames a second.
    """
    points, measured = np.asarray(landmarks, np.float64), np.asarray(measured, bool)
    raw = fit_pose(mean_face, points)
    usual = float(np.median(np.asarray(raw.pitch)[measured]))
    pitch = usual + PITCH_TRUST * (np.asarray(raw.pitch) - usual)
    angles = smoothing.smooth(np.stack([np.asarray(raw.yaw), pitch], 1), measured, rate, TURN_LIMITS)
    placed = fit_in_plane(mean_face, points, angles[:, 0], angles[:, 1], POINT_WEIGHTS)
    size = float(np.median(np.asarray(placed.scale)[measured]))
    roll = np.degrees(np.unwrap(np.radians(placed.roll)))
    channels = np.stack(
        [np.asarray(placed.x) / size, np.asarray(placed.y) / size, np.log(placed.scale), np.radians(roll)], 1
    )
    x, y, log_scale, roll = smoothing.smooth(channels, measured, rate, PLACE_LIMITS).T
    degrees = (np.degrees(roll) + 180) % 360 - 180
    pose = Pose(angles[:, 0], angles[:, 1], degrees, np.exp(log_scale), x * size, y * size)
    return Aligned(pose, _steady_points(points, measured, pose, rate))


def pose_at(pose: Pose, index: int) -> Pose:
    """One frame of a pose whose fields are (N,)."""
    return Pose(*(float(np.asarray(value)[index]) for value in pose))


def _steady_points(points: Array, measured: NDArray[np.bool_], pose: Pose, rate: float) -> Array:
    """The landmarks smoothed in the face's own frame, where the head's motion is undone."""
    matrices = [crop_matrix(pose_at(pose, index), 1, 1.0) for index in range(len(points))]
    own = np.stack([transform_points(matrix, five) for matrix, five in zip(matrices, points, strict=True)])
    steady = smoothing.smooth(own.reshape(len(points), 10), measured, rate, SHAPE_LIMIT).reshape(-1, 5, 2)
    return np.stack(
        [transform_points(invert_matrix(matrix), five) for matrix, five in zip(matrices, steady, strict=True)]
    )
