"""Pictures as arrays: warp, resize, blur and the one border between bytes and network values.

In: `uint8 (H, W, 3)` RGB 0..255 or `(H, W)` masks, or float32 arrays of the same shapes. Out: the same kind.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.geometry import compose_matrices, invert_matrix, transform_points

Image = NDArray[np.uint8]
FloatImage = NDArray[np.float32]
View = tuple[float, float]
"""Width and height of the part of a dataset crop, about its centre, that a network sees; shares of the crop's side."""

_INTERPOLATION = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_LARGEST_HOLE = 0.04
"""Share of a face up to which a hole in its mask is none: a nostril, a mole, the dark end of a moustache. What stands
in front of a face comes from outside, or is larger."""

_REACH = 4
"""Pixels of a warped picture beyond which the source has no say in it: half a Lanczos window, and area averaging."""
_SOFTER = 0.3
"""Pixels of blur against aliasing per pixel that falls between two samples (in quadrature): nearest to averaging the
pixels that each sample covers, of 0.3 to 0.45."""

_BORDER = {"replicate": cv2.BORDER_REPLICATE, "zero": cv2.BORDER_CONSTANT, "reflect": cv2.BORDER_REFLECT_101}

Interpolation = Literal["nearest", "linear", "cubic", "lanczos"]
Border = Literal["replicate", "zero", "reflect"]


