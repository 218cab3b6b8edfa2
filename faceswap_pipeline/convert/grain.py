"""Grain: how noisy and textured the camera saw the skin, and noise of that kind for a swap that has none.

In: small pieces of frames, luma in grey levels 0..255. Out: levels per band, and pictures of noise. The same face in
the same frame always gets the same noise.

Two bands, about one and about two pixels of the frame. What stays from frame to frame (pores, stubble, what a codec
copies) is anchored to the face; what changes (sensor noise) is drawn anew for every frame.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from faceswap_pipeline.geometry import compose_matrices, invert_matrix, resize_matrix, transform_points
from faceswap_pipeline.imaging import FloatImage, blur, warp
from faceswap_pipeline.video.planes import luma_levels
from faceswap_pipeline.video.reader import Frame

Levels = NDArray[np.float64]
"""(4,): standard deviations in grey levels of the fine and the coarse band, then of what changes in them in time."""

SHARE = 0.36
"""Side of the piece of skin that is looked at, share of the face's height; about its centre lie nose and cheeks."""

_LARGEST = 112
"""Pixels; a larger piece says no more."""

_BANDS = (1.0, 2.0)
"""Standard deviations of the blurs that part the fine band from the coarse one and that from what is no grain, px."""

_BLOCKS = 5
"""Blocks along each side of what is measured."""

_SAMPLES = 12
"""Pixels along each side of a block that are looked at, evenly spread: more say the same."""

_QUIETER = 0.3
"""Share of the blocks that have no more noise than what is taken for grain."""

_STRONGEST = 8.0
"""Grey levels: more than this is no grain."""

_LEAST = 0.3
"""Grey levels: less than this is not seen."""

_TILE = 512
"""Side of the picture that all noise is cut from, px."""


def skin_piece(frame: Frame, matrix: ArrayLike, crop_size: int, coverage: float) -> FloatImage | None:
    """Luma (P, P) of the middle of a face in a frame, as it is; None near the frame's border.

    `matrix` maps the frame to a crop of `crop_size` that is `coverage` faces high.
    """
    back = invert_matrix(matrix)
    x, y = np.rint(transform_points(back, [(crop_size - 1) / 2] * 2)).astype(int).tolist()
    height = crop_size / coverage * np.sqrt(abs(np.linalg.det(back[:, :2])))
    half = int(min(_LARGEST, SHARE * height)) // 2
    if half < 6 or min(x, y) < half or x + half > frame.width or y + half > frame.height:
        return None
    return luma_levels(frame.planes, x - half, y - half, 2 * half, 2 * half)


def measure_grain(pieces: Sequence[FloatImage | None]) -> list[Levels | None]:
    """The levels in each of successive pieces of one face.

    What changes in time is judged over all of them together, by the quiet pairs: elsewhere the face moves. Of a
    piece the quieter blocks count: the others hold features (nostrils, the nose's edge), on a small face most of them.
    """
    bands = [None if piece is None else _bands(piece) for piece in pieces]
    pairs = [
        [_deviation(later - earlier) / np.sqrt(2) for earlier, later in zip(first, second, strict=True)]
        for first, second in zip(bands, bands[1:], strict=False)
        if first is not None and second is not None and first[0].shape == second[0].shape
    ]
    moving = np.quantile(pairs, 0.25, axis=0) if pairs else np.zeros(2)
    found: list[Levels | None] = []
    for both in bands:
        still = None if both is None else np.array([_deviation(band) for band in both])
        found.append(None if still is None else np.concatenate([still, np.minimum(moving, still)]))
    return found


def noise_tile() -> FloatImage:
    """White noise (T, T) of deviation one, always the same; `add_grain` cuts all noise from it."""
    return np.random.default_rng(0).standard_normal((_TILE, _TILE), np.float32)


def missing_grain(luma: FloatImage, wanted: Levels) -> Levels:
    """The levels that noise needs to bring the middle of a face, `luma` (h, w) in grey levels, to the `wanted` ones;
    nought where it has them.
    """
    if min(luma.shape) < _BLOCKS:
        return np.zeros(4)
    own = np.array([_deviation(band) for band in _bands(luma)])
    still = np.clip(wanted[:2], 0, _STRONGEST)
    missing = np.sqrt(np.maximum(still**2 - own**2, 0))
    share = np.clip(wanted[2:] / np.maximum(still, 1e-6), 0, 1)
    return np.concatenate([missing, missing * share])


def draw_grain(
    size: tuple[int, int], levels: Levels, tile: FloatImage, to_crop: ArrayLike, frame: int
) -> FloatImage | None:
    """Noise of `levels` in grey levels for a face of `size` (width, height), (h, w); None where it would not be seen.

    `to_crop` maps the pixels of the face to crop space, where the lasting part of the noise is at rest; `frame` is the
    index that the passing part is drawn for; `tile` is `noise_tile()`.
    """
    if levels[:2].max() < _LEAST:
        return None
    width, height = size
    # Two pixels of the tile for one of the crop: finer than the frame, wherever the face is not very large.
    lasting = warp(
        tile, invert_matrix(compose_matrices(resize_matrix(2), to_crop)), (width, height), "linear", "reflect"
    )
    lasting *= np.float32(1 / _spread(lasting))
    row, column = np.random.default_rng(frame).integers(0, _TILE, 2)
    # `take` copies rows, then columns: a fifth of the time of picking single values.
    passing = tile.take((row + np.arange(height)) % _TILE, 0).take((column + np.arange(width)) % _TILE, 1)
    out = np.zeros((height, width), np.float32)
    for index in (0, 1):
        total, moving = levels[index], levels[2 + index]
        if total >= _LEAST:
            share = np.float32(moving / total)
            noise = cv2.addWeighted(passing, float(share), lasting, math.sqrt(1 - share**2), 0)
            fine = noise if index == 0 else blur(noise, _BANDS[0])
            band = fine - blur(noise, _BANDS[index])
            out += band * np.float32(total / _spread(band))
    return out


def _spread(noise: FloatImage) -> float:
    """Standard deviation of noise (h, w), never nought; every fourth row says the same as all."""
    return max(float(cv2.meanStdDev(noise[::4])[1].item()), 1e-6)


def _bands(luma: NDArray) -> tuple[NDArray, NDArray]:
    """The fine and the coarse band of (h, w)."""
    first, second = (blur(luma, sigma) for sigma in _BANDS)
    return luma - first, first - second


def _deviation(band: NDArray) -> float:
    """Standard deviation in the quieter blocks of (h, w), each from its median, which a few edges do not move.

    Both sides are at least `_BLOCKS` pixels; what is left over at the end of one is not looked at.
    """
    height, width = (side // _BLOCKS for side in band.shape)
    whole = np.abs(band[: height * _BLOCKS, : width * _BLOCKS]).reshape(_BLOCKS, height, _BLOCKS, width)
    few = whole[:, :: max(1, height // _SAMPLES), :, :: max(1, width // _SAMPLES)].swapaxes(1, 2)
    blocks = few.reshape(_BLOCKS**2, -1)
    half = blocks.shape[1] // 2
    usual = np.sort(np.partition(blocks, half, axis=1)[:, half])  # `np.median` takes twice as long
    return 1.4826 * float(np.interp(_QUIETER * (len(usual) - 1), np.arange(len(usual)), usual))
