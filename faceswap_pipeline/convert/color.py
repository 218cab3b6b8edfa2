"""The swap takes the tone of the face it replaces: statistics of skin, measured, averaged over time and transferred.

In: pictures float32 (H, W, 3) RGB -1..1 and weights (H, W) 0..1 that mark skin. Out: pictures of the same kind.
A statistic is one plain vector per face, so that a mean over neighbouring frames is a statistic again.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.imaging import FloatImage, grow_mask, ramp

Vector = NDArray[np.float64]

_LEVELS = (np.arange(64) + 0.5) / 64
"""The shares of the weight at which `histogram` reads each channel's values."""

_LEAST_WEIGHT = 24.0
"""Fewer pixels of skin than this say nothing about a tone."""

_GAIN = (0.85, 1.15)
"""How far a spread may be pulled: a flat swap must not be blown up into noise."""

_SPREAD_OF_LIGHT, _SPREAD_OF_HUE = 0.4, 0.07
"""Standard deviations of the blurs that leave light and tone and take features away, share of the picture's side: of
how bright skin is, and of what colour. With less of the first a beard comes along (docs/results.md); with more of the
second the redder nose and the greyer chin of one face meet those of another, and the chin turns olive."""

_FEW = 0.1
"""Where the skin nearby weighs no more than this, its hue is half that of the skin further away."""

_BEARD, _HAIR = (0.5, 0.8), (-0.17, 0.0)
"""What lies under the nose is beard below, and skin above these: light as a share of that of the skin above the nose in
the same columns; logarithm of red over green less that of the skin above. Shade is dark, but no less red."""

_BEARDED = (0.1, 0.25)
"""Share of what lies under the nose that must be so for a beard to be taken for one, and from which it is in full: 0.2
to 0.45 of a short dark beard, less than 0.1 of three faces without one."""

_BESIDE = 0.15
"""Standard deviation of the blur along a row that says which columns are the same, share of the picture's side."""

_LIGHT_CELLS = 16
"""Points along a side at which the light is kept; it is smooth."""

_BRIGHTNESS = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""How much linear red, green and blue of sRGB add to brightness (IEC 61966-2-1)."""

_CURVE_OFFSET, _CURVE_START = 0.055, 0.04045
"""sRGB's curve, of values 0..1: what is added before the power of 2.4 is taken, and where it begins (IEC 61966-2-1)."""

_LIGHT_GAIN = (1 / 3, 3.0)
"""How far light may be lowered or raised at one place."""

_DARK = 0.02
"""Added to linear light 0..1 before a ratio: what is black has no tone."""

_NOISE = 2.0
"""Units of L*a*b*; spreads below it are mostly noise and do not decide how others are pulled."""


class ColorMethod(NamedTuple):
    """One way to match colours."""

    measure: Callable[[FloatImage, NDArray], Vector]
    """Picture (H, W, 3) RGB -1..1 and weights (H, W) -> statistic (K,)."""
    transfer: Callable[[FloatImage, Vector, Vector], FloatImage]
    """Picture (H, W, 3), its statistic, the wanted statistic -> picture."""


def to_lab(image: FloatImage) -> FloatImage:
    """RGB (H, W, 3) -1..1, sRGB curve -> L*a*b* (H, W, 3), L 0..100."""
    return cv2.cvtColor((np.clip(image, -1, 1) + 1) * np.float32(0.5), cv2.COLOR_RGB2Lab)


def from_lab(lab: NDArray) -> FloatImage:
    """L*a*b* (H, W, 3) -> RGB (H, W, 3) -1..1, clipped to what sRGB holds."""
    return np.clip(cv2.cvtColor(lab.astype(np.float32), cv2.COLOR_Lab2RGB), 0, 1) * 2 - 1


def skin_weights(face: NDArray, features: NDArray | None, alpha: NDArray) -> NDArray[np.float32]:
    """Where skin is, (H, W) 0..1: inside `face`, off its rim, outside eyes and mouth, and where the swap covers.

    All inputs are (H, W) 0..1; `features` is the union of eyes and mouth, None where no such mask exists. The rim
    (a fortieth of the picture) often shows hair or background and is left out.
    """
    rim = max(1, round(face.shape[0] / 40))
    # Where the picture ends there may be anything behind.
    weights = grow_mask(face.astype(np.float32), -rim, ends=True) * alpha
    return weights if features is None else weights * (1 - grow_mask(features.astype(np.float32), rim))


