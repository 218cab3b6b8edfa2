"""What light, lens, sensor and compression do to a picture on its way to a file.

In: a picture uint8 (S, S, 3) RGB and a numpy Generator. Out: a picture of the same size; the same generator state
gives the same picture. Lengths are shares of the side, so that they hold at any size.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from faceswap_pipeline.imaging import Image

Random = np.random.Generator

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def film(picture: Image, random: Random, strength: float = 1.0) -> Image:
    """Everything of `CAMERA`, each with its chance times `strength`."""
    for change, share in CAMERA:
        if random.random() < share * strength:
            picture = change(picture, random)
    return picture


# -- light and colour ---------------------------------------------------------------------------------------------


def change_light(picture: Image, random: Random) -> Image:
    """Two lamps of different colour and side: a smooth field of gains over the picture."""
    size = picture.shape[0]
    angle, soft = random.uniform(0, 2 * np.pi), random.uniform(1.5, 6)
    x, y = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2)
    share = 1 / (1 + np.exp(-soft * (x * np.cos(angle) + y * np.sin(angle) + random.uniform(-0.5, 0.5))))[..., None]
    one, two = (lamp_color(random) * np.float32(np.exp(random.normal(0, 0.35))) for _ in range(2))
    return to_bytes(to_linear(picture) * (share * one + (1 - share) * two), linear=True)


def change_color(picture: Image, random: Random) -> Image:
    """White balance, exposure, contrast, saturation, gamma and a little bleed between the channels."""
    linear = to_linear(picture) * lamp_color(random) * np.float32(np.exp(random.normal(0, 0.3)))
    bleed = np.eye(3) + random.normal(0, 0.03, (3, 3))
    values = raise_to(linear @ bleed.T.astype(np.float32), np.exp(random.normal(0, 0.15)) / 2.2)
    grey = (values @ LUMA)[..., None]
    values = grey + (values - grey) * np.float32(np.clip(random.normal(1, 0.3), 0, 2))
    values = 0.5 + (values - 0.5) * np.float32(np.exp(random.normal(0, 0.2))) + np.float32(random.normal(0, 0.05))
    return to_bytes(values)


def make_grey(picture: Image, random: Random) -> Image:
    """Black and white, sometimes toned."""
    grey = picture.astype(np.float32) @ LUMA / 255
    return to_bytes(grey[..., None] * (1 + random.normal(0, 0.05, 3).astype(np.float32)))


def lamp_color(random: Random) -> NDArray[np.float32]:
    """Gains (3,) of a lamp between candle and blue sky, with a touch of green or magenta; mean 1."""
    warm = random.normal(0, 0.22)
    gains = np.exp(np.array([warm, random.normal(0, 0.05), -1.3 * warm]))
    return np.asarray(gains / gains.mean(), np.float32)


# -- lens, motion, sensor ----------------------------------------------------------------------------------------


def blur_lens(picture: Image, random: Random) -> Image:
    """Out of focus: a disc of up to 2 % of the side in radius."""
    radius = picture.shape[0] * random.uniform(0.008, 0.02)
    reach = int(np.ceil(radius))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    return convolve(picture, np.clip(radius + 0.5 - np.hypot(x, y), 0, 1))


def blur_motion(picture: Image, random: Random) -> Image:
    """A straight smear of up to 6 % of the side."""
    length, angle = picture.shape[0] * random.uniform(0.01, 0.06), random.uniform(0, np.pi)
    reach = int(np.ceil(length / 2))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    return convolve(picture, np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1))


def lower_resolution(picture: Image, random: Random) -> Image:
    """Made smaller by 1.3 to 5 and enlarged again, with a scaler of the day."""
    size = picture.shape[0]
    small = max(16, round(size / np.exp(random.uniform(np.log(1.3), np.log(5)))))
    down = random.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC])
    up = random.choice([cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4])
    reduced = cv2.resize(picture, (small, small), interpolation=int(down))
    return as_image(cv2.resize(reduced, (size, size), interpolation=int(up)))


def sharpen(picture: Image, random: Random) -> Image:
    """The halo of a camera's own sharpening."""
    values = picture.astype(np.float32)
    soft = cv2.GaussianBlur(values, (0, 0), picture.shape[0] * random.uniform(0.004, 0.012))
    return as_image(values + (values - soft) * random.uniform(0.5, 2))


def add_noise(picture: Image, random: Random) -> Image:
    """Sensor noise: grows with brightness, part of it coloured, often in grains larger than a pixel."""
    size = picture.shape[0]
    level = np.exp(random.uniform(np.log(1), np.log(18)))
    noise = random.standard_normal((size, size, 3), np.float32)
    noise += np.float32(1.5) * random.standard_normal((size, size, 1), np.float32)
    if random.random() < 0.5:
        grain = random.uniform(0.5, 1.2)
        noise = cv2.GaussianBlur(noise, (0, 0), grain) * np.float32(2 * grain)
    values = picture.astype(np.float32)
    return as_image(values + noise * np.float32(level / 1.8) * (0.4 + 0.6 * np.sqrt(values / 255)))


# -- compression --------------------------------------------------------------------------------------------------