def warp(
    image: NDArray,
    matrix: ArrayLike,
    size: tuple[int, int],
    interpolation: Interpolation = "cubic",
    border: Border = "replicate",
    averaged: bool = False,
) -> NDArray:
    """`image` (H, W[, C]) through a frame -> crop matrix (2, 3) into `size` (width, height); dtype kept.

    Where the matrix shrinks by more than a half, the part of the picture that shows is first halved by averaging, as
    often as it takes, and blurred for the rest, so that fine detail does not alias (cv2.warpAffine samples four or
    sixteen pixels however far apart they fall). `averaged`: the picture has been halved already, once or more often.
    """
    m = np.asarray(matrix, np.float64)
    factor = block_side(m)
    if (factor > 1 or averaged) and interpolation != "nearest":
        if border != "reflect":  # which may show what lies beyond the part
            image, m = _shown_part(image, m, size)
        # Whole pixels are averaged, which is quick; the ratio is that of the sizes, also of a picture too small for it.
        small = (max(1, image.shape[1] // factor), max(1, image.shape[0] // factor))
        image = image[: small[1] * factor, : small[0] * factor]
        ratio_x, ratio_y = small[0] / image.shape[1], small[1] / image.shape[0]
        apart = max(1.0, 1 / (factor * _scale(m)))
        halved = image if factor == 1 else _as_deep(cv2.resize(image, small, interpolation=cv2.INTER_AREA), image)
        image = blur(halved, _SOFTER * math.sqrt(apart**2 - 1))
        shrink = np.array([[1 / ratio_x, 0, (1 / ratio_x - 1) / 2], [0, 1 / ratio_y, (1 / ratio_y - 1) / 2]])
        m = compose_matrices(m, shrink)
    flags, mode = _INTERPOLATION[interpolation], _BORDER[border]
    return _as_deep(cv2.warpAffine(image, m, size, flags=flags, borderMode=mode, borderValue=0), image)


def resize(image: NDArray, size: tuple[int, int]) -> NDArray:
    """`image` (H, W[, C]) resized to `size` (width, height): area averaging where it shrinks, cubic where it grows."""
    smaller = (min(size[0], image.shape[1]), min(size[1], image.shape[0]))
    resized = image
    if smaller != image.shape[1::-1]:  # apart from growing: cv2 averages only where no side grows
        resized = cv2.resize(resized, smaller, interpolation=cv2.INTER_AREA)
    if smaller != size or resized is image:
        resized = cv2.resize(resized, size, interpolation=cv2.INTER_CUBIC)
    return _as_deep(resized, image)


def margin_size(resolution: int, view: View) -> tuple[int, int]:
    """Width and height in pixels of a whole crop whose central `view` is `resolution` pixels square.

    Both have the parity of `resolution`, so that the view lies on whole pixels.
    """
    width, height = (round(resolution / share) for share in view)
    return width + (width - resolution) % 2, height + (height - resolution) % 2


def middle(shape: Sequence[int], resolution: int) -> tuple[slice, slice]:
    """Rows and columns of the central square of `resolution` pixels in pictures of `shape` (height, width)."""
    top, left = ((side - resolution) // 2 for side in shape)
    return slice(top, top + resolution), slice(left, left + resolution)


def network_view(crop: Image, resolution: int, view: View) -> Image:
    """What a network sees of a dataset crop (S, S, 3): its central `view` squeezed to `resolution` pixels square.

    Training and conversion both cut with this function. Returns uint8 (resolution, resolution, 3).
    """
    whole = resize(crop, margin_size(resolution, view))
    return whole[middle(whole.shape[:2], resolution)]


def view_matrix(crop_size: int, resolution: int, view: View) -> NDArray[np.float64]:
    """Crop pixels -> pixels of `network_view`, (2, 3)."""
    scales = [side / crop_size for side in margin_size(resolution, view)]
    # Both centres stay where they are, as in `resize`.
    shifts = [(resolution - 1) / 2 - scale * (crop_size - 1) / 2 for scale in scales]
    return np.array([[scales[0], 0, shifts[0]], [0, scales[1], shifts[1]]], np.float64)


def unsqueezed(picture: NDArray, side: int, view: View) -> NDArray:
    """A network's picture (R, R[, C]) with a face's true proportions, the longer side `side` pixels."""
    longer = max(view)
    return resize(picture, (round(side * view[0] / longer), round(side * view[1] / longer)))


def whole_crop(picture: NDArray, view: View) -> NDArray:
    """The crop (S, S[, C]) of which a network saw `picture` (R, R[, C]); what it did not see is nought."""
    side = max(margin_size(len(picture), view))
    back = invert_matrix(view_matrix(side, len(picture), view))
    return warp(picture, back, (side, side), "linear", "zero")


def blur(image: NDArray, sigma: float) -> NDArray:
    """Gaussian blur with a standard deviation in pixels; 0 returns the picture itself."""
    if sigma <= 0:
        return image
    return _as_deep(cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), image)


def grow_mask(mask: NDArray, reach: int, ends: bool = False) -> NDArray:
    """A mask (H, W) grown on all sides by `reach` px, or drawn in where that is below 0; dtype kept.

    `ends`: there is no mask beyond the picture. Else what is there has no say.
    """
    if not reach:
        return mask
    side = 2 * abs(reach) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    border = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0} if ends else {}
    return (cv2.dilate if reach > 0 else cv2.erode)(mask, disc, **border)


def fill_holes(mask: Image, most: float = _LARGEST_HOLE) -> Image:
    """A mask (H, W) 0 or 255 of a face without its holes that are at most a share `most` of its area.

    A hole is what the mask is all around of: what is open to the outside, or to the picture's border, is none.
    """
    count, parts, found, _ = cv2.connectedComponentsWithStats(cv2.compare(mask, 0, cv2.CMP_EQ), connectivity=4)
    left, top, width, height, area = found[:count].T
    inside = (left > 0) & (top > 0) & (left + width < mask.shape[1]) & (top + height < mask.shape[0])
    small = inside & (area <= most * cv2.countNonZero(mask))
    small[0] = False  # the mask itself
    return np.where(small[parts], np.uint8(255), mask) if small.any() else mask


def mouth_height(mouths: NDArray, faces: NDArray) -> NDArray[np.float64]:
    """How high mouths (N, H, W) are, lips included, as shares of their faces' heights (N, H, W); both masks 0..255.

    The mean over a mouth's columns, each weighed by its height: less than a row's rounding is seen. It tells of one
    person how far the mouth is open, less what it is when shut (correlation with the inner lips' distance 0.87 to 0.98
    on six clips).
    """
    columns = (mouths > 127).sum(1).astype(np.float64)
    heights = np.square(columns).sum(1) / np.maximum(columns.sum(1), 1)
    return np.asarray(heights / np.maximum((faces > 127).any(2).sum(1), 1), np.float64)


def ramp(values: Any, limits: tuple[float, float]) -> NDArray:
    """How far values are from the lower limit to the upper, 0..1."""
    return np.clip((values - np.float32(limits[0])) / np.float32(limits[1] - limits[0]), 0, 1)


def add_luma(image: FloatImage, luma: FloatImage) -> FloatImage:
    """`image` (H, W, 3) with `luma` (H, W) added to each channel: numpy's broadcasting takes several times as long."""
    return np.asarray(cv2.add(image, cv2.cvtColor(luma, cv2.COLOR_GRAY2RGB)), np.float32)


def to_float(image: NDArray) -> FloatImage:
    """uint8 0..255 -> float32 -1..1."""
    return image.astype(np.float32) / 127.5 - 1


def to_uint8(image: NDArray) -> Image:
    """float -1..1 -> uint8 0..255, rounded and clipped."""
    return np.clip(np.rint((np.asarray(image, np.float32) + 1) * 127.5), 0, 255).astype(np.uint8)


def sharpness(image: Image) -> float:
    """Variance of the Laplacian of the luma of (H, W, 3), in squared grey levels (Pech-Pacheco et al. 2000)."""
    return float(cv2.Laplacian(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.CV_64F).var())


def shown_region(matrix: ArrayLike, size: tuple[int, int], whole: tuple[int, int]) -> tuple[int, int, int, int]:
    """The region of a picture of size `whole` (width, height) that decides `warp(picture, matrix, size)`.

    Returns x and y of its top-left pixel, width and height; it has one pixel at least. Where `warp` halves first, the
    region begins and ends between the blocks that it averages, which thus are the same whatever region they are cut
    from: a face that moves by less than a pixel changes by as little.
    """
    block = block_side(matrix)
    margin = _REACH - 0.5
    right, bottom = size[0] - 1 + margin, size[1] - 1 + margin
    outline = [[-margin, -margin], [right, -margin], [right, bottom], [-margin, bottom]]
    corners = transform_points(invert_matrix(matrix), outline)
    last = np.array(whole) - 1
    x, y = np.clip(np.floor(corners.min(0)), 0, last).astype(int).tolist()
    right, bottom = np.clip(np.ceil(corners.max(0)), 0, last).astype(int).tolist()
    x, y = x - x % block, y - y % block
    right, bottom = min(right + block - right % block, whole[0]), min(bottom + block - bottom % block, whole[1])
    return x, y, right - x, bottom - y


def block_side(matrix: ArrayLike) -> int:
    """Side of the blocks of pixels that `warp` averages before it samples: 1 where it shrinks by less than a half."""
    scale = _scale(matrix)
    return 2 ** int(math.log2(1 / scale)) if 0 < scale < 0.5 else 1


def _scale(matrix: ArrayLike) -> float:
    """How much longer a matrix (2, 3) makes things."""
    (a, b, _), (c, d, _) = np.asarray(matrix, np.float64).tolist()
    return math.sqrt(abs(a * d - b * c))


def _shown_part(image: NDArray, matrix: NDArray, size: tuple[int, int]) -> tuple[NDArray, NDArray]:
    """The smallest part of `image` that decides `warp(image, matrix, size)`, and the matrix from that part."""
    x, y, width, height = shown_region(matrix, size, image.shape[1::-1])
    return image[y : y + height, x : x + width], compose_matrices(matrix, [[1, 0, x], [0, 1, y]])


def _as_deep(result: NDArray, image: NDArray) -> NDArray:
    """`result` with the channel axis of `image`: cv2 drops an axis of one channel."""
    return result.reshape(*result.shape[:2], *image.shape[2:])