def without_beard(image: FloatImage, weights: NDArray, nose: float) -> NDArray[np.float32]:
    """Weights (H, W) of skin without a beard: what is darker and greyer under the nose's tip (its row, px) than above.

    A beard tells nothing of the light, and would turn the chin of a clean-shaven face grey. It is compared with the
    skin above it in its own columns: of a face lit from the side one half lies in the shade, chin and cheek alike.
    """
    row, weights = int(np.clip(round(nose), 0, len(image))), np.asarray(weights, np.float32)
    skin = weights[:row] > 0.5
    if not skin.any():
        return weights
    red, green, _ = cv2.split(_to_linear(image) + np.float32(_DARK))
    bright = np.float32(0.25) * red + np.float32(0.75) * green
    above = np.stack([(bright * weights)[:row].sum(0), weights[:row].sum(0)])
    reach = round(2.5 * _BESIDE * len(image))
    near = cv2.GaussianBlur(above, (2 * reach + 1, 1), _BESIDE * len(image), borderType=cv2.BORDER_REPLICATE)
    near += np.float32(1e-3) * above.mean(1, keepdims=True)  # beside the face: as it is on the whole
    ratio = red / green
    above_nose = ratio[:row][skin]
    usual = np.partition(above_nose, len(above_nose) // 2)[len(above_nose) // 2]
    warm = ramp(np.log(ratio / usual), _HAIR)
    lit = ramp(bright * (near[1] / near[0]), _BEARD)
    much = (weights * (1 - lit) * (1 - warm))[row:].sum() / max(float(weights[row:].sum()), 1e-6)
    grey = weights * (1 - lit * warm)  # where there is a beard, stubble greys the skin beside it too
    grey[:row] = 0
    return np.asarray(weights - np.float32(0.98) * ramp(much, _BEARDED) * grey, np.float32)


def measure_skin(method: str, image: FloatImage, weights: NDArray) -> Vector | None:
    """The statistic (K,) that `method` needs of the skin in `image` (H, W, 3); None where there is too little skin."""
    return None if float(weights.sum()) < _LEAST_WEIGHT else METHODS[method].measure(image, weights)


def match_color(method: str, image: FloatImage, own: Vector | None, wanted: Vector | None) -> FloatImage:
    """`image` (H, W, 3) RGB -1..1 with the statistic `own`, recoloured so that it would measure `wanted`.

    Without one of the two statistics the picture comes back as it is.
    """
    return image if own is None or wanted is None else METHODS[method].transfer(image, own, wanted)


def _of_pixels(
    measure: Callable[[NDArray, NDArray], Vector], transfer: Callable[[NDArray, Vector, Vector], NDArray]
) -> ColorMethod:
    """A method that knows no places: pixels (N, 3) of L*a*b* (L 0..100) and weights (N,) that sum to 1."""

    def measure_picture(image: FloatImage, weights: NDArray) -> Vector:
        inside = weights > 1e-3
        share = weights[inside].astype(np.float64)
        return measure(to_lab(image)[inside].astype(np.float64), share / share.sum())

    def transfer_picture(image: FloatImage, own: Vector, wanted: Vector) -> FloatImage:
        lab = to_lab(image)
        return from_lab(transfer(lab.reshape(-1, 3).astype(np.float64), own, wanted).reshape(lab.shape))

    return ColorMethod(measure_picture, transfer_picture)


def _measure_light(image: FloatImage, weights: NDArray) -> Vector:
    """The skin's mean linear light around each of 16 x 16 places, as bright as further around it and of the hue nearby;
    far from all skin, that of all skin."""
    light, weights = _to_linear(image), weights[..., None].astype(np.float32)
    whole = (light * weights).sum((0, 1)) / weights.sum()
    # So wide blurs may as well be those of the cells.
    cells = cv2.resize(
        np.dstack([light * weights, weights]), (_LIGHT_CELLS, _LIGHT_CELLS), interpolation=cv2.INTER_AREA
    )

    def around(spread: float, beyond: NDArray, few: float) -> NDArray:
        near = cv2.GaussianBlur(cells, (0, 0), spread * _LIGHT_CELLS, borderType=cv2.BORDER_REFLECT)
        return (near[..., :3] + np.float32(few) * beyond) / (near[..., 3:] + np.float32(few))

    wide = around(_SPREAD_OF_LIGHT, whole, 0.01)
    nearby = around(_SPREAD_OF_HUE, wide, _FEW)
    brightness = [np.maximum(each @ _BRIGHTNESS, 1e-6)[..., None] for each in (wide, nearby)]
    return (nearby * (brightness[0] / brightness[1])).ravel().astype(np.float64)


def _transfer_light(image: FloatImage, own: Vector, wanted: Vector) -> FloatImage:
    """Linear light multiplied, place by place, by what the wanted skin has more of.

    As with the ratio images of Liu, Shan and Zhang ("Expressive expression mapping with ratio images", 2001), but of
    blurred faces: light and tone come from one face, features from the other. A factor keeps pupils and nostrils dark,
    where a shift would turn them grey.
    """
    gain = np.clip((wanted + _DARK) / (own + _DARK), *_LIGHT_GAIN).reshape(_LIGHT_CELLS, _LIGHT_CELLS, 3)
    size = (image.shape[1], image.shape[0])
    # c * ((v + 0.055) / 1.055)^2.4 is the same curve at c^(1/2.4) * (v + 0.055): no power has to be taken of a pixel.
    factor = cv2.resize((gain ** (1 / 2.4)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    offset = np.float32(1 + 2 * _CURVE_OFFSET)  # of values -1..1
    lit = cv2.multiply(image + offset, factor) - offset
    black = image <= np.float32(2 * _CURVE_START - 1)  # where the curve is a line
    lit[black] = (image[black] + 1) * factor[black] ** np.float32(2.4) - 1
    return np.clip(lit, -1, 1)


def _to_linear(image: FloatImage) -> FloatImage:
    """RGB -1..1 with sRGB's curve -> linear light 0..1."""
    value = (np.clip(image, -1, 1) + 1) * np.float32(0.5)
    raised = (value + np.float32(_CURVE_OFFSET)) * np.float32(1 / (1 + _CURVE_OFFSET))
    curved = cv2.pow(raised, 2.4)  # a fifth of numpy's time
    return np.where(value <= _CURVE_START, value * np.float32(1 / 12.92), curved)


def _measure_moments(pixels: NDArray, weights: NDArray) -> Vector:
    mean = weights @ pixels
    return np.concatenate([mean, np.sqrt(weights @ (pixels - mean) ** 2)])


def _transfer_moments(pixels: NDArray, own: Vector, wanted: Vector) -> NDArray:
    """Mean and deviation of each channel (Reinhard et al., "Color transfer between images", 2001)."""
    gain = np.clip(np.sqrt((wanted[3:] ** 2 + _NOISE**2) / (own[3:] ** 2 + _NOISE**2)), *_GAIN)
    return (pixels - own[:3]) * gain + wanted[:3]


def _measure_covariance(pixels: NDArray, weights: NDArray) -> Vector:
    mean = weights @ pixels
    centred = pixels - mean
    return np.concatenate([mean, ((centred * weights[:, None]).T @ centred).ravel()])


def _transfer_covariance(pixels: NDArray, own: Vector, wanted: Vector) -> NDArray:
    """The linear map of least displacement between two normal distributions.

    Monge-Kantorovitch, Pitie and Kokaram, "The linear Monge-Kantorovitch linear colour mapping", 2007.
    """
    floor = _NOISE**2 * np.eye(3)
    first, second = own[3:].reshape(3, 3) + floor, wanted[3:].reshape(3, 3) + floor
    root = _power(first, 0.5)
    inverse = _power(first, -0.5)
    values, axes = np.linalg.eigh(inverse @ _power(root @ second @ root, 0.5) @ inverse)
    linear = (axes * np.clip(values, *_GAIN)) @ axes.T
    return (pixels - own[:3]) @ linear + wanted[:3]


def _power(matrix: NDArray, exponent: float) -> NDArray:
    """A symmetric positive matrix (3, 3) to a real power."""
    values, axes = np.linalg.eigh(matrix)
    return (axes * np.maximum(values, 1e-6) ** exponent) @ axes.T


def _measure_histogram(pixels: NDArray, weights: NDArray) -> Vector:
    rows = []
    for channel in pixels.T:
        order = np.argsort(channel, kind="stable")
        filled = np.cumsum(weights[order]) - weights[order] / 2
        rows.append(np.interp(_LEVELS, filled, channel[order]))
    return np.concatenate(rows)


def _transfer_histogram(pixels: NDArray, own: Vector, wanted: Vector) -> NDArray:
    """Each channel through the increasing curve that takes one distribution to the other; shifted beyond its ends."""
    moved = np.empty_like(pixels)
    for channel, (mine, theirs) in enumerate(zip(own.reshape(3, -1), wanted.reshape(3, -1), strict=True)):
        shift = np.interp(pixels[:, channel], mine + 1e-9 * np.arange(mine.size), theirs - mine)
        moved[:, channel] = pixels[:, channel] + shift
    return moved


METHODS: dict[str, ColorMethod] = {
    "light": ColorMethod(_measure_light, _transfer_light),
    "reinhard": _of_pixels(_measure_moments, _transfer_moments),
    "mkl": _of_pixels(_measure_covariance, _transfer_covariance),
    "histogram": _of_pixels(_measure_histogram, _transfer_histogram),
    "none": ColorMethod(lambda image, weights: np.zeros(0), lambda image, own, wanted: image),
}
"""What `--color` offers."""
