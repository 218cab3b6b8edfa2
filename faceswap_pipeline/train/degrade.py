"""What lens, sensor and compression do to the picture that goes in, drawn with numpy and applied with `keras.ops`.

In: pictures `float32 (B, R, R, 3)` -1..1 and what was drawn for a step. Out: pictures of the same kind. The target of
a step stays clear, so that a network learns to read poor pictures and to make good ones.
"""

from functools import cache
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.networks.recipe import TrainRecipe

BLOCK = 8
"""Side of the blocks that compression works in, px."""
FINE = 1e-3
"""A quantiser step that changes nothing to be seen."""


def draw_degradation(
    random: np.random.Generator, count: int, recipe: TrainRecipe, resolution: int
) -> dict[str, NDArray[np.float32]]:
    """The random choices for `count` pictures of `resolution` px; each kind meets a picture with chance `degrade`.

    Returns `blur` (2, B, R, R): row and column mixes of a Gaussian of independent widths; `step` (B, 1): quantiser
    step of the compression; `noise` (B, R, R, 1), added.
    """
    hit = random.random((3, count)) < recipe.degrade
    widths = np.where(hit[0], random.uniform(0, recipe.blur * resolution, (2, count)), 0)
    steps = np.where(hit[1], random.uniform(FINE, recipe.compression, count), FINE)
    levels = np.where(hit[2], random.uniform(0, recipe.noise, count), 0)
    noise = random.standard_normal((count, resolution, resolution, 1)) * levels[:, None, None, None]
    return {
        "blur": np.stack([blur_matrices(width, resolution) for width in widths]),
        "step": steps[:, None].astype(np.float32),
        "noise": noise.astype(np.float32),
    }


def degrade(pictures: Any, drawn: dict[str, Any]) -> Any:
    """Pictures blurred, noisy and compressed as drawn."""
    across = ops.einsum("bsx,brxc->brsc", drawn["blur"][1], pictures)
    blurred = ops.einsum("bry,bysc->brsc", drawn["blur"][0], across)
    return ops.clip(compress(blurred + drawn["noise"], drawn["step"]), -1, 1)


def compress(pictures: Any, step: Any) -> Any:
    """Blocks of 8x8 px in the cosine transform, rounded to multiples of `step` (B, 1) that grow with frequency.

    It is the lossy part of JPEG and of a video's key frame, on each channel by itself.
    """
    basis, grow = _block_basis(pictures.shape[1]), _growth(pictures.shape[1])
    waves = ops.einsum("ur,vs,brsc->buvc", basis, basis, pictures)
    coarse = ops.reshape(step, (-1, 1, 1, 1)) * grow
    return ops.einsum("ur,vs,buvc->brsc", basis, basis, ops.round(waves / coarse) * coarse)


def blur_matrices(widths: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """For each standard deviation in px (B,), the matrix (size, size) whose rows are its Gaussian means."""
    place = np.arange(size)
    squared = (place[:, None] - place[None]) ** 2
    weights = np.exp(-squared[None] / (2 * np.maximum(widths, 0.05)[:, None, None] ** 2))
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


@cache
def _block_basis(size: int) -> NDArray[np.float32]:
    """(size, size): the orthonormal cosine transform of 8 values (Ahmed et al. 1974), block after block."""
    place, frequency = np.arange(BLOCK), np.arange(BLOCK)[:, None]
    rows = np.cos(np.pi * (2 * place + 1) * frequency / (2 * BLOCK)) * np.sqrt(2 / BLOCK)
    rows[0] /= np.sqrt(2)
    return np.kron(np.eye(size // BLOCK), rows).astype(np.float32)


@cache
def _growth(size: int) -> NDArray[np.float32]:
    """(size, size, 1): how much coarser each frequency of a block is rounded than its mean."""
    frequency = np.tile(np.arange(BLOCK, dtype=np.float32), size // BLOCK)
    return (1 + frequency[:, None] + frequency[None])[..., None]
