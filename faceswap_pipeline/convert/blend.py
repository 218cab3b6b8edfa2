"""One swapped face back into its frame: where it covers, how sharp and how grainy it is, and the sum of the two.

In: the network's picture and alpha in view space, a face mask in crop space, matrices, and the frame's pixels around
the face. Out: those pixels with the face replaced. Everything here works inside the face's region of the frame only.

Three spaces meet here: frame pixels; crop pixels, S x S (frame through `FaceRecord.matrix`); view pixels, R x R, what
the network sees of the crop (crop through `imaging.view_matrix`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.geometry import compose_matrices, invert_matrix, transform_points
from faceswap_pipeline.imaging import FloatImage, Image, add_luma, blur, fill_holes, warp
from faceswap_pipeline.video.planes import luma_share, plane_steps, plane_values, plane_views
from faceswap_pipeline.video.reader import Frame

_GUARD = 0.05
"""Share of the view over which the swap fades out towards the view's border, so that no box can show."""

MOST_GAIN = 1.0
"""How much of its own finest band a swap may gain; beyond, lids and brows turn into black lines with halos."""

_MOST_LOSS = 0.5
"""How much of it a swap may lose."""

_SOLID = 0.9
"""A learned mask is less than this where it has a hole."""

_ROUGH = 2.0
"""How far above the usual level of detail a feature must stand to count as one."""


@dataclass(frozen=True)
class Region:
    """A rectangle of a frame, whole pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x, y, width, height."""
        return self.x, self.y, self.width, self.height

    @property
    def middle(self) -> "Region":
        """The part of it that is a quarter of each side away from the border."""
        x, y = self.width // 4, self.height // 4
        return Region(self.x + x, self.y + y, self.width - 2 * x, self.height - 2 * y)

    def of(self, image: NDArray) -> NDArray:
        """The part of `image` (H, W, ...) inside; a view, not a copy."""
        return image[self.y : self.y + self.height, self.x : self.x + self.width]


def view_guard(resolution: int) -> FloatImage:
    """(R, R) 0..1: nought along the border of the network's view, one further inside than `_GUARD` of its side."""
    edge = np.minimum(np.arange(resolution), np.arange(resolution)[::-1]) / (_GUARD * resolution)
    ramp = _smooth_step(edge)
    return np.outer(ramp, ramp).astype(np.float32)


def soft_shape(mask: Image, erode: float, feather: float, face_height: float) -> FloatImage:
    """The cover of a face mask (S, S) 0..255: nought up to its contour drawn in by `erode`, one a `feather` further in.

    Both are shares of `face_height` (pixels of the mask). The soft rim lies inside the mask, whatever its shape, so it
    never covers what the mask leaves out. Beyond the picture nothing is covered. Returns float32 (S, S) 0..1.
    """
    inside = cv2.copyMakeBorder((mask > 127).view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_5)[1:-1, 1:-1]
    width = max(feather * face_height, 1.0)
    return _smooth_step((depth - erode * face_height) / width).astype(np.float32)


def surely_face(alpha: FloatImage) -> FloatImage:
    """A learned mask (R, R) 0..1 from where it is more face than not, stretched to 0..1, small holes filled.

    The soft rest of it covers what the network drew beside the face: the other person's fringe would lie as a streak on
    a forehead that has none. Through a hole the old face would show, a brow or a spot of beard beside the new one's.
    """
    solid = cv2.compare(alpha, _SOLID, cv2.CMP_GT)
    holes = cv2.compare(fill_holes(solid), solid, cv2.CMP_NE)
    return np.clip(2 * np.maximum(alpha, holes.astype(np.float32)) - 1, 0, 1)


def cover(shape: FloatImage, alpha: FloatImage, crop_to_view: ArrayLike) -> FloatImage:
    """How much of each crop pixel the swap covers, (S, S) 0..1: the shape times alpha (R, R) brought into crop space.

    Outside the network's view the cover is nought.
    """
    size = (shape.shape[1], shape.shape[0])
    return shape * np.clip(warp(alpha, invert_matrix(crop_to_view), size, "linear", "zero"), 0, 1)