def compress_jpeg(picture: Image, random: Random) -> Image:
    """JPEG of quality 12 to 90."""
    quality = int(random.uniform(12, 90))
    data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return as_image(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def compress_video(picture: Image, random: Random) -> Image:
    """H.264-like: halved colour, 8x8 transform with a coarse step and a dead zone, blocks that were not sent, soft
    edges.
    """
    size = picture.shape[0]
    even = size + (-size) % 16
    padded = cv2.copyMakeBorder(picture, 0, even - size, 0, even - size, cv2.BORDER_REPLICATE)
    planes = cv2.cvtColor(padded, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    step = np.exp(random.uniform(np.log(6), np.log(60)))
    luma = quantise_blocks(planes[..., 0], step)
    half = cv2.resize(planes[..., 1:], (even // 2, even // 2), interpolation=cv2.INTER_AREA)
    half = np.stack([quantise_blocks(half[..., channel], step * 1.2) for channel in (0, 1)], -1)
    if random.random() < 0.5:
        luma = skip_blocks(planes[..., 0], luma, random)
    color = cv2.resize(half, (even, even), interpolation=cv2.INTER_LINEAR)
    rebuilt = as_image(np.concatenate([soften_block_edges(luma, step)[..., None], color], -1))
    return np.ascontiguousarray(cv2.cvtColor(rebuilt, cv2.COLOR_YCrCb2RGB)[:size, :size], np.uint8)


def quantise_blocks(plane: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """A plane (H, W), sides whole blocks of 8, through the discrete cosine transform and back.

    Detail has a dead zone of 2/3 of a step; a block's mean is rounded, as encoders predict it and send it well.
    """
    blocks = plane.reshape(plane.shape[0] // 8, 8, plane.shape[1] // 8, 8).transpose(0, 2, 1, 3)
    basis = cosine_basis()
    levels = basis @ blocks @ basis.T / step
    kept = np.sign(levels) * np.floor(np.abs(levels) + 1 / 3)
    kept[..., 0, 0] = np.rint(levels[..., 0, 0] * 4) / 4
    back = basis.T @ (kept * np.float32(step)) @ basis
    return back.transpose(0, 2, 1, 3).reshape(plane.shape).astype(np.float32)


def cosine_basis() -> NDArray[np.float32]:
    """The orthonormal cosine transform of length 8, (8, 8)."""
    row, column = np.arange(8)[:, None], np.arange(8)[None]
    basis = np.cos(np.pi * (2 * column + 1) * row / 16) / 2
    basis[0] /= np.sqrt(2)
    return basis.astype(np.float32)


def skip_blocks(true: NDArray[np.float32], sent: NDArray[np.float32], random: Random) -> NDArray[np.float32]:
    """Some 16x16 blocks show a slightly moved, softer neighbour, as where an encoder spent no bits on a change."""
    shift = random.integers(-2, 3, 2)
    old = cv2.GaussianBlur(np.roll(true, shift, (0, 1)), (0, 0), 1.2)
    skipped = random.random((true.shape[0] // 16, true.shape[1] // 16)) < random.uniform(0.05, 0.4)
    return np.where(np.kron(skipped, np.ones((16, 16), bool)), old, sent).astype(np.float32)


def soften_block_edges(plane: NDArray[np.float32], step: float) -> NDArray[np.float32]:
    """The deblocking filter: pixels beside a block edge move together where the jump is small against the step."""
    out = plane.copy()
    for view in (out, out.T):
        jump = view[8::8] - view[7:-1:8]
        move = np.where(np.abs(jump) < step, jump / 3, 0)
        view[7:-1:8] += move
        view[8::8] -= move
    return out


CAMERA: tuple[tuple[Callable[[Image, Random], Image], float], ...] = (
    (change_light, 0.35),
    (change_color, 0.8),
    (make_grey, 0.04),
    (blur_lens, 0.2),
    (blur_motion, 0.2),
    (add_noise, 0.5),
    (lower_resolution, 0.4),
    (sharpen, 0.15),
    (compress_video, 0.4),
    (compress_jpeg, 0.25),
)
"""What happens to the light on its way to the file, in order, with its chance."""


# -- shared ---------------------------------------------------------------------------------------------------------


def convolve(picture: Image, kernel: NDArray) -> Image:
    """The picture through a kernel, which is brought to a sum of one."""
    return as_image(cv2.filter2D(picture.astype(np.float32), -1, (kernel / kernel.sum()).astype(np.float32)))


def to_linear(picture: Image) -> NDArray[np.float32]:
    """Light, 0..1, from gamma-coded bytes."""
    table = (np.arange(256, dtype=np.float32) / 255) ** np.float32(2.2)
    return np.asarray(table[picture], np.float32)


def to_bytes(values: NDArray, linear: bool = False) -> Image:
    """uint8 from 0..1, gamma-coded when it is light."""
    values = raise_to(values, 1 / 2.2) if linear else values
    return as_image(values * 255)


def raise_to(values: NDArray, power: float) -> NDArray[np.float32]:
    """What is above zero, to a power; float32."""
    return np.asarray(cv2.pow(np.clip(values, 0, None).astype(np.float32), power), np.float32)


def as_image(values: NDArray) -> Image:
    """uint8 from 0..255, rounded and clipped."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
