"""Mask shapes from the mean face: which pixels of a crop are face, eyes or mouth, without looking at the picture.

In: the mean face, a face's pose and landmarks in crop pixels. Out: uint8 (S, S) masks, 0 outside and 255 inside.

A hull of projected points is exact enough: the inner face is nearly convex from every side that shows it, and where a
turned head hides the far border, brow, nose, lips and chin stand in front of it and push the hull out to what is
seen.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.detection.meanface import MeanFace, Pose, posed, project
from faceswap_pipeline.geometry import Array, fit_similarity, transform_points
from faceswap_pipeline.masks.options import Kind

FINE = 4
"""Masks are drawn this many times larger and thresholded at half cover."""
SHIFT = 4
"""Fractional bits of cv2's integer coordinates."""
CHIN = slice(5, 12)
FRONT = slice(17, 68)
"""Brows, nose, eyes and lips."""
LIPS = slice(48, 60)
LOWER_LIP = slice(55, 60)
EYES = ((slice(36, 42), slice(17, 22)), (slice(42, 48), slice(22, 27)))
"""Lids and brow of each eye."""
LOWER_BROW = 0.7
"""How far from lids to brow the eye masks reach."""
OPEN_MOUTH = 0.05
"""How far below its mean place a lower lip must still be inside the mouth mask, face heights."""
FACE_INSET = 0.015
"""How far inside the mean face's border the face mask ends, face heights: what real borders agree with best."""
MOUTH_TRUST = (0.05, 0.05, 0.05, 1.0, 1.0)
"""The mouth is placed by its own corners; eyes and nose only keep a pursed or hidden mouth from turning it over."""


def crop_pose(yaw: float, pitch: float, crop_size: int, coverage: float) -> Pose:
    """The pose, in crop pixels, of any face in its own crop: upright, centred, its height `crop_size / coverage`.

    This is what `detection.alignment.crop_matrix` brings every face to.
    """
    middle = (crop_size - 1) / 2
    return Pose(yaw, pitch, 0.0, crop_size / coverage, middle, middle)


def mask(
    kind: Kind, mean_face: MeanFace, pose: Pose, five: ArrayLike, crop_size: int, padding: float = 0.0
) -> NDArray[np.uint8]:
    """One mask, uint8 (crop_size, crop_size) of 0 and 255.

    `pose` and the five landmarks `five` (5, 2) are in crop pixels; only the mouth uses the landmarks. `padding` is
    how far the shape reaches beyond its points, in face heights: the face grows about its middle (below 0 it
    shrinks), the others by a rim. Raises ValueError for an unknown kind.
    """
    if kind == "face":
        return draw([face_points(mean_face, pose, padding - FACE_INSET)], crop_size)
    if kind == "eyes":
        return draw([widen(points, padding * float(pose.scale)) for points in eye_points(mean_face, pose)], crop_size)
    if kind == "mouth":
        return draw([widen(mouth_points(mean_face, pose, five), padding * float(pose.scale))], crop_size)
    raise ValueError(f"no mask kind '{kind}': expected face, eyes or mouth")


def face_points(mean_face: MeanFace, pose: Pose, padding: float = 0.0) -> Array:
    """Points (P, 2) px whose hull is the inner face; `padding` in face heights moves top and bottom by that much."""
    solid = np.concatenate([mean_face.oval, mean_face.points[CHIN] * [0.85, 1, 1], mean_face.points[FRONT]])
    return project(solid * (1 + 2 * padding), pose)


def eye_points(mean_face: MeanFace, pose: Pose) -> list[Array]:
    """For each eye, points (P, 2) px around the lids and up to the lower part of the brow."""
    shapes = []
    for lids, brow in EYES:
        eye = mean_face.points[lids]
        middle = eye.mean(0)
        shapes.append(project(np.concatenate([eye, middle + LOWER_BROW * (mean_face.points[brow] - middle)]), pose))
    return shapes


def mouth_points(mean_face: MeanFace, pose: Pose, five: ArrayLike) -> Array:
    """Points (P, 2) px around the lips, laid on the measured corners of the mouth, with room for it to open."""
    lips = mean_face.points[LIPS]
    opened = mean_face.points[LOWER_LIP] + [0, OPEN_MOUTH, 0]
    place = fit_similarity(posed(mean_face.five, pose.yaw, pose.pitch), five, MOUTH_TRUST)
    return transform_points(place, posed(np.concatenate([lips, opened]), pose.yaw, pose.pitch))


def widen(points: Array, radius: float) -> Array:
    """Points whose hull is that of `points` (P, 2) with a rim of `radius` px around it."""
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    circle = radius * np.stack([np.cos(angle), np.sin(angle)], 1)
    return (points[:, None] + circle).reshape(-1, 2)


def draw(shapes: list[Array], size: int) -> NDArray[np.uint8]:
    """The hulls of point sets (P, 2) px as one mask, uint8 (size, size): 255 where at least half of a pixel is
    inside.
    """
    mask = np.zeros((size, size), np.uint8)
    for points in shapes:
        low = np.clip(np.floor(points.min(0)).astype(int), 0, size)
        high = np.clip(np.ceil(points.max(0)).astype(int) + 1, 0, size)
        width, height = high - low
        if width <= 0 or height <= 0:
            continue
        canvas = np.zeros((height * FINE, width * FINE), np.uint8)
        # A pixel's centre is at a whole number, so its left edge is half a pixel before it.
        fine = ((points - low + 0.5) * FINE - 0.5) * 2**SHIFT
        cv2.fillConvexPoly(canvas, cv2.convexHull(np.rint(fine).astype(np.int32)), 255, shift=SHIFT)
        cover = cv2.resize(canvas, (int(width), int(height)), interpolation=cv2.INTER_AREA)
        mask[low[1] : high[1], low[0] : high[0]] |= cv2.compare(cover, 127, cv2.CMP_GT)
    return mask
