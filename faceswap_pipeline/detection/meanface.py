"""The mean face in three dimensions and how a head stands: what five landmarks say about yaw, pitch, roll, size and
place.

In: five landmarks (5, 2) px of one face, or (N, 5, 2) of many, in the order left eye, right eye, nose, mouth left,
mouth right. Out: a `Pose`, and points of the mean face projected to pixels with it.

Head frame: x right, y down, z away from the viewer; the unit is the height of the inner face's border (the oval) seen
from the front; the origin is the centre of the oval's bounding box seen from the front, at the depth where a turn of
the head moves the face's picture least. Projection is weak perspective: turn, drop z, scale, shift.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.errors import WeightsError
from faceswap_pipeline.geometry import Array

Value = float | NDArray[np.float64]
"""One number, or one number a face (N,)."""

AT_ONCE = 4096
"""Faces that are fitted together: about 10 MB."""
STEPS = 12
"""Gauss-Newton steps of `fit_pose`; after eight of them no face of the rendered set is 0.02 degrees from the end."""


class Pose(NamedTuple):
    """How a head stands in a picture; every field is one number or (N,).

    The head is turned first by pitch, then by yaw, then rolled in the plane of the picture. So yaw and pitch describe
    the face as it is seen upright, once the roll is undone; with roll 0 they are those of `geometry.rotation_matrix`,
    which rolls first and differs by cross terms when a head is rolled and turned at once.
    """

    yaw: Value
    """Degrees, > 0 turned to the picture's right."""
    pitch: Value
    """Degrees, > 0 down."""
    roll: Value
    """Degrees in the picture plane, > 0 counter-clockwise."""
    scale: Value
    """Pixels per face height (height of the oval of a face seen from the front, at this face's distance)."""
    x: Value
    """Pixels, where the head frame's origin lies."""
    y: Value


class PosePrior(NamedTuple):
    """What is believed before five points are seen: normal distributions, in degrees.

    Five points nearly fix the yaw but not the pitch: an opening mouth, a long nose and a nod look much alike.
    """

    yaw: float = 0.0
    pitch: float = 0.0
    yaw_deviation: float = 40.0
    pitch_deviation: float = 12.0


USUAL_PRIOR = PosePrior()
"""A head that mostly looks at the camera."""


@dataclass(frozen=True)
class MeanFace:
    """The mean of many faces, in the head frame and its unit; symmetric left to right. All float64."""

    points: Array
    """(68, 3): the 68 landmarks in the order of iBUG 300-W, 0-16 jaw from the picture's left."""
    five: Array
    """(5, 3): where MTCNN puts left eye, right eye, nose, mouth left, mouth right."""
    five_covariance: Array
    """(10, 10): how five measured points of a person scatter about `five` once the pose is undone, over x, y, x, y
    ... .
    """
    oval: Array
    """(K, 3): the closed border of the inner face, from the middle of the forehead to the picture's right,
    clockwise.
    """


def load_mean_face(path: Path) -> MeanFace:
    """Read the .npz with the arrays of `MeanFace`. Raises WeightsError when it is missing or is not such a file."""
    names = MeanFace.__dataclass_fields__
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name], np.float64) for name in names}
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path} is no mean face: expected an .npz with {', '.join(names)} ({error})") from error
    face = MeanFace(**arrays)
    shapes = (face.points.shape, face.five.shape, face.five_covariance.shape, face.oval.shape[1:])
    if shapes != ((68, 3), (5, 3), (10, 10), (3,)):
        raise WeightsError(f"{path} is no mean face: shapes of points, five, five_covariance and oval are {shapes}")
    return face


def posed(points: ArrayLike, yaw: Value, pitch: Value) -> Array:
    """Points (P, 3) of the head frame turned by degrees and seen upright: (P, 2), or (N, P, 2) for angles (N,); face
    heights.
    """
    x, y, z = np.asarray(points, np.float64).T
    turn, nod = np.radians(yaw)[..., None], np.radians(pitch)[..., None]
    depth = y * np.sin(nod) + z * np.cos(nod)
    return np.stack([x * np.cos(turn) - depth * np.sin(turn), y * np.cos(nod) - z * np.sin(nod)], -1)


def project(points: ArrayLike, pose: Pose) -> Array:
    """Points (P, 3) of the head frame in pixels: (P, 2), or (N, P, 2) when the pose's fields are (N,)."""
    flat = posed(points, pose.yaw, pose.pitch) @ np.array([1, 1j])
    factor = np.asarray(pose.scale) * np.exp(-1j * np.radians(pose.roll))
    placed = flat * factor[..., None] + (np.asarray(pose.x) + 1j * np.asarray(pose.y))[..., None]
    return np.stack([placed.real, placed.imag], -1)


