"""The named loss terms: pure functions of pictures and masks in `keras.ops`.

In: pictures as planes `float32 (B, 3, R, R)` -1..1 and masks `(B, 1, R, R)` 0..1, of which `planes` makes what networks
give and batches hold. Out: scalars, the mean over the batch. As planes all this is quicker on a CPU: what weighs all
channels alike meets long rows, and differences and windows are matrix products.
"""

from functools import cache
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from faceswap_pipeline.networks.recipe import LossRecipe
from faceswap_pipeline.train.augment import Batch, planes

WINDOW = 11
"""Side of SSIM's Gaussian window, px (Wang et al. 2004)."""
SIGMA = 1.5
"""Its standard deviation, px."""
STRIDE = 2
"""From one window of the structure loss to the next, px: half its cost. Windows overlap by nine px, and a face is
somewhere else at each step, so that all of it has its turn.
"""


def reconstruction_terms(made, batch: Batch, recipe: LossRecipe) -> dict[str, Any]:
    """The weighted terms that compare a decoder's picture and mask, (B, R, R, 4), with a batch's targets, by name."""
    drawn, target = planes(made), planes(batch.target)
    face, eyes, mouth = (planes(mask) for mask in (batch.face, batch.eyes, batch.mouth))
    colors, alpha = ops.split(drawn, [3], axis=1)
    pixels = pixel_weights(face, eyes, mouth, recipe)
    terms = {
        "reconstruction": lambda: weighted_error(colors, target, pixels),
        "structure": lambda: structure_error(colors, target, pixels),
        "edge": lambda: edge_error(colors, target, pixels),
        "alpha": lambda: mask_error(alpha, face),
        "alpha_variation": lambda: total_variation(alpha),
    }
    return {name: getattr(recipe, name) * term() for name, term in terms.items() if getattr(recipe, name)}


def pixel_weights(face, eyes, mouth, recipe: LossRecipe):
    """How much each pixel counts, (B, 1, R, R): the face 1, outside less, eyes and mouth more."""
    return face + recipe.outside * (1 - face) + recipe.eyes * eyes + recipe.mouth * mouth


def weighted_error(picture, target, weights):
    """Mean absolute error, each picture's pixels weighted by `weights` (B, 1, R, R)."""
    return _weighted_mean(ops.abs(picture - target), weights)


def edge_error(picture, target, weights):
    """Mean absolute error of the first differences along both axes, weighted."""
    across, along = _differences(picture - target)
    return _weighted_mean(ops.abs(across), weights[..., 1:]) + _weighted_mean(ops.abs(along), weights[:, :, 1:])


def structure_error(picture, target, weights):
    """1 - SSIM, averaged with the weights of the windows' centres (Wang et al. 2004; the mean over channels)."""
    border = WINDOW // 2
    inner = weights[:, :, border:-border:STRIDE, border:-border:STRIDE]
    return _weighted_mean(1 - similarity_map(picture, target, span=2.0, stride=STRIDE), inner)


def similarity_map(picture, target, span: float, stride: int = 1):
    """SSIM of full 11x11 windows, one every `stride` px both ways, for values that span `span`; (B, 3, R-10, R-10) of
    all windows, which are those of `tf.image.ssim`.

    The separable Gaussian window is applied as two matrix products, which is far quicker than a depthwise convolution
    on a CPU.
    """
    first, second = (0.01 * span) ** 2, (0.03 * span) ** 2
    moments = (picture, target, picture * picture + target * target, picture * target)
    mean_p, mean_t, power, shared = (_window(moment, stride) for moment in moments)
    both, product = mean_p * mean_p + mean_t * mean_t, mean_p * mean_t
    luminance = (2 * product + first) / (both + first)
    return luminance * (2 * (shared - product) + second) / (power - both + second)


def mask_error(alpha, face):
    """Binary cross-entropy of the learned mask against the face mask."""
    alpha = ops.clip(alpha, 1e-4, 1 - 1e-4)
    return -ops.mean(face * ops.log(alpha) + (1 - face) * ops.log(1 - alpha))


def total_variation(alpha):
    """Mean absolute first difference of the learned mask along both axes."""
    return sum(ops.mean(ops.abs(difference)) for difference in _differences(alpha))


def hinge_discriminator(real, fake):
    """The discriminator's hinge loss on logits (Lim and Ye 2017; Miyato et al. 2018)."""
    return ops.mean(ops.relu(1 - real)) + ops.mean(ops.relu(1 + fake))


def hinge_generator(fake):
    """The generator's side of the hinge loss."""
    return -ops.mean(fake)


def least_squares(verdict, wanted):
    """Mean squared distance of a verdict from what it should be (Mao et al. 2017), broadcast over patches."""
    return ops.mean((verdict - wanted) ** 2)


def _differences(values):
    """First differences along rows and along columns, (B, C, H, W - 1) and (B, C, H - 1, W)."""
    channels, height, width = values.shape[1:]
    # One large product for all rows, not one for each plane: there oneDNN, as TensorFlow 2.20 has it, reads beyond the
    # end of planes of one channel, and training crashes.
    across = ops.matmul(ops.reshape(values, (-1, width)), _difference_matrix(width).T)
    return ops.reshape(across, (-1, channels, height, width - 1)), ops.matmul(_difference_matrix(height), values)


def _weighted_mean(error, weights):
    """Mean over pictures of the weighted mean over pixels and channels."""
    channels = error.shape[1]
    total = ops.sum(error * weights, axis=(1, 2, 3))
    return ops.mean(total / (channels * ops.sum(weights, axis=(1, 2, 3)) + 1e-6))


@cache
def _difference_matrix(size: int) -> NDArray[np.float32]:
    """(size - 1, size): each row one value less the one before it."""
    return np.diff(np.eye(size, dtype=np.float32), axis=0)


@cache
def _window_matrix(size: int, stride: int) -> NDArray[np.float32]:
    """(ceil((size - 10) / stride), size): each row one place of the Gaussian window."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * SIGMA**2))
    places = range(0, size - WINDOW + 1, stride)
    rows = np.zeros((len(places), size), np.float32)
    for row, place in zip(rows, places, strict=True):
        row[place : place + WINDOW] = kernel / kernel.sum()
    return rows


def _window(values, stride: int):
    """Gaussian means of full windows of (B, C, H, W), one every `stride` px both ways."""
    channels, height, width = values.shape[1:]
    across, along = _window_matrix(width, stride), _window_matrix(height, stride)
    # One large product for all rows, then one for each plane.
    rows = ops.matmul(ops.reshape(values, (-1, width)), across.T)
    return ops.matmul(along, ops.reshape(rows, (-1, channels, height, len(across))))