def scaled_view(crop_to_view: ArrayLike, resolution: int, scale: float) -> NDArray[np.float64]:
    """`crop_to_view` (2, 3) changed so that the view's picture lands `scale` times as large about its centre."""
    shift = (1 - 1 / scale) * (resolution - 1) / 2
    return compose_matrices([[1 / scale, 0, shift], [0, 1 / scale, shift]], crop_to_view)


def covered_region(covered: FloatImage, matrix: ArrayLike, size: tuple[int, int]) -> Region | None:
    """The smallest rectangle of a frame of `size` (width, height) that holds all that `covered` (S, S) touches.

    `matrix` maps frame -> crop. Sides are even where the frame allows it, so that chroma samples are whole.
    None where nothing is covered inside the frame.
    """
    rows, columns = np.flatnonzero(covered.max(1) > 0), np.flatnonzero(covered.max(0) > 0)
    if not rows.size:
        return None
    x0, x1, y0, y1 = columns[0] - 1.0, columns[-1] + 1.0, rows[0] - 1.0, rows[-1] + 1.0
    corners = transform_points(invert_matrix(matrix), [[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    low = np.maximum(np.floor(corners.min(0)), 0).astype(int) // 2 * 2
    high = np.minimum((np.ceil(corners.max(0)).astype(int) + 2) // 2 * 2, size)
    if (high <= low).any():
        return None
    return Region(int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1]))


def into_region(image: NDArray, matrix: ArrayLike, region: Region) -> NDArray:
    """`image` (h, w[, C]), whose pixels are frame pixels through `matrix` (2, 3), as seen in `region`.

    Sub-pixel, cubic. Masks (two dimensions) are interpolated linearly and are nought outside themselves.
    """
    move = np.array([[1, 0, -region.x], [0, 1, -region.y]], np.float64)
    mask = image.ndim == 2
    return warp(
        image,
        compose_matrices(move, invert_matrix(matrix)),
        (region.width, region.height),
        "linear" if mask else "cubic",
        "zero" if mask else "replicate",
    )


def measure_detail(image: FloatImage, weights: NDArray) -> NDArray[np.float64] | None:
    """Mean squares (2,) of the finest band of luma and of what sharpening would add to that band.

    `image`: (R, R, 3) RGB -1..1, or its luma (R, R).
    Taken where `weights` (R, R) are; None where they are nought.
    """
    total = float(weights.sum())
    if total < 1:
        return None
    finest = _finest(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image)
    return np.array([(weights * band**2).sum() for band in (finest, _finest(_marked(finest)))], np.float64) / total


def match_detail(
    image: FloatImage, own: NDArray | None, wanted: NDArray | None, strength: float, most: float = MOST_GAIN
) -> FloatImage:
    """`image` (R, R, 3) -1..1 with the finest band of its luma brought to the `wanted` energy; `strength` 0: as it is.

    A network of few pixels draws softer than the camera saw; what it did draw is brought up to (or, where the camera
    was out of focus or moved, down to) the level that the replaced face has at the same resolution. Marked features
    (lids, lips, nostrils) move, the roughness that a young network gives to skin does not. With `most` 0 nothing is
    brought up. Both measures are those of `measure_detail`; without one of them the picture comes back as it is.
    """
    if strength == 0 or own is None or wanted is None:
        return image
    level, response = np.sqrt(np.maximum(own, 1e-9))
    # Adding a band once raises that band's own level by only `response`: it is a band, not a tone.
    gain = np.clip((np.sqrt(wanted[0]) - level) / response, -_MOST_LOSS, most)
    if gain == 0:
        return image
    band = _marked(_finest(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)))
    return np.clip(add_luma(image, np.float32(strength * gain) * band), -1, 1)


def _finest(image: NDArray) -> NDArray:
    return image - blur(image, 1.0)


def _marked(band: NDArray) -> NDArray:
    """A finest band, faint where its surroundings have no more of it than most of the picture."""
    near = blur(band**2, 1.5)
    some = near[::3, ::3].ravel()  # it is smooth: more of it says the same
    usual = np.partition(some, len(some) // 2)[len(some) // 2]
    return band * (near / (near + _ROUGH**2 * usual + 1e-9))


def lay_over(
    frame: Frame, region: Region, covered: FloatImage, image: FloatImage, matrix: ArrayLike, noise: FloatImage | None
) -> Frame:
    """Lay a picture (h', w', 3) RGB -1..1 over a frame by `covered` (h, w) 0..1 of the region; returns the frame.

    Its planes are changed: they must be its own (`Frame.copied`). `matrix` maps frame -> picture; `noise` (h, w) in
    grey levels is added to the picture's luma. Each plane is mixed at its own size, in its own values, which are the
    picture's colours before it is brought into place: no RGB is made of the frame, and where nothing is covered not one
    value of a plane changes.
    """
    planes = frame.planes
    colors = frame.planes.format.name == "gbrp"
    values = plane_values(planes, cv2.addWeighted(image, 127.5, image, 0, 127.5))
    for number, (plane, value, steps) in enumerate(zip(plane_views(planes), values, plane_steps(planes), strict=True)):
        here, cover, to_frame = _of_plane(region, covered, steps)
        over = into_region(value[..., None], compose_matrices(matrix, to_frame), here)[..., 0]
        if noise is not None and (colors or number == 0):
            over = cv2.scaleAdd(noise, luma_share(planes), over)
        own = here.of(plane)
        mixed = cv2.blendLinear(over, own.astype(np.float32), cover, 1 - cover)
        own[:] = cv2.convertScaleAbs(np.maximum(mixed, 0))  # rounds, and cuts off at 255
    return replace(frame)  # an RGB picture that was made of it holds no more


def _of_plane(
    region: Region, covered: FloatImage, steps: tuple[int, int]
) -> tuple[Region, FloatImage, NDArray[np.float64]]:
    """A region and its cover in samples of a plane, each of which covers `steps` (x, y) pixels; samples -> pixels."""
    if steps == (1, 1):
        return region, covered, np.eye(2, 3)
    (step_x, step_y), (left, top) = steps, (region.x % steps[0], region.y % steps[1])
    width, height = -(-(left + region.width) // step_x), -(-(top + region.height) // step_y)
    whole = cv2.copyMakeBorder(
        covered, top, height * step_y - top - region.height, left, width * step_x - left - region.width,
        cv2.BORDER_REPLICATE,
    )  # fmt: skip
    here = Region(region.x // step_x, region.y // step_y, width, height)
    to_frame = np.array([[step_x, 0, (step_x - 1) / 2], [0, step_y, (step_y - 1) / 2]], np.float64)
    return here, np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32), to_frame


def join_poisson(base: Image, face: FloatImage, covered: FloatImage) -> FloatImage:
    """`face` (h, w, 3) -1..1 with its colours solved from the seam with `base` (h, w, 3) 0..255 inwards.

    Perez et al., "Poisson image editing", 2003.
    """
    solid = np.where(covered > 0.02, 255, 0).astype(np.uint8)
    solid[[0, -1]] = 0
    solid[:, [0, -1]] = 0
    x, y, width, height = cv2.boundingRect(solid)
    if width < 3 or height < 3:
        return face
    patch = np.clip(np.rint((face + 1) * 127.5), 0, 255).astype(np.uint8)
    solved = cv2.seamlessClone(patch, base, solid, (x + width // 2, y + height // 2), cv2.NORMAL_CLONE)
    return solved.astype(np.float32) / 127.5 - 1


JOINS: dict[str, Callable[[Image, FloatImage, FloatImage], FloatImage] | None] = {
    "feather": None,
    "poisson": join_poisson,
}
"""What `--mix` offers: what is done to a face before it is laid over its frame, if anything."""


def _smooth_step(x: NDArray) -> NDArray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