def fit_in_plane(
    mean_face: MeanFace, five: ArrayLike, yaw: Value, pitch: Value, weights: ArrayLike | None = None
) -> Pose:
    """The pose whose yaw and pitch are given (degrees): roll, scale and place by weighted least squares, closed form.

    `five` is (5, 2) px with one yaw and pitch, or (N, 5, 2) with angles (N,) or one for all; `weights` (5,) or (N, 5)
    are relative trust, all one by default. This is `geometry.fit_similarity` of the posed five points onto the
    measured ones, for many faces at once. The fields of the result are float64 numbers or (N,), yaw and pitch as
    given. Use it where yaw and pitch have been smoothed over time. Raises ValueError when fewer than two points have
    weight.
    """
    measured = np.asarray(five, np.float64) @ np.array([1, 1j])
    yaw, pitch = (np.broadcast_to(np.asarray(angle, np.float64), measured.shape[:-1]) for angle in (yaw, pitch))
    model = posed(mean_face.five, yaw, pitch) @ np.array([1, 1j])
    trust = np.broadcast_to(1.0 if weights is None else np.asarray(weights, np.float64), measured.shape)
    if np.any((trust > 0).sum(-1) < 2):
        raise ValueError("a pose needs at least two of the five points with a weight above zero")
    trust = trust / trust.sum(-1, keepdims=True)
    model_mean, measured_mean = (trust * model).sum(-1), (trust * measured).sum(-1)
    model, measured = model - model_mean[..., None], measured - measured_mean[..., None]
    with np.errstate(invalid="ignore"):
        factor = (trust * model.conj() * measured).sum(-1) / (trust * np.abs(model) ** 2).sum(-1)
    origin = measured_mean - factor * model_mean
    return Pose(yaw[()], pitch[()], -np.degrees(np.angle(factor)), np.abs(factor), origin.real[()], origin.imag[()])


def fit_pose(mean_face: MeanFace, five: ArrayLike, prior: PosePrior = USUAL_PRIOR) -> Pose:
    """The most probable pose of five measured landmarks (5, 2) px, or of many faces (N, 5, 2) at once.

    About 30 us a face. The fields are float64 numbers, or (N,). Yaw and pitch are found by Gauss-Newton on the
    measured points carried into the face's own frame, weighted by the inverse of `five_covariance` (how people and
    expressions differ) and held by `prior`; roll, scale and place then come from `fit_in_plane`. Not a number in a
    landmark gives not a number in that face's pose.
    """
    measured = np.asarray(five, np.float64)
    single = measured.ndim == 2
    faces = measured.reshape(-1, 5, 2)
    parts = [_fit_angles(mean_face, faces[start : start + AT_ONCE], prior) for start in range(0, len(faces), AT_ONCE)]
    angles = np.concatenate([*parts, np.zeros((0, 2))])
    yaw, pitch = (angles[0, 0], angles[0, 1]) if single else (angles[:, 0], angles[:, 1])
    return fit_in_plane(mean_face, measured, yaw, pitch)


def _fit_angles(mean_face: MeanFace, five: Array, prior: PosePrior) -> Array:
    """Yaw and pitch (N, 2) in degrees of measured points (N, 5, 2).

    Unknowns of a face: yaw, pitch (radians) and the similarity a, b that takes pixels into the face's frame, in which
    the residual is a z + b - posed(five); only the angles enter it in a curved way.
    """
    spread = np.sqrt(((five - five.mean(1, keepdims=True)) ** 2).sum((1, 2)))
    u, v = np.moveaxis((five - five.mean(1, keepdims=True)) / np.maximum(spread, 1e-9)[:, None, None], 2, 0)
    one, zero = np.ones_like(u), np.zeros_like(u)
    straight = np.stack([np.stack([u, -v, one, zero], -1), np.stack([v, u, zero, one], -1)], 2).reshape(-1, 10, 4)
    trust = np.linalg.inv(mean_face.five_covariance)
    centre = np.array([np.radians(prior.yaw), np.radians(prior.pitch)])
    hold = np.radians([prior.yaw_deviation, prior.pitch_deviation]) ** -2.0
    angles: Array = np.tile(centre, (len(five), 1))
    for _ in range(STEPS):
        model, slope = _posed_with_slope(mean_face.five, angles)
        columns = np.concatenate([-slope, straight], 2)
        weighted = columns.transpose(0, 2, 1) @ trust
        normal = weighted @ columns
        normal[:, [0, 1], [0, 1]] += hold
        # The similarity enters straight, so each step solves it whole; only the angles move on from where they are.
        right = (weighted @ (model - (slope @ angles[..., None])[..., 0])[..., None])[..., 0]
        right[:, :2] += hold * centre
        angles = np.asarray(np.clip(np.linalg.solve(normal, right[..., None])[:, :2, 0], -1.5, 1.5), np.float64)
    return np.asarray(np.degrees(angles), np.float64)


def _posed_with_slope(points: Array, angles: Array) -> tuple[Array, Array]:
    """`posed` flattened to (N, 2 P) for angles (N, 2) in radians, and its slope (N, 2 P, 2)."""
    x, y, z = points.T
    turn, nod = angles[:, :1], angles[:, 1:]
    depth, height = y * np.sin(nod) + z * np.cos(nod), y * np.cos(nod) - z * np.sin(nod)
    model = np.stack([x * np.cos(turn) - depth * np.sin(turn), height], -1)
    by_yaw = np.stack([-x * np.sin(turn) - depth * np.cos(turn), np.zeros_like(height)], -1)
    by_pitch = np.stack([-height * np.sin(turn), -depth], -1)
    rows = len(angles)
    return model.reshape(rows, -1), np.stack([by_yaw.reshape(rows, -1), by_pitch.reshape(rows, -1)], -1)
