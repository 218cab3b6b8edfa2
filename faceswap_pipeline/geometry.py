"""Points, boxes and 2x3 matrices: arrays in, arrays out.

Conventions of the whole project, stated here once:

- points are (x, y) in pixels, the centre of the top-left pixel is (0, 0);
- boxes are x0, y0, x1, y1;
- matrices are float64 (2, 3) and map frame -> crop as cv2.warpAffine expects with WARP_INVERSE_MAP unset;
- angles are degrees; left and right are the viewer's;
- a head's yaw > 0 turns to the picture's right, pitch > 0 down, roll > 0 counter-clockwise.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


class Similarity(NamedTuple):
    """What a similarity matrix does: p -> scale * R(angle) p + (x, y)."""

    scale: float
    angle: float
    """Degrees, from x towards y (clockwise as seen in a picture)."""
    x: float
    y: float


def fit_similarity(source: ArrayLike, target: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """The similarity (no mirror) that takes `source` (N, 2) nearest to `target` (N, 2), weighted least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", 1991; in the plane it
    is one complex division. Returns float64 (2, 3). Raises ValueError unless two distinct points have a weight.
    """
    a, b = np.asarray(source, np.float64), np.asarray(target, np.float64)
    w = np.ones(len(a)) if weights is None else np.asarray(weights, np.float64)
    w = w / max(w.sum(), 1e-300)
    mean_a, mean_b = w @ a, w @ b
    za, zb = (a - mean_a) @ [1, 1j], (b - mean_b) @ [1, 1j]
    spread = float(np.sum(w * np.abs(za) ** 2))
    if len(a) < 2 or spread <= 0:
        raise ValueError(f"a similarity needs two distinct points with a weight, got {len(a)}")
    ratio = np.sum(w * np.conj(za) * zb) / spread
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    return np.column_stack([linear, mean_b - linear @ mean_a])


def similarity_matrix(scale: float, angle: float, x: float, y: float) -> Array:
    """The (2, 3) matrix of a `Similarity`."""
    c, s = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
    return np.array([[c, -s, x], [s, c, y]], np.float64)


def decompose_similarity(matrix: ArrayLike) -> Similarity:
    """Scale, angle in degrees and translation of a (2, 3) similarity matrix."""
    m = np.asarray(matrix, np.float64)
    return Similarity(
        float(np.hypot(m[0, 0], m[1, 0])),
        float(np.degrees(np.arctan2(m[1, 0], m[0, 0]))),
        float(m[0, 2]),
        float(m[1, 2]),
    )


def transform_points(matrix: ArrayLike, points: ArrayLike) -> Array:
    """`points` (..., 2) taken through a (2, 3) matrix."""
    m = np.asarray(matrix, np.float64)
    return np.asarray(points, np.float64) @ m[:, :2].T + m[:, 2]


def invert_matrix(matrix: ArrayLike) -> Array:
    """The (2, 3) matrix that undoes `matrix`. Raises ValueError when it is singular."""
    # Number by number: of four numbers numpy's linear algebra takes six times as long.
    (a, b, x), (c, d, y) = np.asarray(matrix, np.float64).tolist()
    determinant = a * d - b * c
    if not abs(determinant) >= 1e-12:
        raise ValueError("the matrix cannot be inverted")
    a, b, c, d = d / determinant, -b / determinant, -c / determinant, a / determinant
    return np.array([[a, b, -a * x - b * y], [c, d, -c * x - d * y]])


def compose_matrices(second: ArrayLike, first: ArrayLike) -> Array:
    """The (2, 3) matrix that does `first`, then `second`."""
    a, b = np.asarray(second, np.float64), np.asarray(first, np.float64)
    both = a[:, :2] @ b
    both[:, 2] += a[:, 2]
    return both


def resize_matrix(scale: float) -> Array:
    """Pixels of a picture -> pixels of the same picture resized by `scale`, with pixel centres at whole numbers."""
    shift = (scale - 1) / 2
    return np.array([[scale, 0, shift], [0, scale, shift]], np.float64)


def box_area(boxes: ArrayLike) -> Array:
    """Areas (...,) of boxes (..., 4); empty and inverted boxes count 0."""
    b = np.asarray(boxes, np.float64)
    return np.asarray(np.clip(b[..., 2:] - b[..., :2], 0, None).prod(-1), np.float64)


def box_iou(a: ArrayLike, b: ArrayLike) -> Array:
    """Intersection over union (N, M) of boxes a (N, 4) and b (M, 4)."""
    first, second = np.asarray(a, np.float64).reshape(-1, 1, 4), np.asarray(b, np.float64).reshape(1, -1, 4)
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., 2:], second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = box_area(first) + box_area(second) - shared
    return shared / np.maximum(union, 1e-12)


def box_centre(boxes: ArrayLike) -> Array:
    """Centres (..., 2) of boxes (..., 4)."""
    b = np.asarray(boxes, np.float64)
    return (b[..., :2] + b[..., 2:]) / 2


def rotation_matrix(yaw: float, pitch: float, roll: float) -> Array:
    """Head rotation (3, 3) from degrees: roll, then pitch, then yaw; axes x right, y down, z away from the viewer.

    yaw > 0 turns the face to the picture's right, pitch > 0 down, roll > 0 counter-clockwise.
    """
    y, p, r = np.radians([-yaw, pitch, -roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_y @ about_x @ about_z
